//! The definition, row by row in float64.

use candle_core::Tensor;
use ssm_kernels::ops::TokenScore;

/// `ln(e^l[target] / sum_j e^l[j])`, and the lowest token among those with the largest logit.
///
/// # Shapes
/// - `logits`: `[rows, vocabulary]`; `targets`: one token per row
pub(crate) fn log_probs(logits: &Tensor, targets: &[u32]) -> Vec<TokenScore> {
    let mut scores = Vec::new();
    for (row, target) in logits.to_vec2::<f32>().unwrap().iter().zip(targets) {
        let mut greedy = 0;
        for (token, logit) in row.iter().enumerate() {
            if *logit > row[greedy] {
                greedy = token;
            }
        }
        // Relative to the largest logit, so that nothing overflows.
        let largest = f64::from(row[greedy]);
        let sum: f64 = row.iter().map(|logit| (f64::from(*logit) - largest).exp()).sum();
        let log_prob = f64::from(row[*target as usize]) - largest - sum.ln();
        scores.push(TokenScore { log_prob: log_prob as f32, greedy: greedy as u32 });
    }
    scores
}
