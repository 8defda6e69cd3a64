//! Scoring protocols: how an item becomes packed sequences, and from which row each target is read.
//!
//! A protocol is two functions. `layout` turns queries into batches before anything runs; `readings` says, after the
//! reduction, which surviving row answers for which target. Neither knows a model: the same readings are scored by the
//! model and by an oracle, which is how a protocol that reads wrong rows is found out.

mod aligned;
mod context;
#[cfg(test)]
mod tests;
mod upstream;

use reduction_strategies::{Causality, SegmentTokens, TokenTable};
use ssm_kernels::Segments;

use crate::drive::Reduction;
use crate::error::EvaluationError;
use crate::query::Query;
use crate::tasks::TaskKind;

/// A scoring protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Only context tokens are reduced, the last one is protected, the continuation runs unreduced from the state that
    /// the reduced context left. All choices of an item share one reduced context. Deployment semantics.
    Context,
    /// The whole input may be reduced; a target is read from the nearest surviving row at or before its predecessor.
    Aligned,
    /// [`Protocol::Aligned`] for rules whose fates follow from earlier tokens alone ([`Causality`]); every other rule is refused.
    /// The only one under which the perplexity of every token of a reduced text means what it says.
    Causal,
    /// The released evaluation code, bug for bug: for reproduction only.
    Upstream {
        /// Rows per padded batch (96 in the released script).
        batch_size: usize,
    },
}

impl Protocol {
    /// Name in experiment files and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Aligned => "aligned",
            Self::Causal => "causal",
            Self::Upstream { .. } => "upstream",
        }
    }
}

/// Why scores under a protocol would mean something else than they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The protocol takes causal rules, and this one looks at later tokens.
    NotCausal,
    /// Every token of a text is scored, and later ones decided which earlier ones stay.
    LeaksFuture,
}

/// Packed sequences that run together, and where each query's rows are.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) tokens: Vec<u32>,
    pub(crate) segments: Segments,
    pub(crate) table: TokenTable,
    pub(crate) placements: Vec<Placement>,
}

/// Where one query stands in a batch.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// Index of the query.
    pub(crate) query: usize,
    /// Segment that holds the context (and, unless the continuation has its own, the continuation).
    pub(crate) segment: usize,
    /// Segment of the continuation's inputs, where it has one of its own.
    pub(crate) continuation: Option<usize>,
}

/// The row that answers for one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Index of the target in the continuation.
    pub(crate) index: u32,
    /// Token that is scored there.
    pub(crate) target: u32,
    /// Row of the packed stream after the last layer; none if nothing at or before the predecessor survives.
    pub(crate) row: Option<u32>,
    /// Position, in context + continuation, of the token that stood in that row.
    pub(crate) position: Option<u32>,
    /// Whether that token is the target's true predecessor.
    pub(crate) covered: bool,
}

impl Protocol {
    /// The protocol of that name; `batch_size` is that of `upstream`.
    #[must_use]
    pub fn named(name: &str, batch_size: usize) -> Option<Self> {
        let all = [Self::Context, Self::Aligned, Self::Causal, Self::Upstream { batch_size }];
        all.into_iter().find(|protocol| protocol.name() == name)
    }

    /// Whether it takes causal rules alone.
    fn demands_causality(self) -> bool {
        self == Self::Causal
    }

    /// Whether targets stand in what was reduced, and are read from rows of which tokens at or behind the target may have decided
    /// that they stay. Under `context` targets stand behind it; `causal` takes no such rule.
    fn reads_what_later_tokens_chose(self) -> bool {
        match self {
            Self::Aligned | Self::Upstream { .. } => true,
            Self::Context | Self::Causal => false,
        }
    }

    /// Why a task may not be scored under the protocol: whether it is running text, whether a rule reduces it, and whether that rule is
    /// causal. None where all is well, as it is where nothing is reduced.
    /// A choice between answers survives that rows were chosen with a look ahead, the likelihood of every token of a text does not.
    #[must_use]
    pub fn refuses(self, running_text: bool, reduces: bool, causal_rule: bool) -> Option<Refusal> {
        if reduces && self.demands_causality() && !causal_rule {
            return Some(Refusal::NotCausal);
        }
        let leaks = reduces && running_text && self.reads_what_later_tokens_chose();
        leaks.then_some(Refusal::LeaksFuture)
    }

    /// Refuses a reduction whose scores would not mean what the protocol promises.
    pub(crate) fn check(self, kind: TaskKind, reduction: &Reduction) -> Result<(), EvaluationError> {
        let reduces = !reduction.sites.is_empty() && reduction.keep_ratio < 1.0;
        let running_text = kind == TaskKind::RunningText;
        match self.refuses(running_text, reduces, reduction.rule.causality() != Causality::None) {
            Some(Refusal::NotCausal) => Err(EvaluationError::NotCausal),
            Some(Refusal::LeaksFuture) => Err(EvaluationError::LeaksFuture),
            None => Ok(()),
        }
    }

    /// Whether targets may be read from rows that are not their predecessors', and say so.
    pub(crate) fn reports_coverage(self) -> bool {
        matches!(self, Self::Aligned | Self::Causal)
    }

    /// The sequences of all queries, in the order in which they are evaluated and recorded. Units do not depend on each
    /// other: padding, where there is some, is part of them.
    pub(crate) fn units(self, queries: &[Query]) -> Vec<Unit> {
        match self {
            Self::Context => context::units(queries),
            Self::Aligned | Self::Causal => aligned::units(queries),
            Self::Upstream { batch_size } => upstream::units(queries, batch_size),
        }
    }

    /// Rows that are padded to one length, and so run together.
    pub(crate) fn padded_rows(self) -> usize {
        match self {
            Self::Context | Self::Aligned | Self::Causal => 1,
            Self::Upstream { batch_size } => batch_size,
        }
    }

    /// The rows that answer for the query's targets, from the tables as the last site left them.
    pub(crate) fn readings(
        self,
        query: &Query,
        placement: &Placement,
        after: &After<'_>,
    ) -> Result<Vec<Reading>, EvaluationError> {
        match self {
            Self::Context => context::readings(query, placement, after),
            Self::Aligned | Self::Causal => Ok(aligned::readings(query, placement, after)),
            Self::Upstream { .. } => Ok(upstream::readings(query, placement, after)),
        }
    }
}

/// Tables of a batch before and after the reduction.
#[derive(Clone, Copy)]
pub(crate) struct After<'a> {
    /// Segments as they entered.
    pub(crate) before: &'a Segments,
    /// Segments as they left.
    pub(crate) segments: &'a Segments,
    /// Surviving tokens.
    pub(crate) table: &'a TokenTable,
}

/// One segment to be packed.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) tokens: Vec<u32>,
    /// Index of the parent within the same unit.
    pub(crate) parent: Option<usize>,
    /// What strategies are told of the tokens.
    pub(crate) table: SegmentTokens,
}

/// Sequences that must stand together (a context and its continuations), with the placements inside.
#[derive(Debug)]
pub(crate) struct Unit {
    /// One tree: the first is the root.
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) placements: Vec<Placement>,
}

impl Unit {
    /// Tokens that enter the model.
    pub(crate) fn tokens(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.tokens.len()).sum()
    }

    /// The item that it belongs to.
    pub(crate) fn item(&self) -> u64 {
        self.sequences[0].table.item
    }
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
