//! How long the parts of a recurrent state remember: half-lives from step sizes.
//!
//! A part with decay `exp(dt A)` per token loses half of what it holds in `ln 2 / (dt |A|)` tokens.

use std::f64::consts::LN_2;

/// Classes of half-lives in tokens: name and lower bound (included); the upper bound is the next one's.
pub(super) const CLASSES: [(&str, f64); 5] =
    [("<2", 0.0), ("2-8", 2.0), ("8-32", 8.0), ("32-128", 32.0), (">=128", 128.0)];

/// Half-life in tokens of a decay `exp(dt a)` per token, `a` negative.
pub(super) fn half_life(dt: f64, a: f64) -> f64 {
    LN_2 / (dt * a.abs())
}

/// Index of the class of a half-life.
pub(super) fn class(half_life: f64) -> usize {
    CLASSES.iter().rposition(|(_, low)| half_life >= *low).unwrap_or(0)
}

/// The half-life of every head (Mamba-2) or of every channel and state (Mamba), `[heads, own]`, from step sizes `[heads]` and `a`
/// as a layer shows it: `[own, heads]`.
pub(super) fn half_lives(dt: &[f64], a: &[f32]) -> Vec<f64> {
    let heads = dt.len();
    let own = a.len() / heads.max(1);
    let of = |index: usize| {
        let (head, state) = (index / own, index % own);
        half_life(dt[head], f64::from(a[state * heads + head]))
    };
    (0..heads * own).map(of).collect()
}

/// Mean over rows of a matrix `[rows, columns]`.
pub(super) fn mean_row(values: &[f32], columns: usize) -> Vec<f64> {
    let mut mean = vec![0.0; columns];
    for row in values.chunks_exact(columns) {
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += f64::from(*value);
        }
    }
    let rows = (values.len() / columns.max(1)).max(1) as f64;
    mean.into_iter().map(|mean| mean / rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_lives_by_hand() {
        // exp(-ln 2 * 3 / 3): half after three steps of ln 2 / 3.
        assert!((half_life(LN_2 / 3.0, -1.0) - 3.0).abs() < 1e-12);
        let lives = half_lives(&[LN_2, LN_2 / 2.0], &[-1.0, -1.0, -0.5, -0.25]);
        for (got, want) in lives.iter().zip([1.0, 2.0, 2.0, 8.0]) {
            assert!((got - want).abs() < 1e-6, "{lives:?}");
        }
        let names: Vec<_> = [0.5, 2.0, 7.9, 8.0, 40.0, 1e9].iter().map(|life| CLASSES[class(*life)].0).collect();
        assert_eq!(names, ["<2", "2-8", "2-8", "8-32", "32-128", ">=128"]);
        assert_eq!(mean_row(&[1.0, 2.0, 3.0, 6.0], 2), [2.0, 4.0]);
    }
}
