//! What planning must know of models and tasks, without loading either.

use evaluation::Shapes;
use evaluation::tasks::{Prompting, SPLITS, TaskRef};
use records::names::RANDOM;
use records::schema::Calibration;
use serde::Serialize;
use ssm_model::{LayerKind, SignalSet};
use thiserror::Error;

use super::items::ItemChoice;

/// Answers questions about the models and tasks that an experiment names.
pub trait Catalog {
    /// Facts of the model behind `builtin:<name>`, `hub:owner/name@revision`, `random:<name>` or a folder.
    ///
    /// # Errors
    /// No such model; the hint names the nearest one.
    fn model(&self, reference: &str) -> Result<ModelFacts, CatalogError>;

    /// Has a model use another tokenizer than its own from here on: a repository of the hub, a folder, or a `tokenizer.json`. None gives
    /// the model its own back.
    ///
    /// # Errors
    /// No such tokenizer, or one that cannot be read.
    fn choose_tokenizer(&self, reference: &str, tokenizer: Option<&str>) -> Result<(), CatalogError>;

    /// Facts of a task that is asked in a way.
    ///
    /// # Errors
    /// No such task (the hint names the nearest one), no data for it, or none to ask it in this way.
    fn task(&self, task: &TaskRef, prompting: Prompting) -> Result<PlannedTask, CatalogError>;

    /// Lengths of the items of a task in the tokens of a model, under each of some protocols: what an achieved reduction is solved on.
    ///
    /// # Errors
    /// The items cannot be had, or cannot be put in the tokens of the model.
    fn shapes(
        &self,
        model: &str,
        task: &TaskRef,
        items: ItemChoice,
        protocols: &[evaluation::Scoring],
    ) -> Result<Vec<Shapes>, CatalogError>;

    /// The threshold that a run found for a request, by the id of the request; none where no run has yet.
    fn calibration(&self, request: &str) -> Option<Calibration> {
        let _ = request;
        None
    }
}

/// A model, as far as planning needs it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelFacts {
    /// The reference as written in the experiment.
    pub reference: String,
    /// The tokenizer that the experiment names for it; none where it uses its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Name of its architecture, for messages.
    pub architecture: &'static str,
    /// Its layers, first to last.
    pub layers: Vec<LayerFacts>,
    /// Whether any of its layers reads the positions of tokens.
    pub uses_positions: bool,
    /// FLOPs of one scored row in the output head.
    pub flops_per_token_head: f64,
    /// Digest of weights and model configuration; part of every id.
    pub weights_digest: String,
    /// Digest of the tokenizer; part of every id.
    pub tokenizer_digest: String,
}

/// A layer, as far as planning needs it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerFacts {
    /// Name of its kind, for messages.
    pub kind: &'static str,
    /// The kinds by which experiments name it.
    #[serde(skip)]
    pub kinds: Vec<LayerKind>,
    /// What it can show to a strategy.
    #[serde(skip)]
    pub signals: SignalSet,
    /// FLOPs of one token.
    pub flops_per_token: u64,
    /// FLOPs of one pair of a token and a token that it attends to; 0 without attention.
    pub flops_per_pair: u64,
}

impl ModelFacts {
    /// Number of layers.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// The kinds of every layer, first to last.
    pub fn kinds(&self) -> Vec<Vec<LayerKind>> {
        self.layers.iter().map(|layer| layer.kinds.clone()).collect()
    }

    /// Whether its weights are random numbers.
    pub fn is_random(&self) -> bool {
        self.reference.starts_with(RANDOM)
    }
}

/// How a task is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// Log-likelihood of one or more continuations of a context.
    LogLikelihood,
    /// Per-token log-likelihood of running text.
    RunningText,
}

/// A task, as far as planning needs it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedTask {
    /// Name in records: that of the task, or of its file without folder and extension.
    pub name: String,
    /// The task as the experiment names it.
    #[serde(skip)]
    pub reference: TaskRef,
    /// Number of items in each split, in the order of [`SPLITS`].
    pub items: [usize; SPLITS.len()],
    /// Mean tokens of an item's context.
    pub mean_context_tokens: f64,
    /// Mean tokens of one continuation.
    pub mean_choice_tokens: f64,
    /// Continuations per item.
    pub choices: usize,
    /// How it is scored.
    pub kind: Scoring,
    /// Names of what is reported of it.
    #[serde(skip)]
    pub metrics: Vec<&'static str>,
    /// The metric by which figures and tables show it, where the experiment names no other.
    #[serde(skip)]
    pub primary_metric: &'static str,
    /// Digest of items and prompt; part of every cell id.
    pub data_digest: String,
}

/// Label of a tokenizer that cannot be used with its model.
pub const UNUSABLE_TOKENIZER: &str = "unusable tokenizer";

/// A model or task that the catalog does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct CatalogError {
    /// What is wrong, for example ``unknown task `world_pica` ``.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
    /// What is wrong in a word or two, for the mark in the file: `unknown`, `damaged`, ..
    pub label: &'static str,
}
