//! Block: what the targets of the chosen edges take in, on one branch.

use crate::blocks::matching::Edge;
use crate::blocks::rank;
use crate::error::PlanError;
use crate::rule::{Combine, Pruned};
use crate::view::SequenceView;

impl Combine {
    /// Which of the chosen edges carry their source into the target, one entry per edge.
    ///
    /// # Errors
    /// A signal that the layer did not show.
    pub fn merging(self, view: &SequenceView<'_>, edges: &[Edge]) -> Result<Vec<bool>, PlanError> {
        match self {
            Self::Drop => Ok(vec![false; edges.len()]),
            Self::Mean | Self::SizeWeightedMean => Ok(vec![true; edges.len()]),
            Self::Hybrid { q, pruned } => {
                let count = (q * edges.len() as f64).round() as usize;
                let similarities: Vec<f32> = edges.iter().map(|edge| edge.similarity).collect();
                let order = match pruned {
                    Pruned::MostSimilar => rank::descending(&similarities)?,
                    Pruned::LeastSimilar => rank::ascending(&similarities)?,
                    Pruned::LeastImportant(importance) => {
                        let scores = importance.scores(view)?;
                        let scores: Vec<f32> = edges.iter().map(|edge| scores[edge.source as usize]).collect();
                        rank::ascending(&scores)?
                    }
                };
                let mut merging = vec![true; edges.len()];
                for index in &order[..count.min(order.len())] {
                    merging[*index as usize] = false;
                }
                Ok(merging)
            }
        }
    }

    /// Weight of a row in the mean of its group.
    #[must_use]
    pub fn weight(self, view: &SequenceView<'_>, row: u32) -> f32 {
        if self == Self::SizeWeightedMean { view.sizes[row as usize] } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::{Importance, SUM, Source};
    use crate::testing::Sequence;

    #[test]
    fn hand_computed_halves() {
        let mut sequence = Sequence::of_rows(&[[9.0], [1.0], [3.0], [2.0], [7.0]]);
        sequence.tokens.sizes = vec![1.0, 2.0, 1.0, 3.0, 1.0];
        let view = sequence.view();
        let edge = |source, similarity| Edge { source, target: 0, similarity };
        let edges = [edge(1, 0.2), edge(2, 0.9), edge(3, 0.9), edge(4, 0.1)];
        let merging = |q, pruned| Combine::Hybrid { q, pruned }.merging(&view, &edges).unwrap();
        assert_eq!(merging(0.5, Pruned::MostSimilar), [true, false, false, true]);
        assert_eq!(merging(0.25, Pruned::MostSimilar), [true, false, true, true]);
        assert_eq!(merging(0.5, Pruned::LeastSimilar), [false, true, true, false]);
        let least = Pruned::LeastImportant(Importance::new(&SUM, Source::BlockOutput));
        assert_eq!(merging(0.5, least), [false, true, false, true]);
        assert_eq!(merging(0.0, Pruned::MostSimilar), [true; 4]);
        assert_eq!(merging(1.0, Pruned::MostSimilar), [false; 4]);
        // 0.3 of 4 edges is 1.2, nearest count 1; 0.375 is 1.5, rounded away from zero.
        assert_eq!(merging(0.3, Pruned::MostSimilar), [true, false, true, true]);
        assert_eq!(merging(0.375, Pruned::MostSimilar), [true, false, false, true]);
        assert_eq!(Combine::Drop.merging(&view, &edges).unwrap(), [false; 4]);
        assert!((Combine::SizeWeightedMean.weight(&view, 3) - 3.0).abs() < f32::EPSILON);
        assert!((Combine::Mean.weight(&view, 3) - 1.0).abs() < f32::EPSILON);
    }
}
