//! From readings to scores, by the model or by an oracle that knows every next token.

use ssm_kernels::ops::{TokenScore, log_probs};
use ssm_model::{Activations, LanguageModel};

use super::reading::Reading;
use super::target::ScoredTarget;
use crate::batch::Query;
use crate::error::EvaluationError;

/// Rows that pass through the head at once: bounds the logits in memory.
pub(crate) const HEAD_ROWS: usize = 1024;

/// Log-probability that the oracle gives to a token it does not expect.
const ORACLE_MISS: f32 = -30.0;

/// Who answers for a row.
#[derive(Clone, Copy)]
pub(crate) enum Scorer<'a> {
    /// The model's head.
    Model(&'a LanguageModel),
    /// A model that is certain of the true next token of whatever token stands in the row.
    Oracle,
}

/// Scores all readings of a batch, in order. Targets without a row are scored as by a model that has read nothing:
/// uniformly over the vocabulary, and never as a greedy hit.
pub(crate) fn score(
    scorer: Scorer<'_>,
    vocab_size: usize,
    activations: &Activations,
    readings: &[(&Query, Reading)],
) -> Result<Vec<ScoredTarget>, EvaluationError> {
    let with_row: Vec<(usize, u32, u32)> = readings
        .iter()
        .enumerate()
        .filter_map(|(index, (_, reading))| Some((index, reading.row?, reading.target)))
        .collect();
    let mut answers: Vec<Option<TokenScore>> = vec![None; readings.len()];
    match scorer {
        Scorer::Model(model) => {
            for chunk in with_row.chunks(HEAD_ROWS) {
                let rows: Vec<u32> = chunk.iter().map(|(_, row, _)| *row).collect();
                let targets: Vec<u32> = chunk.iter().map(|(_, _, target)| *target).collect();
                let scores = log_probs(&model.head(activations, &rows)?, &targets)?;
                for ((index, _, _), score) in chunk.iter().zip(scores) {
                    answers[*index] = Some(score);
                }
            }
        }
        Scorer::Oracle => {
            for (index, _, target) in with_row {
                let (query, reading) = &readings[index];
                let expected = reading.position.and_then(|position| query.token(position as usize + 1));
                // Past the end stands padding, which no oracle expects to be a target.
                let greedy = expected.unwrap_or(u32::MAX);
                let log_prob = if greedy == target { 0.0 } else { ORACLE_MISS };
                answers[index] = Some(TokenScore { log_prob, greedy });
            }
        }
    }
    let uniform = -(vocab_size as f32).ln();
    let scored = readings.iter().zip(answers).map(|((_, reading), answer)| ScoredTarget {
        index: reading.index,
        log_prob: answer.map_or(uniform, |answer| answer.log_prob),
        hit: answer.is_some_and(|answer| answer.greedy == reading.target),
        covered: reading.covered,
    });
    Ok(scored.collect())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    fn query() -> Query {
        Query {
            item: 0,
            context_index: 0,
            context: vec![10, 11, 12],
            continuation: vec![13, 14],
            scored: vec![0, 1],
            necessary: Vec::new(),
        }
    }

    /// A target and the position of the row that it is read from.
    fn reading(index: u32, position: Option<u32>) -> Reading {
        Reading { index, target: 13 + index, row: position, position, covered: position == Some(2 + index) }
    }

    fn oracle(readings: &[Reading]) -> Vec<ScoredTarget> {
        let hidden = Tensor::zeros((8, 1), DType::F32, &Device::Cpu).unwrap();
        let query = query();
        let readings: Vec<_> = readings.iter().map(|reading| (&query, *reading)).collect();
        score(Scorer::Oracle, 8, &Activations { hidden, residual: None, embeddings: None }, &readings).unwrap()
    }

    #[test]
    fn an_oracle_is_certain_where_the_right_rows_are_read() {
        let scores = oracle(&[reading(0, Some(2)), reading(1, Some(3))]);
        assert!(scores.iter().all(|score| score.hit && score.covered && score.log_prob == 0.0), "{scores:?}");
    }

    /// The mistake that guards are there for: a protocol that is off by one, in either direction.
    #[test]
    fn an_oracle_fails_where_readings_are_shifted() {
        for shift in [-1_i32, 1] {
            let at = |position: i32| Some((position + shift) as u32);
            let scores = oracle(&[reading(0, at(2)), reading(1, at(3))]);
            assert!(scores.iter().all(|score| !score.hit && score.log_prob == ORACLE_MISS), "{shift}: {scores:?}");
        }
    }

    #[test]
    fn a_target_without_row_is_uniform_and_never_a_hit() {
        let scores = oracle(&[reading(0, None), reading(1, Some(3))]);
        assert_eq!(scores[0].log_prob.to_bits(), (-(8.0_f32.ln())).to_bits());
        assert!(!scores[0].hit && !scores[0].covered && scores[1].hit);
    }
}
