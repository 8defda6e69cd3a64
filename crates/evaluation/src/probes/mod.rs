//! Probes: what happens inside a model when tokens are removed, measured item by item.
//!
//! A probe drives a model through the same seams as an evaluation (`embed`, `layer`, `head`, states, signals) and returns plain rows.
//! It does no input or output and computes no interval: each row holds what every item adds, and the analysis resamples items. One
//! probe a file; `docs/probes.md` says how each is read.

mod adjacency;
mod causal_split;
mod columns;
mod half_life;
mod implicit_attention;
mod kept_tokens;
mod layer_kind;
mod leak;
mod loss_split;
mod missed;
mod necessary_tokens;
mod passes;
mod position;
mod questions;
mod ranking;
mod removed_split;
mod scores;
mod similarity;
mod state_divergence;
mod table;

use hint::Hint;
use reduction_strategies::Rule;
use reduction_strategies::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use reduction_strategies::spelling::nearest;
use ssm_model::LanguageModel;
use thiserror::Error;

use crate::batch::Positions;
use crate::error::EvaluationError;
use crate::run::Reduction;
use crate::tasks::{Item, TaskKind};

pub use columns::{Column, Facts, Values};
pub use ranking::{auroc, average_precision, spearman};
pub use table::{Contribution, Key, ProbeRow, ProbeTable};

/// What a probe says about itself, and how it runs.
pub struct Probe {
    /// Name in experiment files and records.
    pub name: &'static str,
    /// Raised whenever its numbers change; part of every probe's id.
    pub version: u32,
    /// What it asks, in one sentence.
    pub question: &'static str,
    /// What it measures, as a formula in plain text.
    pub formula: &'static str,
    /// The columns by which its rows differ.
    pub columns: &'static [Column],
    /// What its rows measure.
    pub measures: &'static [Measure],
    /// Options with their defaults.
    pub options: &'static [OptionInfo],
    /// What it looks at.
    pub subject: Subject,
    /// What it cannot do without.
    pub needs: Needs,
    /// What it costs, in words.
    pub cost: &'static str,
    pub(crate) run: fn(&ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError>,
}

/// One quantity that a probe measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// Name in frames.
    pub name: &'static str,
    /// Unit.
    pub unit: &'static str,
    /// What it is.
    pub help: &'static str,
}

/// What a probe looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A model on a task: it removes tokens of its own choice, or none.
    Model,
    /// A strategy at its sites.
    Reduction,
}

/// What a probe cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Recurrent layers: states, step sizes.
    pub recurrence: Recurrence,
    /// Items that mark the tokens which their answer needs.
    pub necessary_tokens: bool,
    /// Layers of one kind each: no attention beside a scan in the same layer.
    pub separate_kinds: bool,
    /// Strategies that remove tokens and change nothing else, of which removed tokens keep their positions.
    pub removal_alone: bool,
}

impl Needs {
    /// Any model and any items.
    const NOTHING: Self =
        Self { recurrence: Recurrence::None, necessary_tokens: false, separate_kinds: false, removal_alone: false };
}

/// Which layers of a model must have a recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// None need it.
    None,
    /// Some: those without are not looked at.
    SomeLayer,
    /// All of them.
    EveryLayer,
}

/// What a probe is asked to look at.
#[derive(Clone, Copy, Debug)]
pub struct ProbeSetup<'a> {
    /// The model.
    pub model: &'a LanguageModel,
    /// How the items are scored.
    pub kind: TaskKind,
    /// The items.
    pub items: &'a [Item],
    /// Options of the probe, defaults filled in.
    pub options: &'a ResolvedOptions,
    /// Seed of everything random.
    pub seed: u64,
    /// Which tokens are removed, where the probe looks at a strategy.
    pub reduction: Option<&'a Reduction>,
}

/// All probes, in the order in which they are listed and reported.
static PROBES: &[&Probe] = &[
    &necessary_tokens::PROBE,
    &implicit_attention::PROBE,
    &state_divergence::PROBE,
    &causal_split::PROBE,
    &position::PROBE,
    &similarity::PROBE,
    &kept_tokens::PROBE,
    &adjacency::PROBE,
    &leak::PROBE,
    &loss_split::PROBE,
    &layer_kind::PROBE,
    &removed_split::PROBE,
];

/// All probes.
#[must_use]
pub fn all() -> &'static [&'static Probe] {
    PROBES
}

/// The probe of that name.
///
/// # Errors
/// [`UnknownProbe`] with the nearest name.
pub fn find(name: &str) -> Result<&'static Probe, UnknownProbe> {
    PROBES.iter().copied().find(|probe| probe.name == name).ok_or_else(|| UnknownProbe {
        name: name.to_owned(),
        nearest: nearest(name, PROBES.iter().map(|probe| probe.name)),
    })
}

/// No probe of that name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown probe `{name}`")]
pub struct UnknownProbe {
    /// What was written.
    pub name: String,
    /// The closest name.
    pub nearest: Option<&'static str>,
}

impl Hint for UnknownProbe {
    fn hint(&self) -> Option<String> {
        Some(
            self.nearest
                .map_or_else(|| "`sweep probes` lists them all".to_owned(), |name| format!("did you mean `{name}`?")),
        )
    }
}

impl Probe {
    /// Looks. Rows come in a fixed order; same input, same bits.
    ///
    /// # Errors
    /// A model, strategy or operation that refuses its input.
    ///
    /// # Panics
    /// A probe of a strategy without one, which the plan never asks for.
    pub fn run(&self, setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
        (self.run)(setup)
    }

    /// Why it cannot look at a strategy; `positions` are those that the model reads, if it reads any.
    #[must_use]
    pub fn refuses(&self, rule: &Rule, positions: Option<Positions>) -> Option<String> {
        if !self.needs.removal_alone {
            return None;
        }
        let compacted = (positions == Some(Positions::Compacted)).then_some(
            "with `positions: compacted` a removed token has no position, and it needs one while a part of it is kept",
        );
        let other = || rule.also_changes().map(|change| format!("this one {change}"));
        compacted.map(str::to_owned).or_else(other)
    }

    /// Items that it looks at, of `n` there are.
    #[must_use]
    pub fn items(options: &ResolvedOptions, n: usize) -> usize {
        n.min(options.integer("items") as usize)
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl ProbeSetup<'_> {
    /// The layer after which the probe removes tokens.
    fn site(&self) -> usize {
        columns::site(self.options, self.model.config().n_layer())
    }

    fn reduction(&self) -> &Reduction {
        self.reduction.unwrap_or_else(|| unreachable!("the plan gives a strategy to a probe of strategies"))
    }
}

/// The option `items` that every probe has.
const fn items(default: i64) -> OptionInfo {
    OptionInfo {
        name: "items",
        kind: OptionKind::Integer { min: 1, max: 1_000_000 },
        default: OptionDefault::Integer(default),
        help: "items of each task, from the front; the experiment's `limit` counts too",
    }
}

/// The option `site_depth` of probes that remove tokens of their own choice.
const SITE_DEPTH: OptionInfo = OptionInfo {
    name: "site_depth",
    kind: OptionKind::Number { min: 0.0, max: 1.0 },
    default: OptionDefault::Number(0.25),
    help: "layer after which the tokens leave, as a share of the depth: 0 the first, 1 the last but one",
};

/// The option `every` of probes that look at some layers.
const fn every(default: i64) -> OptionInfo {
    OptionInfo {
        name: "every",
        kind: OptionKind::Integer { min: 1, max: 1000 },
        default: OptionDefault::Integer(default),
        help: "look at every so many-th layer, and at the last",
    }
}

/// Every `every`-th layer from `first` on, and the last.
fn layers(first: usize, n_layer: usize, every: usize) -> Vec<usize> {
    let mut layers: Vec<usize> = (first..n_layer).step_by(every).collect();
    if layers.last() != Some(&(n_layer - 1)) && first < n_layer {
        layers.push(n_layer - 1);
    }
    layers
}
