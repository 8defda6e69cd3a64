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

use reduction_strategies::Causality;

use crate::batch::{Placement, Query, Unit};
use crate::error::EvaluationError;
use crate::run::Reduction;
use crate::score::{After, Reading};
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
