//! What one finished cell leaves on disk, as plain data.
//!
//! A *cell* is one trial on one task. It is recorded as one JSON file, written aside and renamed into place; the frames
//! of `analysis` are built from these files alone. Nothing here knows how a number was computed. Shares are 0..1, times
//! are seconds, memory is bytes, log-likelihoods are natural logarithms.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Split;
use crate::code::Code;
use crate::names::is_loss;

/// Version of this layout and of what its numbers count; part of every cell id, so that a change never mixes old and new
/// records.
pub const SCHEMA_VERSION: u32 = 2;

/// Everything known about a trial before it runs: one cell of the grid without its task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialKey {
    /// Stable hash of all other fields and of the weights; equal keys are the same trial.
    pub trial_id: String,
    /// Name of the experiment file.
    pub experiment: String,
    /// Model reference as written in the experiment, for example `builtin:mamba2-world`.
    pub model: String,
    /// Registered strategy name.
    pub strategy: String,
    /// Resolved options (defaults filled in) as compact JSON with sorted keys; `{}` where there are none.
    pub strategy_params: String,
    /// Importance metric, where the strategy ranks tokens by one.
    pub importance: Option<String>,
    /// Tensor the metric reads, where there is one.
    pub importance_source: Option<String>,
    /// Short form of the schedule, for example `paper`, `sites 3,5,7`.
    pub schedule: String,
    /// 0-based layers after which tokens are reduced; empty for the dense baseline.
    pub sites: Vec<usize>,
    /// Share of arriving tokens kept at each site, one common value; 1 for the dense baseline. None where the count is free: the data
    /// decides.
    pub keep_ratio: Option<f64>,
    /// Nominal FLOPs reduction (mean over layers of the tokens removed, blocks only); 0 for the dense baseline. None where the count is
    /// free.
    pub flops_reduction_nominal: Option<f64>,
    /// Achieved FLOPs reduction that was asked for: the keep ratio was solved for it, or the threshold of a free count was calibrated,
    /// task by task. None where the keep ratio, a nominal reduction, or nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops_reduction_asked: Option<f64>,
    /// The calibrated threshold of a free count; none for other trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Scoring protocol.
    pub protocol: String,
    /// Seed of everything random in the trial.
    pub seed: u64,
    /// Items of each task that were seen; records from before there were splits saw all.
    #[serde(default, skip_serializing_if = "Split::is_all")]
    pub split: Split,
    /// Largest number of items per task, or none for all.
    pub limit: Option<usize>,
    /// `cpu` or `cuda`.
    pub device: String,
    /// Compute dtype, for example `f32`.
    pub dtype: String,
}

/// A threshold that was found before the run, by evaluations on the items of the split `tune`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The option of the strategy; [`TrialKey::strategy_params`] holds the word `calibrated` in its place.
    pub option: String,
    /// Its value.
    pub value: f64,
    /// FLOPs reduction that it achieved on those items, 0 to 1.
    pub achieved: f64,
    /// Number of those items.
    pub items: usize,
}

impl TrialKey {
    /// The key without what may differ within an arm: the id, the seed, and the keep ratio or threshold where it was found task by task.
    #[must_use]
    pub fn arm(&self) -> Self {
        let mut arm = Self { trial_id: String::new(), seed: 0, ..self.clone() };
        if arm.flops_reduction_asked.is_some() {
            (arm.keep_ratio, arm.flops_reduction_nominal, arm.calibration) = (None, None, None);
        }
        arm
    }

    /// What was asked of a trial, as far as trials that answer it differently can be compared: tasks of one achieved reduction have
    /// keep ratios of their own.
    pub fn reduction(&self) -> Reduction {
        match (self.flops_reduction_asked, self.flops_reduction_nominal) {
            (Some(value), _) => Reduction { value, asked: Asked::Achieved },
            (None, Some(value)) => Reduction { value, asked: Asked::Nominal },
            (None, None) => Reduction { value: 0.0, asked: Asked::Nothing },
        }
    }
}

/// A FLOPs reduction by which trials are grouped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reduction {
    /// The reduction, 0 to 1; 0 where none was asked for.
    pub value: f64,
    /// How it was asked for.
    pub asked: Asked,
}

/// How a reduction was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// As a nominal one, or by a keep ratio.
    Nominal,
    /// As an achieved one.
    Achieved,
    /// Not at all: the count is free, and what it achieves is measured.
    Nothing,
}

/// Reductions come out of a solver; equal to a hundredth of a percent is equal.
const SAME_REDUCTION: f64 = 1e-4;

impl Reduction {
    /// The value that a user writes, as a share of 1: `20`, `20 %` and `0.2` are a fifth. Numbers below 1 are shares.
    ///
    /// # Errors
    /// It is no number from 0 to 100.
    pub fn value_from_text(text: &str) -> Result<f64, String> {
        let (number, is_percent) =
            text.trim().strip_suffix('%').map_or((text.trim(), false), |text| (text.trim(), true));
        let value = number.parse::<f64>().ok().filter(|value| (0.0..=100.0).contains(value));
        let value = value
            .ok_or_else(|| format!("`{text}` is no FLOPs reduction; write per cent or a share: 20, 20% or 0.2"))?;
        Ok(if value < 1.0 && !is_percent { value } else { value / 100.0 })
    }

    /// Whether its value is what a user wrote: to the tenth of a per cent that is shown.
    pub fn is_written(self, value: f64) -> bool {
        self.asked != Asked::Nothing && (self.value - value).abs() < 5e-4
    }

    /// Whether it was asked for as achieved.
    pub fn is_achieved(self) -> bool {
        self.asked == Asked::Achieved
    }

    /// The word that goes with the number; of a free count, which has no number, the word alone.
    pub fn word(self) -> &'static str {
        match self.asked {
            Asked::Nominal => "nominal",
            Asked::Achieved => "achieved",
            Asked::Nothing => "free",
        }
    }

    /// In words, with so many digits after the point: `20.0 % nominal FLOPs reduction`, or `free counts`.
    pub fn in_words(self, digits: usize) -> String {
        match self.asked {
            Asked::Nothing => "free counts".to_owned(),
            _ => format!("{:.digits$} % {} FLOPs reduction", self.value * 100.0, self.word()),
        }
    }

    /// Whether two are the same, up to what a solver leaves.
    pub fn is(self, other: Self) -> bool {
        self.asked == other.asked && (self.value - other.value).abs() < SAME_REDUCTION
    }

    /// By value; nominal before achieved, free counts at the end.
    pub fn total_cmp(&self, other: &Self) -> Ordering {
        self.asked.cmp(&other.asked).then(self.value.total_cmp(&other.value))
    }
}

/// Options, as JSON, with their values as text.
pub fn options_as_text(options: &str) -> BTreeMap<String, String> {
    let parsed: BTreeMap<String, serde_json::Value> = serde_json::from_str(options).unwrap_or_default();
    let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    parsed.into_iter().map(|(name, value)| (name, text(value))).collect()
}

/// A name and its options, as JSON, for people to read: `top_k importance=clip source=ssm_output`.
pub fn in_words(name: &str, options: &str) -> String {
    let words = options_as_text(options).into_iter().map(|(option, value)| format!("{option}={value}"));
    std::iter::once(name.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// How a cell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All items were scored.
    Done,
    /// The cell stopped with an error, which is recorded.
    Failed,
}

/// Why something failed, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub error: String,
    /// What to do about it, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// What a record says of it.
    pub fn of_record(error: Option<&str>, hint: Option<&str>) -> Self {
        Self { error: error.unwrap_or("no reason was recorded").to_owned(), hint: hint.map(str::to_owned) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " (hint: {hint})"))
    }
}

/// How the per-item contributions of a metric become its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// `sum(value) / sum(weight)`: accuracies, with weight 1 per item (or per scored token).
    Mean,
    /// `exp(-sum(value) / sum(weight))`: perplexities, where `value` is a log-likelihood and `weight` a count.
    ExpNegMean,
}

/// One metric of one cell: how to aggregate it, and what each item adds (same order as [`CellRecord::items`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricRecord {
    /// lm-evaluation-harness's name where it has one: `acc`, `acc_norm`, `perplexity`.
    pub metric: String,
    /// Rule that turns contributions into the value.
    pub aggregate: Aggregate,
    /// `(value, weight)` of each item.
    pub contributions: Vec<(f64, f64)>,
}

impl MetricRecord {
    /// Whether a lower value is the better one: perplexities and losses.
    #[must_use]
    pub fn lower_is_better(&self) -> bool {
        self.aggregate == Aggregate::ExpNegMean || is_loss(&self.metric)
    }
}

/// One item of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// Identifier of the item within its task.
    pub item_id: String,
    /// Index of the right choice; none for tasks with a target.
    pub gold: Option<u32>,
    /// Index of the choice with the highest log-likelihood; none for tasks with a target.
    pub predicted: Option<u32>,
    /// Whether the predicted choice is the gold one (`acc`), or the target is the greedy continuation; none for running text.
    pub correct: Option<bool>,
    /// Summed log-likelihood of each choice (or of the single target).
    pub loglikelihoods: Vec<f64>,
    /// Whether greedy decoding yields each choice.
    pub greedy: Vec<bool>,
    /// Tokens that entered the model, context shared by choices counted once where the protocol shares it.
    pub tokens_in: u64,
    /// Of them, tokens alive after the last site.
    pub tokens_kept: u64,
    /// Share of the item's necessary tokens that survive all sites; none where the task marks none.
    pub necessary_kept: Option<f64>,
    /// Share of the scored tokens that were read from the row of their true predecessor.
    pub coverage: f64,
    /// Length in tokens for which the item was made; none where its task does not vary it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// Where in the context the decisive words are, 0 to 1; none where its task does not vary it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<f64>,
}

/// What happened at one site, summed over the items of the cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// 0-based layer after which the reduction happened.
    pub site: usize,
    /// Tokens that arrived in reducible sequences.
    pub tokens_in: u64,
    /// Of them, tokens kept.
    pub tokens_out: u64,
    /// Mean cosine similarity of merged pairs on the hidden branch; none where nothing was merged.
    pub merged_similarity: Option<f64>,
}

/// Items of every cell, from the first one, whose plans and tokens are recorded whatever an experiment asks for: token maps and overlaps
/// are of them.
pub const FIRST_PLANS: usize = 4;

/// What a strategy decided for one item at one site, in original positions. Kept for the first few items of a cell, and for others that
/// the experiment asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Index into [`CellRecord::items`].
    pub item: usize,
    /// 0-based layer of the site.
    pub site: usize,
    /// Original positions kept, ascending.
    pub kept: Vec<u32>,
    /// Original positions dropped here on the hidden branch, ascending.
    pub dropped: Vec<u32>,
    /// `(position, into)` of tokens merged here on the hidden branch, ascending.
    pub merged: Vec<(u32, u32)>,
}

/// The tokens of one of the first items: text of the reduced sequence and which positions the answer needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanItem {
    /// Index into [`CellRecord::items`].
    pub item: usize,
    /// Text of each token of the reduced sequence, by original position.
    pub tokens: Vec<String>,
    /// Original positions marked necessary by the task.
    pub necessary: Vec<u32>,
}

/// Cost of a cell, measured and counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CostRecord {
    /// Achieved FLOPs reduction in the nominal convention: 1 - mean over layers of tokens alive / tokens that entered.
    pub flops_reduction_achieved: f64,
    /// FLOPs counted from the shapes that ran: blocks, every round of matching, and scored head rows; an
    /// embedding look-up costs none.
    pub flops_executed: f64,
    /// Tokens that entered the model.
    pub tokens_in: u64,
    /// Tokens that entered per second of `wall_s`.
    pub tokens_per_s: f64,
    /// Peak resident memory of the process (CPU) or of the device.
    pub peak_mem_bytes: u64,
    /// Wall time of a cell that ran by itself, from packed sequences to scores, without what only its record asks for. Where cells ran together,
    /// its share: the time of each micro-batch is divided by the rows
    /// executed, and a row executed for several cells counts in equal parts for each.
    pub wall_s: f64,
    /// Wall time of each repeat of a cell that was run several times for its time; `wall_s` is their median. Empty where it ran once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats_s: Vec<f64>,
}

/// One finished cell: everything the analysis needs, and nothing of how it came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// [`SCHEMA_VERSION`] at the time of writing.
    pub schema_version: u32,
    /// Stable hash of the trial, the task and its data.
    pub cell_id: String,
    /// The code that made it; a cell of other code is not reused.
    #[serde(default)]
    pub code: Code,
    /// The trial.
    pub trial: TrialKey,
    /// Task name.
    pub task: String,
    /// The metric by which figures and tables show this task.
    pub primary_metric: String,
    /// How the cell ended.
    pub status: Status,
    /// Why it failed, where it did.
    pub error: Option<String>,
    /// What to do about that, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Cost; zero where the cell failed.
    pub cost: CostRecord,
    /// Metrics with per-item contributions.
    pub metrics: Vec<MetricRecord>,
    /// Items, in task order.
    pub items: Vec<ItemRecord>,
    /// Sites, in layer order.
    pub sites: Vec<SiteRecord>,
    /// Plans of the first few items, and of others that the experiment asks for.
    pub plans: Vec<PlanRecord>,
    /// Tokens of the first [`FIRST_PLANS`] items.
    pub plan_items: Vec<PlanItem>,
    /// Free-form facts worth keeping (for example `upstream_batch_size`).
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}

impl CellRecord {
    /// Why it failed, where it did.
    pub fn failure(&self) -> Failure {
        Failure::of_record(self.error.as_deref(), self.hint.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_are_written_in_per_cent_or_as_shares() {
        for text in ["20", "20%", " 20 % ", "0.2"] {
            assert_eq!(Reduction::value_from_text(text), Ok(0.2), "{text}");
        }
        assert_eq!(Reduction::value_from_text("0.5%"), Ok(0.005));
        for text in ["", "much", "-3", "120", "NaN"] {
            assert!(Reduction::value_from_text(text).unwrap_err().contains("20%"), "{text}");
        }
        let fifth = Reduction { value: 0.2, asked: Asked::Achieved };
        assert!(fifth.is_written(0.2001) && !fifth.is_written(0.21));
    }
}
