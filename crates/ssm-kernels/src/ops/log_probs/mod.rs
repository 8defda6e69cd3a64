#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::error::{KernelError, unsupported};
use crate::host::matrix;
use crate::math::{exp, vectorised};

const OP: &str = "log_probs";

/// What a row of logits says about its target token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenScore {
    /// Natural logarithm of the target's probability.
    pub log_prob: f32,
    /// The most likely token; the lowest id among equals.
    pub greedy: u32,
}

/// Log-probability of one target per row, and the greedy token: the only place where logits become scores.
///
/// `log_prob = logit[target] - max - ln(sum(exp(logit - max)))`, the sum in float64.
///
/// # Shapes
/// - `logits`: `[rows, vocabulary]`; `targets`: one token id per row
///
/// # Errors
/// A count of targets that does not fit, a target outside the vocabulary, or a dtype or device that does not fit.
pub fn log_probs(logits: &Tensor, targets: &[u32]) -> Result<Vec<TokenScore>, KernelError> {
    let (rows, vocabulary) = logits.dims2()?;
    let fits = targets.len() == rows && targets.iter().all(|target| (*target as usize) < vocabulary);
    if !fits {
        return Err(KernelError::Shape {
            op: OP,
            tensor: "logits",
            expected: format!("one row per target ({}), a vocabulary that holds every target", targets.len()),
            got: logits.dims().to_vec(),
        });
    }
    match logits.device() {
        Device::Cpu => on_cpu(logits, targets),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::log_probs(logits, targets),
        other => Err(unsupported(OP, other, logits.dtype())),
    }
}

fn on_cpu(logits: &Tensor, targets: &[u32]) -> Result<Vec<TokenScore>, KernelError> {
    let (values, _, vocabulary) = matrix(logits, OP, "logits")?;
    Ok(values.par_chunks(vocabulary).zip(targets).map(|(row, target)| score((row, *target))).collect())
}

vectorised! {
    fn score(row_and_target: (&[f32], u32)) -> TokenScore {
        let (row, target) = row_and_target;
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let greedy = row.iter().position(|value| *value >= largest).unwrap_or(0);
        let mut partial = [0.0_f64; 8];
        for chunk in row.chunks(8) {
            for (partial, value) in partial.iter_mut().zip(chunk) {
                *partial += f64::from(exp(value - largest));
            }
        }
        let log_sum = partial.iter().sum::<f64>().ln();
        TokenScore {
            log_prob: (f64::from(row[target as usize]) - f64::from(largest) - log_sum) as f32,
            greedy: greedy as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_computed_rows() {
        // Equal logits: ln(1/4); ties go to the lowest id. Then 1 : 3 odds.
        let logits = Tensor::new(&[[5.0_f32; 4], [0.0, 3.0_f32.ln(), -100.0, -100.0]], &Device::Cpu).unwrap();
        let scores = log_probs(&logits, &[2, 0]).unwrap();
        assert!((scores[0].log_prob - 0.25_f32.ln()).abs() < 1e-6);
        assert_eq!(scores[0].greedy, 0);
        assert!((scores[1].log_prob - 0.25_f32.ln()).abs() < 1e-6);
        assert_eq!(scores[1].greedy, 1);
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_refused() {
        let logits = Tensor::zeros((1, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(log_probs(&logits, &[4]).is_err());
        assert!(log_probs(&logits, &[1, 2]).is_err());
    }
}
