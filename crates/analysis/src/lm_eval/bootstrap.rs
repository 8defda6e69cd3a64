//! The harness's bootstrap, draw for draw: its standard error of a perplexity has no formula, and one from other draws would differ in
//! the third digit.
//!
//! Source: `bootstrap_stderr` in `lm_eval/api/metrics.py` of lm-evaluation-harness 0.4.13. Chunk `i` of 1,000 resamples comes from
//! Python's `random.Random(i)`: a Mersenne Twister seeded by an array of one word, whose numbers have 53 bits, and
//! `random.choices`, which takes `floor(n * u)`.

use rand_mt::Mt;
use rayon::prelude::*;

/// Resamples of the harness.
const CHUNKS: u32 = 100;
const CHUNK: usize = 1_000;

/// Standard errors of `exp(-mean)` of some columns of `items` log-likelihoods each, over the same resamples.
pub(super) fn perplexity_stderrs(items: usize, columns: &[&[f64]]) -> Vec<f64> {
    let chunks: Vec<Vec<f64>> = (0..CHUNKS).into_par_iter().map(|chunk| replicates(chunk, items, columns)).collect();
    let of_column = |column: usize| {
        let all = chunks.iter().flat_map(|chunk| chunk.iter().skip(column).step_by(columns.len()));
        sample_deviation(&all.copied().collect::<Vec<f64>>())
    };
    (0..columns.len()).map(of_column).collect()
}

/// Values of all columns over the resamples of a chunk, resample after resample.
fn replicates(chunk: u32, items: usize, columns: &[&[f64]]) -> Vec<f64> {
    let mut random = Mt::new_with_key([chunk]);
    let mut drawn = vec![0; items];
    let mut values = Vec::with_capacity(CHUNK * columns.len());
    for _ in 0..CHUNK {
        for index in &mut drawn {
            *index = (uniform(&mut random) * items as f64) as usize;
        }
        for column in columns {
            let sum: f64 = drawn.iter().map(|&index| column[index]).sum();
            values.push((-sum / items as f64).exp());
        }
    }
    values
}

/// A number in [0, 1) with 53 bits, as Python's `random()`.
fn uniform(random: &mut Mt) -> f64 {
    let (high, low) = (random.next_u32() >> 5, random.next_u32() >> 6);
    (f64::from(high) * f64::from(1 << 26) + f64::from(low)) / (1_u64 << 53) as f64
}

fn sample_deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYTHON_7: [f64; 3] = [0.323_832_764_833_162_37, 0.150_849_173_924_501_92, 0.650_934_473_039_853_7];
    const PYTHON_0: [f64; 3] = [0.844_421_851_525_048_1, 0.757_954_402_940_302_5, 0.420_571_580_830_845];
    const HARNESS: [(u32, f64); 2] = [(2, 0.100_568_097_422_644_37), (37, 0.324_549_872_698_377_7)];

    /// `random.seed(7); [random.random() for _ in range(3)]`, and the same for 0, in Python 3.11.
    #[test]
    fn numbers_are_pythons() {
        let first = |seed| {
            let mut random = Mt::new_with_key([seed]);
            [(); 3].map(|()| uniform(&mut random).to_bits())
        };
        assert_eq!(first(7), PYTHON_7.map(f64::to_bits));
        assert_eq!(first(0), PYTHON_0.map(f64::to_bits));
    }

    /// `bootstrap_stderr(perplexity, xs, 100_000)` of the harness for `xs = [-(i * i % 11) / 4 for i in range(n)]`.
    #[test]
    fn standard_errors_are_those_of_the_harness() {
        for (n, expected) in HARNESS {
            let column: Vec<f64> = (0..n).map(|i| -f64::from(i * i % 11) / 4.0).collect();
            let constant = vec![-1.0; n as usize];
            let got = perplexity_stderrs(n as usize, &[&constant, &column]);
            // A mean of a hundred thousand numbers is rounded.
            assert!(got[0] < 1e-9, "{n}: a constant has the error {}", got[0]);
            assert!((got[1] - expected).abs() < 1e-9, "{n}: {} instead of {expected}", got[1]);
        }
    }
}
