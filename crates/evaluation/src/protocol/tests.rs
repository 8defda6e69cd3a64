//! Readings on hand-built tables: which row each protocol takes for which target.

use std::collections::BTreeMap;

use reduction_strategies::registry::Strategy;
use reduction_strategies::{SegmentTokens, TokenTable, positions_of};
use ssm_kernels::Segments;
use ssm_model::{LanguageModel, catalog};

use super::{ALIGNED, CONTEXT, Protocol, Refusal, Scope, Scoring, UPSTREAM as UPSTREAM_PROTOCOL, all, find};
use crate::batch::pack::{batch, pack};
use crate::batch::{Placement, Query};
use crate::error::EvaluationError;
use crate::score::{After, Reading};
use crate::tasks::{Context, Item, Request, TaskKind};
use crate::{Evaluation, Reduction, Settings, Setup, evaluate, guards};

/// Context of `context` tokens 10, 11, .. and the continuation after it, all scored.
fn query(context: usize, continuation: usize) -> Query {
    let tokens: Vec<u32> = (10..10 + (context + continuation) as u32).collect();
    Query {
        item: 0,
        context_index: 0,
        context: tokens[..context].to_vec(),
        continuation: tokens[context..].to_vec(),
        scored: (0..continuation as u32).collect(),
        necessary: Vec::new(),
    }
}

fn survivors(positions: &[u32]) -> SegmentTokens {
    SegmentTokens { positions: positions.to_vec(), ..SegmentTokens::reducible(0, positions.len()) }
}

/// Rows and coverage of all targets in a stream of one earlier sequence of 3 rows and the query's own.
fn read(protocol: Scoring, query: &Query, padded: usize, positions: &[u32]) -> Vec<Reading> {
    let table = TokenTable::new(vec![SegmentTokens::reducible(1, 3), survivors(positions)]);
    let (before, after) = (Segments::independent(&[3, padded]), Segments::independent(&[3, positions.len()]));
    let placement = Placement { query: 0, segment: 1, continuation: None };
    protocol
        .readings(
            query,
            &placement,
            &After { before: &before, segments: &after, positions: &positions_of(&table.segments) },
        )
        .unwrap()
}

fn rows(readings: &[Reading]) -> Vec<(Option<u32>, bool)> {
    readings.iter().map(|reading| (reading.row, reading.covered)).collect()
}

/// The stream of `context`: an earlier sequence of 3 rows, a reduced context, its continuation's inputs.
fn read_context(query: &Query, positions: &[u32]) -> Result<Vec<Reading>, EvaluationError> {
    let inputs = query.continuation.len() - 1;
    let fixed = SegmentTokens::fixed(0, query.context.len() as u32, inputs);
    let table = TokenTable::new(vec![SegmentTokens::reducible(1, 3), survivors(positions), fixed]);
    let parents = [None, None, Some(1)];
    let before = Segments::new(&[3, query.context.len(), inputs], &parents).unwrap();
    let after = Segments::new(&[3, positions.len(), inputs], &parents).unwrap();
    let placement = Placement { query: 0, segment: 1, continuation: Some(2) };
    CONTEXT.defaults().readings(
        query,
        &placement,
        &After { before: &before, segments: &after, positions: &positions_of(&table.segments) },
    )
}

#[test]
fn context_reads_the_last_context_row_then_the_rows_of_the_continuation() {
    let query = query(5, 3);
    let readings = read_context(&query, &[0, 2, 4]).unwrap();
    assert_eq!(rows(&readings), [(Some(5), true), (Some(6), true), (Some(7), true)]);
    let targets: Vec<_> = readings.iter().map(|reading| (reading.target, reading.position)).collect();
    assert_eq!(targets, [(15, Some(4)), (16, Some(5)), (17, Some(6))]);
}

#[test]
fn context_reads_only_what_is_scored() {
    let query = Query { scored: vec![2], ..query(5, 3) };
    assert_eq!(rows(&read_context(&query, &[0, 2, 4]).unwrap()), [(Some(7), true)]);
}

#[test]
fn context_refuses_a_context_that_lost_its_last_token() {
    let lost = read_context(&query(5, 2), &[0, 2, 3]);
    assert!(matches!(lost, Err(EvaluationError::LostProtected { item: 0 })), "{lost:?}");
}

#[test]
fn context_lays_choices_out_as_children_of_one_context() {
    let queries = [query(4, 3), query(4, 1), Query { context_index: 1, ..query(4, 2) }];
    let batches = pack(&CONTEXT.defaults().units(&queries), 100).unwrap();
    assert_eq!(batches.len(), 1);
    let batch = &batches[0];
    let parents: Vec<_> = (0..batch.segments.len()).map(|segment| batch.segments.parent(segment)).collect();
    let lengths: Vec<_> = (0..batch.segments.len()).map(|segment| batch.segments.length(segment)).collect();
    assert_eq!((lengths, parents), (vec![4, 2, 4, 1], vec![None, Some(0), None, Some(2)]));
    let placed: Vec<_> = batch.placements.iter().map(|p| (p.query, p.segment, p.continuation)).collect();
    assert_eq!(placed, [(0, 0, Some(1)), (1, 0, None), (2, 2, Some(3))]);
    assert_eq!(batch.table.segments[0].protected, [false, false, false, true]);
    assert!(!batch.table.segments[1].reducible);
}

#[test]
fn aligned_reads_the_nearest_survivor_at_or_before_the_predecessor() {
    // Predecessors are positions 3, 4 and 5; of them only 4 is left.
    let readings = read(ALIGNED.defaults(), &query(4, 3), 6, &[0, 2, 4]);
    assert_eq!(rows(&readings), [(Some(4), false), (Some(5), true), (Some(5), false)]);
    assert_eq!(readings.iter().map(|reading| reading.position).collect::<Vec<_>>(), [Some(2), Some(4), Some(4)]);
}

#[test]
fn aligned_has_no_row_where_nothing_before_survives() {
    let readings = read(ALIGNED.defaults(), &query(2, 3), 4, &[2, 3]);
    assert_eq!(rows(&readings), [(None, false), (Some(3), true), (Some(4), true)]);
}

const UPSTREAM: Scoring = UPSTREAM_PROTOCOL.with_batch_size(96);

#[test]
fn upstream_is_right_where_only_the_front_is_thinned() {
    // Inputs 0..=6; targets 5, 6, 7 are to be read from 4, 5, 6.
    let readings = read(UPSTREAM, &query(5, 3), 7, &[1, 3, 4, 5, 6]);
    assert_eq!(rows(&readings), [(Some(5), true), (Some(6), true), (Some(7), true)]);
}

#[test]
fn upstream_reads_wrong_rows_where_drops_are_scattered() {
    // 5 of 7 are kept: the last three rows hold positions 2, 3 and 5.
    let readings = read(UPSTREAM, &query(5, 3), 7, &[0, 1, 2, 3, 5]);
    assert_eq!(readings.iter().map(|reading| reading.position).collect::<Vec<_>>(), [Some(2), Some(3), Some(5)]);
    assert!(readings.iter().all(|reading| !reading.covered));
}

#[test]
fn upstream_is_wrong_once_padding_is_dropped() {
    // 7 inputs and 3 rows of padding, two of which go: the slice moves by two although no real token went.
    let readings = read(UPSTREAM, &query(5, 3), 10, &[0, 1, 2, 3, 4, 5, 6, 9]);
    assert_eq!(rows(&readings), [(Some(5), false), (Some(6), false), (Some(7), false)]);
    assert_eq!(readings.iter().map(|reading| reading.position).collect::<Vec<_>>(), [Some(2), Some(3), Some(4)]);
    // Untouched padding does no harm.
    let readings = read(UPSTREAM, &query(5, 3), 10, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(readings.iter().all(|reading| reading.covered));
}

#[test]
fn upstream_bounds_below_zero_count_from_the_end() {
    // end = 4 inputs + 6 rows - 12 = -2, start = -4: rows 2 and 3 of 6. What stands there is a matter of luck.
    let readings = read(UPSTREAM, &query(3, 2), 12, &[0, 1, 2, 3, 4, 5]);
    assert_eq!(rows(&readings), [(Some(5), true), (Some(6), true)]);
    // Here it is padding.
    let readings = read(UPSTREAM, &query(3, 2), 12, &[0, 1, 5, 6, 7, 8]);
    assert_eq!(rows(&readings), [(Some(5), false), (Some(6), false)]);
    assert_eq!(readings.iter().map(|reading| reading.position).collect::<Vec<_>>(), [Some(5), Some(6)]);
}

#[test]
fn upstream_may_be_left_with_fewer_rows_or_none() {
    // end = 4 + 4 - 7 = 1, start = 1 - 3 = -2 -> 2: an empty slice.
    assert_eq!(read(UPSTREAM, &query(2, 3), 7, &[0, 1, 2, 3]), []);
    // end = 6 + 2 - 6 = 2, start = 2 - 5 = -3 -> clamped to 0: two rows for five labels, cut by index.
    let readings = read(UPSTREAM, &query(2, 5), 6, &[0, 1]);
    assert_eq!(
        readings.iter().map(|reading| (reading.index, reading.row)).collect::<Vec<_>>(),
        [(0, Some(3)), (1, Some(4))]
    );
}

#[test]
fn upstream_batches_the_longest_first_and_pads_with_zero() {
    let queries = [query(2, 2), query(5, 2), query(3, 2)];
    let batches = {
        let units = UPSTREAM_PROTOCOL.with_batch_size(2).units(&queries);
        units.chunks(2).map(batch).collect::<Result<Vec<_>, _>>().unwrap()
    };
    let placed: Vec<Vec<usize>> =
        batches.iter().map(|batch| batch.placements.iter().map(|placement| placement.query).collect()).collect();
    assert_eq!(placed, [vec![1, 2], vec![0]]);
    assert_eq!(batches[0].tokens, [10, 11, 12, 13, 14, 15, 10, 11, 12, 13, 0, 0]);
    assert_eq!(batches[1].tokens, [10, 11, 12]);
    assert!(batches[0].table.segments[1].reducible && !batches[0].table.segments[1].protected.contains(&true));
    assert_eq!(batches[0].table.segments[1].positions.len(), 6, "padding is reduced too");
}

/// What a protocol declares is what the plan asks and the evaluation enforces.
#[test]
fn a_protocol_says_which_scores_would_not_mean_what_they_say() {
    let named = |name| find(name).unwrap();
    for name in ["context", "aligned", "causal", "upstream"] {
        let protocol = named(name);
        assert_eq!(protocol.name, name);
        for causal in [false, true] {
            assert_eq!(protocol.refuses(true, false, causal), None, "{name}: nothing is reduced");
        }
    }
    assert_eq!(all().len(), 4);
    assert_eq!(named("upstream").with_batch_size(3).padded_rows(), 3);
    assert_eq!(named("context").with_batch_size(3).padded_rows(), 1, "it pads nothing");
    assert_eq!(find("foo"), None);
    let of = |name, text, causal| named(name).refuses(text, true, causal);
    for causal in [false, true] {
        assert_eq!(of("context", true, causal), None);
        assert_eq!(of("aligned", true, causal), Some(Refusal::LeaksFuture));
        assert_eq!(of("upstream", true, causal), Some(Refusal::LeaksFuture));
        assert_eq!((of("aligned", false, causal), of("upstream", false, causal)), (None, None));
    }
    assert_eq!((of("causal", true, true), of("causal", true, false)), (None, Some(Refusal::NotCausal)));
}

/// A protocol that exists here alone: it reads every target from the last kept row of its sequence.
static LAST_ROW: Protocol = Protocol {
    name: "last_row",
    help: "every target is read from the last kept row",
    scope: Scope::Input,
    leaks_running_text: true,
    demands_causality: false,
    reports_coverage: false,
    batch_size: None,
    units: ALIGNED.units,
    readings: |query, placement, after| {
        let (positions, rows) = (after.positions[placement.segment], after.segments.rows(placement.segment));
        let reading = |&index: &u32| Reading {
            index,
            target: query.continuation[index as usize],
            row: Some(rows.end as u32 - 1),
            position: positions.last().copied(),
            covered: positions.last() == Some(&(query.context.len() as u32 + index - 1)),
        };
        Ok(query.scored.iter().map(reading).collect())
    },
};

/// One declaration is all that a protocol needs: the evaluation lays out, reads and refuses by it, and the guards judge it.
#[test]
fn a_protocol_is_one_declaration() {
    let checkpoint = catalog::builtin("mamba2-world").unwrap().open().unwrap();
    let mut weights = checkpoint.weights;
    let model = LanguageModel::load(&checkpoint.config, &mut weights, &ssm_model::Placement::cpu()).unwrap();
    let item = |continuation: Vec<u32>| Item {
        id: continuation.len().to_string(),
        gold: None,
        contexts: vec![Context { tokens: vec![5, 9, 14, 3, 27, 11], necessary: Vec::new() }],
        requests: vec![Request {
            context: 0,
            scored: (0..continuation.len() as u32).collect(),
            continuation,
            characters: 1,
        }],
        ..Item::default()
    };
    let items = [item(vec![8]), item(vec![8, 21, 4])];
    let kept = |keep_ratio, sites: &[usize]| Reduction {
        rule: Strategy::new("drop_prefix", &BTreeMap::new()).unwrap().rule(),
        keep_ratio,
        sites: sites.to_vec(),
        ..Reduction::dense()
    };
    let run = |scoring: Scoring, kind, reduction: &Reduction| {
        evaluate(&Setup { model: &model, kind, items: &items, scoring, reduction }, Settings::default())
    };
    let reduced = kept(0.5, &[2]);
    let own = run(LAST_ROW.defaults(), TaskKind::Target, &reduced).unwrap();
    let aligned = run(ALIGNED.defaults(), TaskKind::Target, &reduced).unwrap();
    // The last target is read from the last row under both; the others from a row that both protocols may not share.
    let last = |evaluation: &Evaluation, item: usize| evaluation.items[item].choices[0].tokens.last().copied();
    for item in 0..items.len() {
        assert_eq!(last(&own, item), last(&aligned, item));
    }
    assert!(own.items[1].choices[0].tokens[0] != aligned.items[1].choices[0].tokens[0]);
    // The evaluation refuses what the declaration says, and the oracle finds that it reads wrong rows.
    assert_eq!(LAST_ROW.refuses(true, true, true), Some(Refusal::LeaksFuture));
    let refused = run(LAST_ROW.defaults(), TaskKind::RunningText, &reduced);
    assert!(matches!(refused, Err(EvaluationError::LeaksFuture)), "{refused:?}");
    assert!(run(LAST_ROW.defaults(), TaskKind::RunningText, &Reduction::dense()).is_ok(), "nothing is reduced");
    let setup = |scoring, reduction| Setup { model: &model, kind: TaskKind::Target, items: &items, scoring, reduction };
    let outcome = guards::oracle(&setup(LAST_ROW.defaults(), &reduced)).unwrap();
    assert!(!outcome.passed && outcome.checked == 4, "{outcome:?}");
}
