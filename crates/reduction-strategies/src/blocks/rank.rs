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

/// The entries of the `count` highest scores, in ascending order of index; of equal scores the lower index: [`first`] of [`descending`],
/// without sorting them all.
///
/// # Errors
/// As [`check`].
pub fn highest(scores: &[f32], count: usize) -> Result<Vec<u32>, PlanError> {
    chosen(scores, count, |score| !ascending_bits(score))
}

/// The entries of the `count` lowest scores, in ascending order of index; of equal scores the lower index: [`first`] of [`ascending`],
/// without sorting them all.
///
/// # Errors
/// As [`check`].
pub fn lowest(scores: &[f32], count: usize) -> Result<Vec<u32>, PlanError> {
    chosen(scores, count, ascending_bits)
}

/// A number in the order in which [`compare`] orders its score.
fn ascending_bits(score: f32) -> u32 {
    let bits = canonical(score).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The `count` entries whose scores come first in the order of `bits`, ascending.
fn chosen(scores: &[f32], count: usize, bits: impl Fn(f32) -> u32) -> Result<Vec<u32>, PlanError> {
    check(scores)?;
    if count == 0 || count >= scores.len() {
        return Ok((0..count.min(scores.len()) as u32).collect());
    }
    // No two keys are equal: the index breaks ties.
    let key = |(index, score): (usize, &f32)| u64::from(bits(*score)) << 32 | index as u64;
    let mut keys: Vec<u64> = scores.iter().enumerate().map(key).collect();
    let last = *keys.select_nth_unstable(count - 1).1;
    let mut entries = Vec::with_capacity(count);
    entries.extend(scores.iter().enumerate().map(key).filter(|key| *key <= last).map(|key| key as u32));
    Ok(entries)
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
    fn a_choice_is_the_start_of_the_ranking() {
        let special =
            [1.0, -1.0, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE / 4.0, -f32::MIN_POSITIVE];
        for n in [0, 1, 7, 40, 300] {
            // Many are equal.
            let score = |i: u32| special[(i.wrapping_mul(2_654_435_761) >> 11) as usize % 8] * (1 + i % 3) as f32;
            let scores: Vec<f32> = (0..n).map(score).map(|score| if score.is_nan() { 0.0 } else { score }).collect();
            for count in 0..=scores.len() + 2 {
                assert_eq!(highest(&scores, count).unwrap(), first(descending(&scores).unwrap(), count));
                assert_eq!(lowest(&scores, count).unwrap(), first(ascending(&scores).unwrap(), count));
            }
        }
        assert!(highest(&[1.0, f32::NAN], 0).is_err() && lowest(&[f32::NAN], 1).is_err());
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
