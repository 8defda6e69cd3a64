//! What is to be computed, before anything runs: distinct documents, and which cells want each of them.

use std::collections::HashMap;

use reduction_strategies::SegmentTokens;
use ssm_kernels::Segments;

use super::CellRequest;
use crate::protocol::{Placement, Unit};
use crate::query::{Query, queries};

/// Queries of one task under one protocol, with the places of each unit.
pub(super) struct Layout {
    pub(super) queries: Vec<Query>,
    /// In the order in which `evaluate` runs and records them.
    pub(super) units: Vec<LaidOut>,
}

/// A unit without its tokens.
pub(super) struct LaidOut {
    pub(super) item: u64,
    pub(super) placements: Vec<Placement>,
}

/// One tree of segments, wanted by one or more lanes.
pub(super) struct Document {
    pub(super) tokens: Vec<u32>,
    pub(super) segments: Segments,
    pub(super) table: Vec<SegmentTokens>,
    pub(super) lanes: Vec<Lane>,
}

/// A unit of a cell: the smallest thing that asks for a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) cell: usize,
    /// Index into [`Layout::units`].
    pub(super) unit: usize,
    /// The unit's item; random choices depend on it.
    pub(super) item: u64,
}

/// What a cell does at a site; equal numbers plan alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Operation(usize);

/// All work of a run.
pub(super) struct Catalogue {
    pub(super) layouts: Vec<Layout>,
    /// Layout of each cell.
    pub(super) layout_of: Vec<usize>,
    /// Operation of each cell.
    pub(super) operation_of: Vec<Operation>,
    /// In the order of the layouts, so that the cells of one layout end together.
    pub(super) documents: Vec<Document>,
}

/// Length, parent, first position, whether reducible, and protection of a segment.
type SegmentKey = (usize, Option<usize>, Option<u32>, bool, Vec<bool>);

/// Everything of a unit that enters a computation, save the item.
#[derive(PartialEq, Eq, Hash)]
struct DocumentKey {
    tokens: Vec<u32>,
    segments: Vec<SegmentKey>,
}

impl DocumentKey {
    fn new(unit: &Unit) -> Self {
        let segment = |sequence: &crate::protocol::Sequence| {
            let table = &sequence.table;
            let first = table.positions.first().copied();
            (sequence.tokens.len(), sequence.parent, first, table.reducible, table.protected.clone())
        };
        Self {
            tokens: unit.sequences.iter().flat_map(|sequence| &sequence.tokens).copied().collect(),
            segments: unit.sequences.iter().map(segment).collect(),
        }
    }
}

impl Catalogue {
    pub(super) fn new(cells: &[CellRequest<'_>]) -> Self {
        let mut catalogue =
            Self { layouts: Vec::new(), layout_of: Vec::new(), operation_of: operations(cells), documents: Vec::new() };
        let mut firsts: Vec<&CellRequest<'_>> = Vec::new();
        for cell in cells {
            let same = |other: &&CellRequest<'_>| {
                std::ptr::eq(other.items, cell.items) && other.kind == cell.kind && other.protocol == cell.protocol
            };
            let known = firsts.iter().position(same);
            catalogue.layout_of.push(known.unwrap_or(firsts.len()));
            if known.is_none() {
                firsts.push(cell);
            }
        }
        let mut documents = HashMap::new();
        for (index, first) in firsts.into_iter().enumerate() {
            let queries = queries(first.kind, first.items, first.protocol);
            let units = first.protocol.units(&queries);
            let cells = (0..cells.len()).filter(|cell| catalogue.layout_of[*cell] == index).collect::<Vec<_>>();
            for (unit_index, unit) in units.iter().enumerate() {
                let document = *documents.entry(DocumentKey::new(unit)).or_insert_with(|| {
                    catalogue.documents.push(Document::new(unit));
                    catalogue.documents.len() - 1
                });
                let item = unit.sequences[0].table.item;
                let lanes = cells.iter().map(|cell| Lane { cell: *cell, unit: unit_index, item });
                catalogue.documents[document].lanes.extend(lanes);
            }
            let laid_out = |unit: Unit| LaidOut { item: unit.sequences[0].table.item, placements: unit.placements };
            catalogue.layouts.push(Layout { queries, units: units.into_iter().map(laid_out).collect() });
        }
        catalogue
    }

    /// Documents that run together: at most `rows` rows, or one document.
    pub(super) fn micro_batches(&self, rows: usize) -> Vec<Vec<usize>> {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut size = 0;
        for (index, document) in self.documents.iter().enumerate() {
            let length = document.tokens.len();
            match batches.last_mut() {
                Some(batch) if size + length <= rows => batch.push(index),
                _ => {
                    batches.push(vec![index]);
                    size = 0;
                }
            }
            size += length;
        }
        batches
    }

    /// The queries and the laid out unit of a lane.
    pub(super) fn unit_of(&self, lane: Lane) -> (&[Query], &LaidOut) {
        let layout = &self.layouts[self.layout_of[lane.cell]];
        (&layout.queries, &layout.units[lane.unit])
    }
}

impl Document {
    fn new(unit: &Unit) -> Self {
        let lengths: Vec<usize> = unit.sequences.iter().map(|sequence| sequence.tokens.len()).collect();
        let parents: Vec<Option<usize>> = unit.sequences.iter().map(|sequence| sequence.parent).collect();
        Self {
            tokens: unit.sequences.iter().flat_map(|sequence| &sequence.tokens).copied().collect(),
            segments: Segments::new(&lengths, &parents).unwrap_or_else(|_| unreachable!("a unit is one valid tree")),
            table: unit.sequences.iter().map(|sequence| sequence.table.clone()).collect(),
            lanes: Vec::new(),
        }
    }
}

/// Numbers the operations of the cells. Sites are no part of them: cells that reduce elsewhere may still do the same here.
fn operations(cells: &[CellRequest<'_>]) -> Vec<Operation> {
    let mut known = HashMap::new();
    let operation = |cell: &CellRequest<'_>| {
        let reduction = &cell.reduction;
        let seed = reduction.rule.draws().then_some(reduction.seed);
        let next = known.len();
        let key = (reduction.rule.fingerprint(), reduction.keep_ratio.to_bits(), seed, reduction.positions);
        Operation(*known.entry(key).or_insert(next))
    };
    cells.iter().map(operation).collect()
}
