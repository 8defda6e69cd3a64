//! What is to be computed, before anything runs: distinct documents, and which cells want each of them.

use std::collections::HashMap;
use std::ops::Range;

use reduction_strategies::SegmentTokens;
use ssm_kernels::Segments;

use super::CellRequest;
use super::calls::calls;
use crate::batch::{Layout, Query, Unit};
use crate::run::Reduction;

/// Units of one layout that some cells want.
pub(super) struct Stretch<'a> {
    pub(super) layout: &'a Layout,
    pub(super) span: Range<usize>,
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
    /// Index into the units of the cell's layout.
    pub(super) unit: usize,
    /// The unit's item; random choices depend on it.
    pub(super) item: u64,
}

/// What a cell does at a site; equal numbers plan alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Operation(usize);

/// All work of a job.
pub(super) struct Catalogue<'a> {
    stretches: Vec<Stretch<'a>>,
    /// Stretch of each cell.
    stretch_of: Vec<usize>,
    /// Operation of each cell.
    pub(super) operation_of: Vec<Operation>,
    /// In the order of the layouts.
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
        let segment = |sequence: &crate::batch::Sequence| {
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

impl<'a> Catalogue<'a> {
    pub(super) fn new(cells: &[CellRequest<'a>]) -> Self {
        let mut catalogue = Self {
            stretches: Vec::new(),
            stretch_of: Vec::new(),
            operation_of: operations(cells),
            documents: Vec::new(),
        };
        for cell in cells {
            let same = |other: &Stretch<'_>| std::ptr::eq(other.layout, cell.layout) && other.span == cell.span;
            let known = catalogue.stretches.iter().position(same);
            catalogue.stretch_of.push(known.unwrap_or(catalogue.stretches.len()));
            if known.is_none() {
                catalogue.stretches.push(Stretch { layout: cell.layout, span: cell.span.clone() });
            }
        }
        let mut documents = HashMap::new();
        for (index, stretch) in catalogue.stretches.iter().enumerate() {
            let cells = (0..cells.len()).filter(|cell| catalogue.stretch_of[*cell] == index).collect::<Vec<_>>();
            for unit_index in stretch.span.clone() {
                let unit = &stretch.layout.units[unit_index];
                let document = *documents.entry(DocumentKey::new(unit)).or_insert_with(|| {
                    catalogue.documents.push(Document::new(unit));
                    catalogue.documents.len() - 1
                });
                let lanes = cells.iter().map(|cell| Lane { cell: *cell, unit: unit_index, item: unit.item() });
                catalogue.documents[document].lanes.extend(lanes);
            }
        }
        catalogue
    }

    /// Of `documents` those that run together: at most `rows` rows, or one document.
    pub(super) fn micro_batches(&self, documents: &[usize], rows: usize) -> Vec<Vec<usize>> {
        calls(documents.to_vec(), |_| None::<Operation>, |index| self.documents[*index].tokens.len(), rows)
    }

    /// What a cell wants.
    pub(super) fn stretch(&self, cell: usize) -> &Stretch<'a> {
        &self.stretches[self.stretch_of[cell]]
    }

    /// The queries and the unit of a lane.
    pub(super) fn unit_of(&self, lane: Lane) -> (&'a [Query], &'a Unit) {
        let layout = self.stretch(lane.cell).layout;
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
        let Reduction { rule, keep_ratio, seed, positions, signal_from, .. } = &cell.reduction;
        let seed = rule.draws().then_some(*seed);
        let next = known.len();
        let key = (rule.fingerprint(), keep_ratio.to_bits(), seed, *positions, *signal_from);
        Operation(*known.entry(key).or_insert(next))
    };
    cells.iter().map(operation).collect()
}
