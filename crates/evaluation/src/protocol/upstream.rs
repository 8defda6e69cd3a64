//! Protocol `upstream`: `_loglikelihood_tokens` of the released `src/eval/huggingface.py` (`wuyushuwys/ToR_SSM`, 2e9fc62,
//! lines 640-840), bug for bug.
//!
//! Requests are sorted by length (longest first) and cut into batches; every row is padded on the right with token 0 to
//! the longest, and the whole row, padding included, is reduced. The rows of the continuation are then taken by index
//! from the end of the shortened row, as if every removed token had come before them; labels are cut to the rows that
//! are kept and compared by index; no rows at all give a log-likelihood of 0 and an exact match.
//!
//! Differs in: the released code stops with an assertion where the slice would end exactly at row 0; here that is a slice
//! of zero rows.

use reduction_strategies::SegmentTokens;

use super::declaration::{Protocol, Scope};
use crate::batch::{Placement, Query, Sequence, Unit};
use crate::error::EvaluationError;
use crate::score::{After, Reading};

/// Rows of a padded batch in the released script.
pub const BATCH_SIZE: usize = 96;

/// The released evaluation code, bug for bug: for reproduction only.
pub static UPSTREAM: Protocol = Protocol {
    name: "upstream",
    help: "the released evaluation code, bug for bug: for reproduction only",
    scope: Scope::Input,
    leaks_running_text: true,
    demands_causality: false,
    reports_coverage: false,
    batch_size: Some(BATCH_SIZE),
    units,
    readings,
};

/// Token that fills short rows.
const PADDING: u32 = 0;

/// One unit per query, longest first; `batch_size` of them are padded to one length and so make a batch.
fn units(queries: &[Query], batch_size: usize) -> Vec<Unit> {
    let mut order: Vec<usize> = (0..queries.len()).collect();
    let all_tokens = |index: usize| [queries[index].context.as_slice(), &queries[index].continuation].concat();
    order.sort_by_cached_key(|&index| {
        let tokens = all_tokens(index);
        (std::cmp::Reverse(tokens.len()), tokens)
    });
    let batches = order.chunks(batch_size).flat_map(|rows| {
        let longest = rows.iter().map(|&index| queries[index].inputs().len()).max().unwrap_or(0);
        rows.iter().map(move |&index| {
            let mut tokens = queries[index].inputs();
            tokens.resize(longest, PADDING);
            let table = SegmentTokens::reducible(queries[index].item, longest);
            Unit {
                sequences: vec![Sequence { tokens, parent: None, table }],
                placements: vec![Placement { query: index, segment: 0, continuation: None }],
            }
        })
    });
    batches.collect()
}

#[expect(clippy::unnecessary_wraps, reason = "the signature that a protocol declares")]
fn readings(query: &Query, placement: &Placement, after: &After<'_>) -> Result<Vec<Reading>, EvaluationError> {
    let padded = after.before.length(placement.segment) as i64;
    let rows = after.segments.rows(placement.segment);
    let positions = after.positions[placement.segment];
    let remaining = rows.len() as i64;
    let end = query.inputs().len() as i64 + remaining - padded;
    let taken = slice(end - query.continuation.len() as i64, end, remaining);
    let targets = query.scored.iter().filter_map(|&index| {
        let at = taken.start + index as usize;
        taken.contains(&at).then(|| {
            let position = positions[at];
            Reading {
                index,
                target: query.continuation[index as usize],
                row: Some((rows.start + at) as u32),
                position: Some(position),
                covered: position as usize == query.context.len() + index as usize - 1,
            }
        })
    });
    Ok(targets.collect())
}

/// Python's `rows[start:end]` over `length` rows: negative bounds count from the end, then both are clamped.
fn slice(start: i64, end: i64, length: i64) -> std::ops::Range<usize> {
    let bound = |bound: i64| (if bound < 0 { bound + length } else { bound }).clamp(0, length) as usize;
    bound(start)..bound(end).max(bound(start))
}

#[cfg(test)]
mod tests {
    use super::slice;

    #[test]
    fn slices_as_python_does() {
        assert_eq!(slice(2, 5, 10), 2..5);
        assert_eq!(slice(-3, 5, 10), 7..7);
        assert_eq!(slice(-3, -1, 10), 7..9);
        assert_eq!(slice(-3, 0, 10), 7..7);
        assert_eq!(slice(-30, 4, 10), 0..4);
        assert_eq!(slice(8, 12, 10), 8..10);
    }
}
