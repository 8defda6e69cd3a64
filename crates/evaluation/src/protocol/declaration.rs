//! What a protocol declares of itself, and a protocol with its settings.

use std::fmt;

use reduction_strategies::Causality;
use serde::{Serialize, Serializer};

use crate::batch::{Placement, Query, Unit};
use crate::error::EvaluationError;
use crate::run::Reduction;
use crate::score::{After, Reading};
use crate::tasks::TaskKind;

/// A scoring protocol: one static declaration a file, and all of them in the table of [`super::all`].
pub struct Protocol {
    /// Name in experiment files and records.
    pub name: &'static str,
    /// What it scores, in one line.
    pub help: &'static str,
    /// Which tokens of a query are reduced.
    pub scope: Scope,
    /// Whether the likelihood of reduced running text would mean something else than it says: targets are read from rows that tokens
    /// at or after the target may have decided to keep. A choice between answers survives that, the likelihood of every token does not.
    pub leaks_running_text: bool,
    /// Whether it refuses rules that look at later tokens.
    pub demands_causality: bool,
    /// Whether targets may be read from rows that are not their predecessors', and say so.
    pub reports_coverage: bool,
    /// Rows that are padded to one length where the experiment does not say otherwise; none where nothing is padded. Padded rows run
    /// together, and their number changes scores.
    pub batch_size: Option<usize>,
    /// The sequences of all queries, in the order in which they are evaluated and recorded, from the number of rows that are padded
    /// together. Units do not depend on each other: padding is part of them.
    pub(crate) units: fn(&[Query], usize) -> Vec<Unit>,
    /// The rows that answer for a query's targets, from the tables after the last site.
    pub(crate) readings: fn(&Query, &Placement, &After<'_>) -> Result<Vec<Reading>, EvaluationError>,
}

/// Which tokens of a query are reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those of the context. All choices of an item share it, and the first half of a running text is the context of the second.
    Context,
    /// Those of the context and of the continuation: each choice is a sequence of its own, and all of a running text is scored.
    Input,
}

/// Why scores under a protocol would mean something else than they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The protocol takes causal rules, and this one looks at later tokens.
    NotCausal,
    /// Every token of a text is scored, and later ones decided which earlier ones are kept.
    LeaksFuture,
}

impl Protocol {
    /// With the settings that hold where an experiment does not say otherwise.
    #[must_use]
    pub const fn defaults(&'static self) -> Scoring {
        let batch_size = match self.batch_size {
            Some(batch_size) => batch_size,
            None => 1,
        };
        Scoring { protocol: self, batch_size }
    }

    /// With so many rows padded together; a protocol that pads nothing does not read the number.
    #[must_use]
    pub const fn with_batch_size(&'static self, batch_size: usize) -> Scoring {
        match self.batch_size {
            Some(_) => Scoring { protocol: self, batch_size },
            None => self.defaults(),
        }
    }

    /// Whether scores depend on which rows run together.
    #[must_use]
    pub const fn pads(&self) -> bool {
        self.batch_size.is_some()
    }

    /// Why a task may not be scored under the protocol: whether it is running text, whether a rule reduces it, and whether that rule is
    /// causal. None where all is well, as it is where nothing is reduced. The plan asks this before anything runs, and every
    /// evaluation asks it again.
    #[must_use]
    pub fn refuses(&self, running_text: bool, reduces: bool, causal_rule: bool) -> Option<Refusal> {
        if !reduces {
            None
        } else if self.demands_causality && !causal_rule {
            Some(Refusal::NotCausal)
        } else {
            (running_text && self.leaks_running_text).then_some(Refusal::LeaksFuture)
        }
    }

    /// Refuses a reduction whose scores would not mean what the protocol promises.
    pub(crate) fn check(&self, kind: TaskKind, reduction: &Reduction) -> Result<(), EvaluationError> {
        let running_text = kind == TaskKind::RunningText;
        match self.refuses(running_text, reduction.reduces(), reduction.rule.causality() != Causality::None) {
            Some(Refusal::NotCausal) => Err(EvaluationError::NotCausal),
            Some(Refusal::LeaksFuture) => Err(EvaluationError::LeaksFuture),
            None => Ok(()),
        }
    }
}

/// Protocols are told apart by their names.
impl PartialEq for Protocol {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Protocol {}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

/// A protocol with its settings: how an evaluation scores. Made by [`Protocol::defaults`] and [`Protocol::with_batch_size`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoring {
    protocol: &'static Protocol,
    batch_size: usize,
}

impl Scoring {
    /// The protocol.
    #[must_use]
    pub const fn protocol(self) -> &'static Protocol {
        self.protocol
    }

    /// The same with every row by itself.
    pub(crate) fn alone(self) -> Self {
        Self { batch_size: 1, ..self }
    }

    /// Rows that are padded to one length and run together; 1 where nothing is padded.
    pub(crate) fn padded_rows(self) -> usize {
        self.batch_size
    }

    /// The sequences of all queries ([`Protocol::units`]).
    pub(crate) fn units(self, queries: &[Query]) -> Vec<Unit> {
        (self.protocol.units)(queries, self.batch_size)
    }

    /// The rows that answer for the query's targets ([`Protocol::readings`]).
    pub(crate) fn readings(
        self,
        query: &Query,
        placement: &Placement,
        after: &After<'_>,
    ) -> Result<Vec<Reading>, EvaluationError> {
        (self.protocol.readings)(query, placement, after)
    }
}
