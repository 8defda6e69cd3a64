//! The one place for ranking with ties: float32 score first, then the lower index.

use std::cmp::Ordering;

/// A score in the form in which it is compared: every NaN becomes negative infinity, -0 becomes 0.
#[must_use]
pub fn canonical(score: f32) -> f32 {
    if score.is_nan() {
        f32::NEG_INFINITY
    } else {
        // Adding positive zero turns -0 into 0 and leaves every other number as it is.
        score + 0.0
    }
}

/// Order of two scores, NaN lowest and -0 equal to 0.
#[must_use]
pub fn compare(a: f32, b: f32) -> Ordering {
    canonical(a).total_cmp(&canonical(b))
}

/// All indices, highest score first; of equal scores the lower index first.
#[must_use]
pub fn descending(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|a, b| compare(scores[*b as usize], scores[*a as usize]).then(a.cmp(b)));
    order
}

/// All indices, lowest score first; of equal scores the lower index first.
#[must_use]
pub fn ascending(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|a, b| compare(scores[*a as usize], scores[*b as usize]).then(a.cmp(b)));
    order
}

/// The first `count` of a ranking, in ascending order of index.
#[must_use]
pub fn first(mut ranking: Vec<u32>, count: usize) -> Vec<u32> {
    ranking.truncate(count);
    ranking.sort_unstable();
    ranking
}

/// Index of the highest score and the score; the lowest index of equals. `None` for an empty list.
#[must_use]
pub fn argmax(scores: &[f32]) -> Option<(u32, f32)> {
    let mut best: Option<(u32, f32)> = None;
    for (index, score) in scores.iter().enumerate() {
        if best.is_none_or(|(_, highest)| compare(*score, highest) == Ordering::Greater) {
            best = Some((index as u32, *score));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index() {
        let scores = [1.0, 3.0, f32::NAN, 3.0, -0.0, 0.0, f32::NEG_INFINITY];
        assert_eq!(descending(&scores), [1, 3, 0, 4, 5, 2, 6]);
        assert_eq!(ascending(&scores), [2, 6, 4, 5, 0, 1, 3]);
        assert_eq!(first(descending(&scores), 3), [0, 1, 3]);
        assert_eq!(argmax(&scores), Some((1, 3.0)));
        assert_eq!(argmax(&[f32::NAN, f32::NAN]).unwrap().0, 0);
        assert_eq!(argmax(&[]), None);
    }
}
