//! The plan as data.

use std::collections::BTreeMap;

use evaluation::{Positions, SignalFrom};
use records::bridge::PlannedBridge;
use records::claim::PlannedClaim;
use records::code::Code;
use records::identity::Digests;
use records::plan::{Cohort, PlanIndex};
use records::schema::{TrialKey, in_words};
use records::{Family, Split};
use reduction_strategies::registry::Strategy;
use serde::Serialize;

use super::{Estimate, ProbeCell, Request, ids};
use crate::config::{Amount, ModelFacts, PlannedTask, RecordPlans};
use crate::rates::{Rate, Rates};

/// Where a plan will run, as far as it can change results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// `cpu` or `cuda`.
    pub device: String,
    /// Compute dtype, for example `f32`.
    pub dtype: String,
}

impl Default for Setting {
    fn default() -> Self {
        Self { device: "cpu".to_owned(), dtype: "f32".to_owned() }
    }
}

/// Everything that a sweep will do.
#[derive(Clone, Debug, Serialize)]
pub struct ExperimentPlan {
    /// Name of the experiment.
    pub experiment: String,
    /// What it asks.
    pub question: Option<String>,
    /// A claim to decide, with its comparisons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<PlannedClaim>,
    /// Bridges to draw, with their arms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bridges: Vec<PlannedBridge>,
    /// Strategy that every other one is compared to.
    pub baseline: String,
    /// The metric by which figures and tables show every task, in place of the tasks' own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub primary: BTreeMap<String, String>,
    /// Seed of the experiment.
    pub seed: u64,
    /// Solved examples in front of each question of a benchmark.
    #[serde(skip_serializing_if = "is_zero")]
    pub fewshot: usize,
    /// Items that it may see.
    pub split: Split,
    /// Where it will run.
    pub setting: Setting,
    /// Rows that the protocol `upstream` pads together.
    pub upstream_batch_size: usize,
    /// Items of each cell whose plans are kept.
    pub record_plans: RecordPlans,
    /// The models of the cells.
    pub models: Vec<ModelFacts>,
    /// The tasks of the cells.
    pub tasks: Vec<PlannedTask>,
    /// The trials, in the order in which cells refer to them.
    pub trials: Vec<PlannedTrial>,
    /// The cells, by model, then trial, then task.
    pub cells: Vec<Cell>,
    /// What the probes look at, by model, then probe, then task, then trial.
    pub probes: Vec<ProbeCell>,
    /// Cells of the grid that will not run, each with its reason.
    pub excluded: Vec<Excluded>,
    /// Cells that the grid contained more than once.
    pub duplicates: usize,
    /// Things worth knowing that are no errors, for example an exclusion that excludes nothing.
    pub notes: Vec<String>,
    /// Sum of the cells' estimates.
    pub total: Estimate,
    /// What the guards are likely to cost, which run before the first cell.
    pub guards: Estimate,
    /// The rate of each model on this machine, where runs measured it; empty where nobody asked.
    #[serde(skip)]
    pub rates: Vec<Option<Rate>>,
}

/// One point of the grid.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedTrial {
    /// What records say of the trial; holds sites and keep ratio.
    pub key: TrialKey,
    /// The strategy with its options.
    #[serde(skip)]
    pub strategy: Strategy,
    /// Index into [`ExperimentPlan::models`].
    #[serde(skip)]
    pub model: usize,
    /// This program's code for it. No part of an id: an id names what is asked.
    #[serde(skip)]
    pub code: Code,
    /// What the file asks for; none for `dense`.
    #[serde(rename = "asked")]
    pub amount: Option<Amount>,
    /// The one task of a trial whose keep ratio was solved for it; none where a trial runs every task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The FLOPs reduction that it will achieve there, from counts; none for other trials, and where nothing was solved because the
    /// trial does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub achieved: Option<f64>,
    /// The threshold that it is calibrated by; none for other trials, and where it does not run.
    #[serde(skip)]
    pub calibrate: Option<Request>,
    /// Positions of the kept tokens; none where nothing reads them: a recurrence, or `dense`.
    #[serde(skip)]
    pub positions: Option<Positions>,
    /// Which layer shows the rule what it reads at a site; another than the site's own only where that lacks something.
    #[serde(skip)]
    pub signal_from: SignalFrom,
}

/// One trial on one task.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Stable hash of trial, task and data.
    pub cell_id: String,
    /// The trial's id.
    pub trial_id: String,
    /// Index into [`ExperimentPlan::trials`].
    #[serde(skip)]
    pub trial: usize,
    /// Task name.
    pub task: String,
    /// The task's own primary metric.
    #[serde(skip)]
    pub primary_metric: &'static str,
    /// Items to score.
    pub items: usize,
    /// What it is likely to cost.
    pub estimate: Estimate,
}

/// A cell that will not run.
#[derive(Clone, Debug, Serialize)]
pub struct Excluded {
    /// The id it would have.
    pub cell_id: String,
    /// The trial in words.
    pub trial: String,
    /// Task name.
    pub task: String,
    /// Why.
    pub reason: Reason,
}

/// Why a cell will not run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "detail")]
pub enum Reason {
    /// It could not be scored honestly.
    Nature(&'static str),
    /// A map of `exclude` matches it.
    Exclude(String),
    /// `zip` does not list the combination.
    Zip,
    /// `sample` did not draw the trial.
    Sample,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nature(why) => write!(f, "refused: {why}"),
            Self::Exclude(why) => write!(f, "exclude: {why}"),
            Self::Zip => f.write_str("zip: the combination is not listed"),
            Self::Sample => f.write_str("sample: the trial was not drawn"),
        }
    }
}

impl ExperimentPlan {
    /// Estimates times with the rates of this machine, for the models whose rates are known.
    pub fn estimate_with(&mut self, rates: &Rates) {
        self.rates = self.models.iter().map(|model| rates.of(model, &self.setting).cloned()).collect();
        for cell in &mut self.cells {
            if let Some(rate) = &self.rates[self.trials[cell.trial].model] {
                cell.estimate.seconds = cell.estimate.flops / rate.flops_per_s;
            }
        }
        let total = self.cells.iter().fold(Estimate::default(), |sum, cell| sum + cell.estimate);
        // Guards compute what cells compute.
        self.guards.seconds = self.guards.flops * total.seconds / total.flops.max(1.0);
        self.total = total;
    }

    /// What the cells of each model are likely to cost.
    pub(super) fn by_model(&self) -> Vec<Estimate> {
        let mut by_model = vec![Estimate::default(); self.models.len()];
        for cell in &self.cells {
            let model = self.trials[cell.trial].model;
            by_model[model] = by_model[model] + cell.estimate;
        }
        by_model
    }

    /// What the analysis must know; the content of `plan.json`.
    pub fn index(&self) -> PlanIndex {
        PlanIndex {
            experiment: self.experiment.clone(),
            question: self.question.clone(),
            claim: self.claim.clone(),
            bridges: self.bridges.clone(),
            baseline: self.baseline.clone(),
            primary: self.primary.clone(),
            seed: self.seed,
            fewshot: self.fewshot,
            strategies: self.strategies(),
            cells: self.cells.iter().map(|cell| cell.cell_id.clone()).collect(),
            cohorts: self.cohorts(),
            digests: self.digests(),
        }
    }

    /// Family of every strategy, by name.
    fn strategies(&self) -> BTreeMap<String, Family> {
        let registrations = self.trials.iter().map(|trial| trial.strategy.registration);
        registrations.map(|known| (known.name.to_owned(), known.family)).collect()
    }

    /// Digests of weights, tokenizers and data.
    pub fn digests(&self) -> Digests {
        let models = self.models.iter().flat_map(|model| {
            [
                (format!("weights of {}", model.reference), model.weights_digest.clone()),
                (format!("tokenizer of {}", model.reference), model.tokenizer_digest.clone()),
            ]
        });
        let tasks = self.tasks.iter().map(|task| (format!("data of {}", task.name), task.data_digest.clone()));
        models.chain(tasks).collect()
    }

    /// The cohorts of all cells, by model, then task, then protocol.
    pub fn cohorts(&self) -> Vec<Cohort> {
        let mut cohorts: BTreeMap<(usize, usize, usize), Cohort> = BTreeMap::new();
        let mut protocols: Vec<&str> = Vec::new();
        for (index, cell) in self.cells.iter().enumerate() {
            let trial = self.trial_of(cell);
            let place = |known: Option<usize>| known.unwrap_or_else(|| unreachable!("cells are made from these lists"));
            let task = place(self.tasks.iter().position(|task| task.name == cell.task));
            let protocol = trial.key.protocol.as_str();
            if !protocols.contains(&protocol) {
                protocols.push(protocol);
            }
            let protocol = place(protocols.iter().position(|known| *known == protocol));
            let cohort = cohorts.entry((trial.model, task, protocol)).or_insert_with(|| Cohort {
                cohort_id: ids::cohort_id(
                    trial,
                    &self.models[trial.model],
                    &self.tasks[task],
                    self.upstream_batch_size,
                ),
                model: trial.key.model.clone(),
                task: cell.task.clone(),
                protocol: trial.key.protocol.clone(),
                cells: Vec::new(),
            });
            cohort.cells.push(index);
        }
        cohorts.into_values().collect()
    }

    /// Trials to be guarded on one model, with the ids of what their guards find: of each protocol, strategy and options
    /// the trial with the lowest keep ratio.
    pub fn guarded(&self, model: usize) -> Vec<(String, &PlannedTrial)> {
        let mut lowest: Vec<&PlannedTrial> = Vec::new();
        let ratio = |trial: &PlannedTrial| trial.key.keep_ratio.unwrap_or(1.0);
        for trial in self.trials.iter().filter(|trial| trial.model == model) {
            let same = |other: &&PlannedTrial| {
                other.key.protocol == trial.key.protocol
                    && other.key.strategy == trial.key.strategy
                    && other.key.strategy_params == trial.key.strategy_params
            };
            match lowest.iter().position(same) {
                // Of free counts the first one: they have no ratio.
                Some(index) if ratio(trial) < ratio(lowest[index]) => lowest[index] = trial,
                Some(_) => {}
                None => lowest.push(trial),
            }
        }
        lowest.into_iter().map(|trial| (ids::guard_id(trial, &self.tasks), trial)).collect()
    }

    /// The trial of a cell.
    pub fn trial_of(&self, cell: &Cell) -> &PlannedTrial {
        &self.trials[cell.trial]
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl PlannedTrial {
    /// Whether a task is one of the trial's.
    pub fn has_task(&self, task: &str) -> bool {
        self.task.as_ref().is_none_or(|own| own == task)
    }

    /// Whether two trials differ by their seed alone, or by their task where a reduction is to be achieved on each.
    pub fn is_of_arm(&self, other: &Self) -> bool {
        self.key.arm() == other.key.arm()
    }

    /// The trial in words, for messages.
    pub fn describe(&self) -> String {
        let key = &self.key;
        let mut words = vec![key.model.clone(), key.protocol.clone(), in_words(&key.strategy, &key.strategy_params)];
        if !key.sites.is_empty() {
            let amount = match (key.flops_reduction_asked, key.keep_ratio) {
                (Some(asked), _) => format!("achieved {asked}"),
                (None, Some(ratio)) => format!("keep_ratio {ratio:.4}"),
                (None, None) => "free count".to_owned(),
            };
            words.push(format!("{} {amount}", key.schedule));
        }
        if self.strategy.registration.seeded {
            words.push(format!("seed {}", key.seed));
        }
        words.join(" ")
    }
}
