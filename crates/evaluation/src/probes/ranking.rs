//! How well one ranking agrees with marks or with another ranking.

use reduction_strategies::blocks::rank;

/// Average precision of ranking the marked tokens first: the mean, over marked tokens, of the share of marked ones among all tokens that
/// stand at or before it. Ties are ranked by index, as everywhere. NaN without a marked token, or where a score is NaN.
#[must_use]
pub fn average_precision(scores: &[f32], marked: &[bool]) -> f64 {
    let Ok(order) = rank::descending(scores) else { return f64::NAN };
    let (mut found, mut sum) = (0.0, 0.0);
    for (place, index) in order.into_iter().enumerate() {
        if marked[index as usize] {
            found += 1.0;
            sum += found / (place + 1) as f64;
        }
    }
    sum / found
}

/// Probability that a marked token has a higher score than an unmarked one, ties counting half: 0.5 by chance, below it the scores
/// point the wrong way. NaN where all or none are marked, or where a score is NaN.
#[must_use]
pub fn auroc(scores: &[f32], marked: &[bool]) -> f64 {
    let Some(ranks) = midranks(scores) else { return f64::NAN };
    let positive = marked.iter().filter(|marked| **marked).count() as f64;
    let negative = marked.len() as f64 - positive;
    let sum: f64 = ranks.iter().zip(marked).filter(|(_, marked)| **marked).map(|(rank, _)| rank).sum();
    (sum - positive * (positive + 1.0) / 2.0) / (positive * negative)
}

/// Spearman's rank correlation; NaN where one side is constant or holds NaN.
#[must_use]
pub fn spearman(a: &[f32], b: &[f32]) -> f64 {
    let (Some(a), Some(b)) = (midranks(a), midranks(b)) else { return f64::NAN };
    let mean = f64::midpoint(1.0, a.len() as f64);
    let sum = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    sum(&a, &b) / (sum(&a, &a) * sum(&b, &b)).sqrt()
}

/// Ranks from 1, lowest score first; equal scores share the mean of their ranks. None where a score is NaN.
fn midranks(scores: &[f32]) -> Option<Vec<f64>> {
    let order = rank::ascending(scores).ok()?;
    let mut ranks = vec![0.0; scores.len()];
    let mut start = 0;
    while start < order.len() {
        let same = |index: &u32| rank::compare(scores[order[start] as usize], scores[*index as usize]).is_eq();
        let end = start + order[start..].iter().take_while(|index| same(index)).count();
        for index in &order[start..end] {
            ranks[*index as usize] = (start + end + 1) as f64 / 2.0;
        }
        start = end;
    }
    Some(ranks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }

    #[test]
    fn average_precision_by_hand() {
        // Ranking 0, 3, 1, 2; marked at ranks 1 and 3: (1/1 + 2/3) / 2.
        close(average_precision(&[9.0, 3.0, 1.0, 5.0], &[true, true, false, false]), 5.0 / 6.0);
        close(average_precision(&[1.0, 2.0, 3.0], &[true, false, false]), 1.0 / 3.0);
        assert!(average_precision(&[1.0], &[false]).is_nan());
        assert!(average_precision(&[1.0, f32::NAN], &[true, false]).is_nan());
    }

    #[test]
    fn auroc_by_hand() {
        let marked = [true, false, true, false];
        close(auroc(&[4.0, 1.0, 3.0, 2.0], &marked), 1.0);
        close(auroc(&[1.0, 4.0, 2.0, 3.0], &marked), 0.0);
        // Marked 3 and 1 against 2 and 1: won, won, lost, tied.
        close(auroc(&[3.0, 2.0, 1.0, 1.0], &marked), 0.625);
        assert!(auroc(&[1.0, 2.0], &[false, false]).is_nan());
    }

    #[test]
    fn spearman_by_hand() {
        close(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 40.0]), 1.0);
        close(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), -1.0);
        // Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15).
        close(spearman(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 3.0]), 0.6);
        assert_eq!(midranks(&[2.0, 1.0, 2.0, 0.0]).unwrap(), [3.5, 2.0, 3.5, 1.0]);
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
        assert!(spearman(&[1.0, f32::NAN], &[1.0, 2.0]).is_nan() && auroc(&[1.0, f32::NAN], &[true, false]).is_nan());
    }
}
