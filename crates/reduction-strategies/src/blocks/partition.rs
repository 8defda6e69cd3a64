//! Block: who may leave (sources) and who may take in (targets).

use crate::blocks::rank;
use crate::error::PlanError;
use crate::rule::Partition;
use crate::view::SequenceView;

/// Sources and targets, each ascending; together they are the candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Tokens that may leave.
    pub sources: Vec<u32>,
    /// Tokens that may take them in.
    pub targets: Vec<u32>,
}

impl Partition {
    /// How many of `candidates` tokens become sources and targets.
    #[must_use]
    pub fn counts(self, candidates: usize) -> (usize, usize) {
        let half = candidates / 2;
        match self {
            Self::EvenOdd => (candidates - half, half),
            Self::ByImportance(_) => (half, candidates - half),
        }
    }

    /// Splits `candidates` (rows of the view, ascending). From two candidates on neither side is empty.
    ///
    /// # Errors
    /// A signal that the layer did not show.
    pub fn split(self, view: &SequenceView<'_>, candidates: &[u32]) -> Result<Split, PlanError> {
        match self {
            Self::EvenOdd => Ok(Split {
                sources: candidates.iter().copied().step_by(2).collect(),
                targets: candidates.iter().copied().skip(1).step_by(2).collect(),
            }),
            Self::ByImportance(importance) => {
                let all = importance.scores(view)?;
                let scores: Vec<f32> = candidates.iter().map(|row| all[*row as usize]).collect();
                let mut is_source = vec![false; candidates.len()];
                for index in rank::lowest(&scores, candidates.len() / 2)? {
                    is_source[index as usize] = true;
                }
                let side = |wanted: bool| {
                    let rows = candidates.iter().zip(&is_source);
                    rows.filter(|(_, source)| **source == wanted).map(|(row, _)| *row).collect()
                };
                Ok(Split { sources: side(true), targets: side(false) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::{Importance, SUM, Source};
    use crate::testing::Sequence;

    #[test]
    fn hand_computed_splits() {
        let sequence = Sequence::of_rows(&[[5.0], [1.0], [4.0], [2.0], [3.0], [1.0]]);
        let view = sequence.view();
        let split = Partition::EvenOdd.split(&view, &[0, 2, 3, 4, 5]).unwrap();
        assert_eq!(split, Split { sources: vec![0, 3, 5], targets: vec![2, 4] });
        let by_sum = Partition::ByImportance(Importance::new(&SUM, Source::BlockOutput));
        let split = by_sum.split(&view, &[0, 1, 2, 3, 4, 5]).unwrap();
        assert_eq!(split, Split { sources: vec![1, 3, 5], targets: vec![0, 2, 4] });
        // Five candidates: two sources, and of the equal rows 1 and 5 the lower index counts as less important.
        let split = by_sum.split(&view, &[0, 1, 2, 4, 5]).unwrap();
        assert_eq!(split, Split { sources: vec![1, 5], targets: vec![0, 2, 4] });
        assert_eq!(by_sum.split(&view, &[1, 5]).unwrap().sources, [1]);
    }

    #[test]
    fn counts_are_those_of_the_split() {
        let sequence = Sequence::of_rows(&[[5.0], [1.0], [4.0], [2.0], [3.0]]);
        for partition in [Partition::EvenOdd, Partition::ByImportance(Importance::new(&SUM, Source::BlockOutput))] {
            for n in 2..=5 {
                let split = partition.split(&sequence.view(), &(0..n).collect::<Vec<_>>()).unwrap();
                assert_eq!(
                    partition.counts(n as usize),
                    (split.sources.len(), split.targets.len()),
                    "{partition:?} {n}"
                );
            }
        }
    }
}
