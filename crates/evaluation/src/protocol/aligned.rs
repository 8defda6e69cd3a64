//! Protocol `aligned`: reduce everything, carry the original positions, read each target where its past ends.

use reduction_strategies::SegmentTokens;

use super::declaration::{Protocol, Scope};
use crate::batch::{Placement, Query, Sequence, Unit};
use crate::error::EvaluationError;
use crate::score::{After, Reading};

/// The whole input may be reduced; a target is read from the nearest kept row at or before its predecessor.
pub static ALIGNED: Protocol = Protocol {
    name: "aligned",
    help: "the whole input may be reduced; a target is read from the nearest kept row at or before its predecessor",
    scope: Scope::Input,
    leaks_running_text: true,
    demands_causality: false,
    reports_coverage: true,
    batch_size: None,
    units,
    readings,
};

/// One unit per query: context and continuation, without the last token (nothing is read after it).
pub(super) fn units(queries: &[Query], _: usize) -> Vec<Unit> {
    let units = queries.iter().enumerate().map(|(index, query)| {
        let tokens = query.inputs();
        let table = SegmentTokens::reducible(query.item, tokens.len());
        Unit {
            sequences: vec![Sequence { tokens, parent: None, table }],
            placements: vec![Placement { query: index, segment: 0, continuation: None }],
        }
    });
    units.collect()
}

/// The nearest kept row at or before the target's predecessor.
#[expect(clippy::unnecessary_wraps, reason = "the signature that a protocol declares")]
pub(super) fn readings(
    query: &Query,
    placement: &Placement,
    after: &After<'_>,
) -> Result<Vec<Reading>, EvaluationError> {
    let positions = after.positions[placement.segment];
    let first_row = after.segments.rows(placement.segment).start;
    let targets = query.scored.iter().map(|&index| {
        let predecessor = query.context.len() as u32 + index - 1;
        let kept = positions.partition_point(|&position| position <= predecessor);
        let nearest = kept.checked_sub(1);
        Reading {
            index,
            target: query.continuation[index as usize],
            row: nearest.map(|nearest| (first_row + nearest) as u32),
            position: nearest.map(|nearest| positions[nearest]),
            covered: nearest.is_some_and(|nearest| positions[nearest] == predecessor),
        }
    });
    Ok(targets.collect())
}
