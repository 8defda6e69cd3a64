//! The one place for ranking with ties: float32 score first, then the lower index. Scores that are NaN have no order and are
//! refused: a token must not be kept or lost because of them.

use std::cmp::Ordering;

use crate::error::PlanError;

/// A score in the form in which it is compared: -0 becomes 0.
#[must_use]
pub fn canonical(score: f32) -> f32 {
    // Adding positive zero turns -0 into 0 and leaves every other number as it is.
    score + 0.0
}

/// Order of two scores that are numbers, -0 equal to 0. A NaN that got here stands beyond all numbers, on the side of its sign.
#[must_use]
pub fn compare(a: f32, b: f32) -> Ordering {
    canonical(a).total_cmp(&canonical(b))
}

/// Refuses scores without an order.
///
/// # Errors
/// [`PlanError::Unordered`] where one is NaN.
pub fn check(scores: &[f32]) -> Result<(), PlanError> {
    match scores.iter().position(|score| score.is_nan()) {
        Some(entry) => Err(PlanError::Unordered { entry, scores: scores.len() }),
        None => Ok(()),
    }
}

/// All indices, highest score first; of equal scores the lower index first.
///
/// # Errors
/// As [`check`].
pub fn descending(scores: &[f32]) -> Result<Vec<u32>, PlanError> {
    check(scores)?;
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|a, b| compare(scores[*b as usize], scores[*a as usize]).then(a.cmp(b)));
    Ok(order)
}

/// All indices, lowest score first; of equal scores the lower index first.
///
/// # Errors
/// As [`check`].
pub fn ascending(scores: &[f32]) -> Result<Vec<u32>, PlanError> {
    check(scores)?;
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|a, b| compare(scores[*a as usize], scores[*b as usize]).then(a.cmp(b)));
    Ok(order)
}

/// The first `count` of a ranking, in ascending order of index.
#[must_use]
pub fn first(mut ranking: Vec<u32>, count: usize) -> Vec<u32> {
    ranking.truncate(count);
    ranking.sort_unstable();
    ranking
}

/// Index of the highest score and the score; the lowest index of equals. `None` for an empty list.
///
/// # Errors
/// As [`check`].
pub fn argmax(scores: &[f32]) -> Result<Option<(u32, f32)>, PlanError> {
    let mut best: Option<(u32, f32)> = None;
    for (index, score) in scores.iter().enumerate() {
        if score.is_nan() {
            return Err(PlanError::Unordered { entry: index, scores: scores.len() });
        }
        if best.is_none_or(|(_, highest)| compare(*score, highest) == Ordering::Greater) {
            best = Some((index as u32, *score));
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use hint::Hint;

    use super::*;

    #[test]
    fn ties_go_to_the_lower_index() {
        let scores = [1.0, 3.0, f32::INFINITY, 3.0, -0.0, 0.0, f32::NEG_INFINITY];
        assert_eq!(descending(&scores).unwrap(), [2, 1, 3, 0, 4, 5, 6]);
        assert_eq!(ascending(&scores).unwrap(), [6, 4, 5, 0, 1, 3, 2]);
        assert_eq!(first(descending(&scores).unwrap(), 3), [1, 2, 3]);
        assert_eq!(argmax(&[1.0, 3.0, 3.0]).unwrap(), Some((1, 3.0)));
        assert_eq!(argmax(&[]).unwrap(), None);
    }

    #[test]
    fn nan_of_either_sign_is_refused_and_named() {
        for nan in [f32::NAN, -f32::NAN] {
            let scores = [1.0, 3.0, nan, 2.0];
            assert!(matches!(descending(&scores), Err(PlanError::Unordered { entry: 2, scores: 4 })));
            assert!(matches!(ascending(&scores), Err(PlanError::Unordered { entry: 2, .. })));
            let error = argmax(&scores).unwrap_err();
            assert_eq!(error.to_string(), "score 2 of 4 is NaN: scores that are no numbers have no order");
            assert!(error.hint().is_some());
        }
    }
}
