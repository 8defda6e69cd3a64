//! From readings to scores, by the model or by an oracle that knows every next token.

use ssm_kernels::ops::{TokenScore, log_probs};
use ssm_model::{Activations, MambaLm};

use crate::error::EvaluationError;
use crate::protocol::Reading;
use crate::query::Query;

/// Rows that pass through the head at once: bounds the logits in memory.
const HEAD_ROWS: usize = 1024;

/// Log-probability that the oracle gives to a token it does not expect.
const ORACLE_MISS: f32 = -30.0;

/// Who answers for a row.
#[derive(Clone, Copy)]
pub(crate) enum Scorer<'a> {
    /// The model's head.
    Model(&'a MambaLm),
    /// A model that is certain of the true next token of whatever token stands in the row.
    Oracle,
}

/// One scored target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredTarget {
    /// Index in the continuation.
    pub index: u32,
    /// Log-probability of the target.
    pub log_prob: f32,
    /// Whether the target is the greedy choice.
    pub hit: bool,
    /// Whether it was read from the row of its true predecessor.
    pub covered: bool,
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
