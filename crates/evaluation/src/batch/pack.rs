//! From units to packed batches.

use reduction_strategies::TokenTable;
use ssm_kernels::Segments;

use super::unit::{Placement, Unit};
use crate::error::EvaluationError;

/// Packed sequences that run together, and where each query's rows are.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) tokens: Vec<u32>,
    pub(crate) segments: Segments,
    pub(crate) table: TokenTable,
    pub(crate) placements: Vec<Placement>,
}

/// Packs whole units into batches of about `max_tokens` rows, in order.
pub(crate) fn pack(units: &[Unit], max_tokens: usize) -> Result<Vec<Batch>, EvaluationError> {
    let mut batches = Vec::new();
    let (mut first, mut size) = (0, 0);
    for (index, unit) in units.iter().enumerate() {
        let length = unit.tokens();
        if size + length > max_tokens && first < index {
            batches.push(batch(&units[first..index])?);
            (first, size) = (index, 0);
        }
        size += length;
    }
    if first < units.len() {
        batches.push(batch(&units[first..])?);
    }
    Ok(batches)
}

pub(crate) fn batch(units: &[Unit]) -> Result<Batch, EvaluationError> {
    let (mut tokens, mut lengths, mut parents) = (Vec::new(), Vec::new(), Vec::new());
    let mut tables = Vec::new();
    let mut placements = Vec::new();
    for unit in units {
        let first = lengths.len();
        for sequence in &unit.sequences {
            lengths.push(sequence.tokens.len());
            parents.push(sequence.parent.map(|parent| first + parent));
            tables.push(sequence.table.clone());
            tokens.extend_from_slice(&sequence.tokens);
        }
        placements.extend(unit.placements.iter().map(|placement| Placement {
            query: placement.query,
            segment: first + placement.segment,
            continuation: placement.continuation.map(|segment| first + segment),
        }));
    }
    Ok(Batch { tokens, segments: Segments::new(&lengths, &parents)?, table: TokenTable::new(tables), placements })
}
