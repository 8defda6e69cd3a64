//! Protocol `context`: reduce the context, run the continuation unreduced from its state.

use reduction_strategies::SegmentTokens;

use super::declaration::{Protocol, Scope};
use crate::batch::{Placement, Query, Sequence, Unit};
use crate::error::EvaluationError;
use crate::score::{After, Reading};

/// Only context tokens are reduced, the last one is protected, the continuation runs unreduced from the state that the reduced
/// context ends in. All choices of an item share one reduced context: deployment semantics.
pub static CONTEXT: Protocol = Protocol {
    name: "context",
    help: "the context is reduced, but not its last token; the continuation runs whole from the state that it ends in",
    scope: Scope::Context,
    leaks_running_text: false,
    demands_causality: false,
    reports_coverage: false,
    batch_size: None,
    units,
    readings,
};

/// One unit per shared context: the context, then the inputs of each of its continuations as children.
fn units(queries: &[Query], _: usize) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut last: Option<(u64, usize)> = None;
    for (index, query) in queries.iter().enumerate() {
        // Choices of one context follow each other.
        if last != Some((query.item, query.context_index)) {
            last = Some((query.item, query.context_index));
            units.push(Unit {
                sequences: vec![Sequence {
                    tokens: query.context.clone(),
                    parent: None,
                    table: SegmentTokens::reducible(query.item, query.context.len()).with_last_protected(),
                }],
                placements: Vec::new(),
            });
        }
        let unit = units.last_mut().unwrap_or_else(|| unreachable!("a unit was pushed above"));
        let inputs = &query.continuation[..query.continuation.len() - 1];
        let continuation = (!inputs.is_empty()).then(|| {
            unit.sequences.push(Sequence {
                tokens: inputs.to_vec(),
                parent: Some(0),
                table: SegmentTokens::fixed(query.item, query.context.len() as u32, inputs.len()),
            });
            unit.sequences.len() - 1
        });
        unit.placements.push(Placement { query: index, segment: 0, continuation });
    }
    units
}

/// The first target is read from the context's last row, every other from the row of its predecessor.
fn readings(query: &Query, placement: &Placement, after: &After<'_>) -> Result<Vec<Reading>, EvaluationError> {
    let context_end = after.segments.rows(placement.segment).end;
    let last = query.context.len() as u32 - 1;
    if after.positions[placement.segment].last() != Some(&last) {
        return Err(EvaluationError::LostProtected { item: query.item });
    }
    let targets = query.scored.iter().map(|&index| {
        let row = match (index, placement.continuation) {
            (0, _) => context_end - 1,
            (_, Some(segment)) => after.segments.rows(segment).start + index as usize - 1,
            (_, None) => unreachable!("a continuation of several tokens has inputs"),
        };
        Reading {
            index,
            target: query.continuation[index as usize],
            row: Some(row as u32),
            position: Some(last + index),
            covered: true,
        }
    });
    Ok(targets.collect())
}
