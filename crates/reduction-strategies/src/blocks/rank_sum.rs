//! Block: several importances as one score, through the ranks that they give.
//!
//! Step sizes, norms and clipped sums have no common scale, and how they spread differs by layer, model and sequence. Their ranks
//! within one sequence do: `S_t = sum_k w_k r_k(t)`, with `r_k(t)` in [0, 1] the share of the other candidates that term `k` puts
//! below `t` (Borda's count). Tied candidates share the mean of their places, so that no order of tokens enters.

use ssm_model::SignalSet;

use crate::blocks::importance::Importance;
use crate::blocks::rank;
use crate::error::PlanError;
use crate::rule::Extreme;
use crate::view::SequenceView;

/// One importance of a sum of ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// What is ranked.
    pub importance: Importance,
    /// Which end of the ranking speaks for keeping.
    pub keep: Extreme,
    /// How much its rank counts; finite, not negative.
    pub weight: f64,
    /// Whose rank counts.
    pub ranks: Ranks,
}

/// Whose rank of a term a candidate has. Kernels know [`Ranks::Own`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranks {
    /// Its own.
    Own,
    /// That of its neighbour: of candidates `0, 1, 2, ..` in order of position, `2k` and `2k + 1` exchange theirs, and of an odd number the
    /// last keeps its own. Which ranks occur around a place stays almost the same, and what they say of a token goes.
    Swapped,
}

/// What layers must show for all terms.
#[must_use]
pub fn signals(terms: &[Term]) -> SignalSet {
    terms.iter().fold(SignalSet::default(), |set, term| set.union(term.importance.signals()))
}

/// `sum_k w_k r_k` of each of the `candidates` (rows of the view), higher = keep.
///
/// # Errors
/// A signal that the layer did not show.
pub fn scores(terms: &[Term], view: &SequenceView<'_>, candidates: &[u32]) -> Result<Vec<f32>, PlanError> {
    let last = candidates.len().saturating_sub(1) as f64;
    let mut sums = vec![0.0_f64; candidates.len()];
    for term in terms {
        let all = term.importance.scores(view)?;
        let own: Vec<f32> = candidates.iter().map(|row| all[*row as usize]).collect();
        let mut places = places(&own)?;
        if term.ranks == Ranks::Swapped {
            places.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        }
        for (sum, place) in sums.iter_mut().zip(places) {
            *sum += term.weight * if term.keep == Extreme::Highest { place } else { last - place };
        }
    }
    // Divided once at the end: places are halves of whole numbers, so equal sums of them are equal to the bit.
    Ok(sums.into_iter().map(|sum| (sum / last.max(1.0)) as f32).collect())
}

/// How many other scores lie below each; equal scores share the mean of their places.
fn places(scores: &[f32]) -> Result<Vec<f64>, PlanError> {
    let order = rank::ascending(scores)?;
    let mut places = vec![0.0; scores.len()];
    let mut start = 0;
    for tied in order.chunk_by(|a, b| rank::compare(scores[*a as usize], scores[*b as usize]).is_eq()) {
        for index in tied {
            places[*index as usize] = start as f64 + (tied.len() - 1) as f64 / 2.0;
        }
        start += tied.len();
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::{CLIP, SUM, Source};
    use crate::testing::Sequence;

    #[test]
    fn ties_share_their_mean_place() {
        let close = |scores: &[f32], want: &[f64]| {
            let got = places(scores).unwrap();
            assert!(got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}");
        };
        close(&[5.0, 1.0, 9.0, 3.0, 2.0], &[3.0, 0.0, 4.0, 2.0, 1.0]);
        close(&[1.0, 7.0, 1.0, 7.0, 1.0], &[1.0, 3.5, 1.0, 3.5, 1.0]);
        close(&[0.0, -0.0, f32::NEG_INFINITY], &[1.5, 1.5, 0.0]);
        assert!(places(&[0.0, f32::NAN]).is_err());
        close(&[4.0], &[0.0]);
        close(&[], &[]);
    }

    #[test]
    fn terms_add_up_by_their_weights_and_ends_over_candidates_alone() {
        let sequence = Sequence::of_rows(&[[4.0, 4.0], [1.0, -1.0], [2.0, -10.0], [3.0, 3.0]]);
        let term = |metric, keep, weight| Term {
            importance: Importance::new(metric, Source::BlockOutput),
            keep,
            weight,
            ranks: Ranks::Own,
        };
        let terms = [term(&CLIP, Extreme::Highest, 1.0), term(&SUM, Extreme::Lowest, 0.5)];
        // Of rows 1, 2 and 3: clipped means 0.5, 1, 3, shares below 0, 0.5, 1; means 0, -4, 3, from the other end 0.5, 1, 0.
        let got = scores(&terms, &sequence.view(), &[1, 2, 3]).unwrap();
        for (got, want) in got.iter().zip([0.25, 1.0, 1.0]) {
            assert!((got - want).abs() < 1e-7, "{got} {want}");
        }
        assert_eq!(got.len(), 3);
        assert!(scores(&terms, &sequence.view(), &[]).unwrap().is_empty());
        assert_eq!(scores(&terms, &sequence.view(), &[2]).unwrap().len(), 1);
        assert_eq!(signals(&terms), SignalSet::default());
        // Clipped means of rows 1 and 2 exchange their ranks, row 3 has no neighbour: 0.5, 0, 1.
        let swapped = [Term { ranks: Ranks::Swapped, ..terms[0] }, terms[1]];
        let got = scores(&swapped, &sequence.view(), &[1, 2, 3]).unwrap();
        for (got, want) in got.iter().zip([0.75, 0.5, 1.0]) {
            assert!((got - want).abs() < 1e-7, "{got} {want}");
        }
    }
}
