//! A valid experiment: everything resolved and checked, ready to be planned.

use std::collections::BTreeMap;

use evaluation::probes::Probe;
use evaluation::tasks::{Prompting, Split};
use evaluation::{Positions, Protocol, Scoring, SignalFrom};
use reduction_strategies::options::ResolvedOptions;
use reduction_strategies::registry::Strategy;
use reduction_strategies::schedule::{AfterKind, ScheduleError, Sites};
use serde::Serialize;
use ssm_model::LayerKind;

use super::bridge::Bridge;
use super::catalog::{ModelFacts, PlannedTask};
use super::claim::Claim;
use super::items::ItemChoice;
use super::record_plans::RecordPlans;
use super::selector::Selector;

/// An experiment file that was read, resolved and found possible.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Name; also the name of the results folder.
    pub name: String,
    /// What the experiment asks.
    pub question: Option<String>,
    /// What its author expects to see, written down beforehand.
    pub expect: Option<String>,
    /// A claim with the comparisons that decide it.
    pub claim: Option<Claim>,
    /// Arms to compare one after the other.
    pub bridges: Vec<Bridge>,
    /// Models, in file order.
    pub models: Vec<ModelFacts>,
    /// Tasks, in file order.
    pub tasks: Vec<PlannedTask>,
    /// Scoring protocols, in file order.
    pub protocols: Vec<&'static Protocol>,
    /// Strategies with one value per option: the product of each entry's option axes, in file order.
    pub strategies: Vec<Variant>,
    /// Probes with one value per option, in file order.
    pub probes: Vec<ProbeVariant>,
    /// Positions of the kept tokens of a sequence, for models that read them; in file order.
    pub positions: Vec<Positions>,
    /// Which layer shows a rule what it reads at a site.
    pub signal_from: SignalFrom,
    /// Blocks whose union is the schedule axis; empty where every strategy is `dense`.
    pub schedules: Vec<Schedule>,
    /// Cells to leave out.
    pub exclude: Vec<Selector>,
    /// Combinations to keep; empty keeps the whole grid.
    pub zip: Vec<Selector>,
    /// A seeded sample of the trials.
    pub sample: Option<Sample>,
    /// Items that may be seen.
    pub split: Split,
    /// Largest number of items per task.
    pub limit: Option<usize>,
    /// Items whose plans are kept.
    pub record_plans: RecordPlans,
    /// How benchmarks are asked.
    pub prompting: Prompting,
    /// Strategy that every other one is compared to.
    pub baseline: String,
    /// The metric by which figures and tables show a task, by the task's name; its own where there is none.
    pub primary: BTreeMap<String, String>,
    /// Seed of everything that has no seed of its own.
    pub seed: u64,
    /// Rows per batch under `upstream`, where the batch changes results.
    pub upstream_batch_size: usize,
    /// Keys that the command line set in place of the file.
    pub overrides: Vec<Override>,
}

/// A key that the command line set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Override {
    /// The key.
    pub key: &'static str,
    /// What the file says; none where it is silent.
    pub file: Option<usize>,
    /// What is used.
    pub used: usize,
}

impl Experiment {
    /// The items of every task.
    pub fn items(&self) -> ItemChoice {
        ItemChoice { prompting: self.prompting, split: self.split, limit: self.limit }
    }

    /// A protocol with the settings of the experiment.
    pub fn scoring(&self, protocol: &'static Protocol) -> Scoring {
        protocol.with_batch_size(self.upstream_batch_size)
    }

    /// Sets `limit` in place of the file's.
    pub fn override_limit(&mut self, limit: usize) {
        self.overrides.push(Override { key: "limit", file: self.limit, used: limit });
        self.limit = Some(limit);
    }

    /// The experiment as a file that holds what is really run: defaults filled in, overrides applied. Reading it again
    /// gives the same plan.
    pub fn to_yaml(&self) -> String {
        super::write::to_yaml(self)
    }
}

/// One strategy with one value per option.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The strategy.
    pub strategy: Strategy,
    /// Seeds to run it with; empty means the experiment's seed.
    pub seeds: Vec<u64>,
}

impl Variant {
    /// Whether the data decides how many tokens it keeps.
    pub fn is_free(&self) -> bool {
        self.strategy.rule().count().is_free()
    }

    /// Whether this is the strategy that never reduces: it has no sites and no ratio.
    pub fn is_dense(&self) -> bool {
        self.strategy.registration.name == "dense"
    }
}

/// One probe with one value per option.
#[derive(Clone, Debug)]
pub struct ProbeVariant {
    /// The probe.
    pub probe: &'static Probe,
    /// Options, defaults filled in.
    pub options: ResolvedOptions,
    /// 1-based line in the file.
    pub line: usize,
}

impl PartialEq for ProbeVariant {
    fn eq(&self, other: &Self) -> bool {
        self.probe.name == other.probe.name && self.options == other.options
    }
}

/// One block of the schedule axis: every site set with every amount.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Where.
    pub sites: SiteAxis,
    /// How much.
    pub amounts: Vec<Amount>,
    /// What that is in each model of the experiment: every site set, with every amount.
    pub points: Vec<Vec<SchedulePoint>>,
}

/// Where and how much, in one model.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulePoint {
    /// Short form of the sites, for example `paper`, `sites 3,5,7`.
    pub schedule: String,
    /// 0-based layers after which tokens are reduced, ascending.
    pub sites: Vec<usize>,
    /// Share of arriving tokens kept at each site; none where it is solved task by task, and where the count is free.
    pub keep_ratio: Option<f64>,
    /// What the file asks for; none for `dense`.
    pub amount: Option<Amount>,
}

/// The site sets of one schedule block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteAxis {
    /// One set of sites.
    One(Sites),
    /// One-site schedules, one per listed layer.
    Single(Vec<usize>),
    /// One-site schedules, one per layer of a kind.
    SingleAfter(AfterKind),
    /// One-site schedules, one per layer of the model.
    SingleAll,
}

impl SiteAxis {
    /// The site sets for a model, given by the kinds of each of its layers.
    ///
    /// # Errors
    /// One-site schedules of a kind that the model does not have.
    pub fn expand(&self, layers: &[Vec<LayerKind>]) -> Result<Vec<Sites>, ScheduleError> {
        let single = |layers: Vec<usize>| layers.into_iter().map(|layer| Sites::Explicit(vec![layer])).collect();
        Ok(match self {
            Self::One(sites) => vec![sites.clone()],
            Self::Single(layers) => single(layers.clone()),
            Self::SingleAfter(after) => single(Sites::After(*after).resolve(layers)?),
            Self::SingleAll => single((0..layers.len()).collect()),
        })
    }
}

/// How much one schedule reduces, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// Nominal FLOPs reduction to be reached by one common keep ratio.
    FlopsReduction(f64),
    /// FLOPs reduction to be achieved on each task, on the lengths of its items, by one keep ratio per task.
    AchievedReduction(f64),
    /// Share of arriving tokens kept at each site.
    KeepRatio(f64),
    /// FLOPs reduction to be achieved on each task by the threshold of a rule of free count, found on the items of the split `tune`.
    Calibrated(f64),
    /// As much as a rule of free count decides with its options.
    Free,
}

impl Amount {
    /// Whether it is for rules of free count; every other amount is for the other rules.
    pub fn is_of_free_counts(self) -> bool {
        matches!(self, Self::Calibrated(_) | Self::Free)
    }
}

/// `sample`: a seeded draw from the trials that are not the baseline's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Trials to draw.
    pub count: usize,
    /// Seed of the draw.
    pub seed: u64,
}
