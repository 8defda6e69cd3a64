//! The models and tasks that an experiment can name, and how they are loaded.

mod advice;
#[cfg_attr(not(feature = "hub"), path = "library/no_hub.rs")]
mod hub;
#[cfg(feature = "hub")]
mod parquet;
mod random;
mod tokenizers;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use evaluation::tasks::{self, Data, Prompting, Source as TaskSource, Task, TaskError, TaskRef};
use evaluation::tokenizer::{Tokenizer, TokenizerError};
use evaluation::{Layout, Shapes};
use hint::Hint;
use miette::Diagnostic;
use records::regular;
use records::schema::{Calibration, Failure};
use reduction_strategies::spelling::nearest;
use ssm_model::catalog::{self, Builtin};
use ssm_model::checkpoint::{Checkpoint, CheckpointError};
use ssm_model::{LanguageModel, ModelConfig, ModelError, Placement, shipped};
use thiserror::Error;

use random::RandomModel;
use tokenizers::Tokenizers;

use crate::config::{
    Catalog, CatalogError, ItemChoice, LayerFacts, ModelFacts, PlannedTask, Scoring, UNUSABLE_TOKENIZER,
};
use crate::home;
use crate::record::manifest::HubCommit;
use hub::{Hub, HubModel, Parts};
#[cfg(feature = "hub")]
pub use parquet::{ParquetError, json_lines};

/// Why a model or task could not be had.
#[derive(Debug, Error, Diagnostic)]
pub enum LibraryError {
    /// No such model or task.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A checkpoint that cannot be read.
    #[error("model `{reference}`: {error}")]
    #[diagnostic(help("{}", error.hint().unwrap_or_else(|| "see `sweep models`".to_owned())))]
    Checkpoint {
        /// Model reference.
        reference: String,
        /// What is wrong.
        error: Box<CheckpointError>,
    },
    /// A model that cannot be built from its checkpoint.
    #[error("model `{reference}`: {error}")]
    #[diagnostic(help("{}", error.hint().unwrap_or_else(|| "see `sweep models`".to_owned())))]
    Model {
        /// Model reference.
        reference: String,
        /// What is wrong.
        error: Box<ModelError>,
    },
    /// A tokenizer that cannot be read or does not fit the model.
    #[error("tokenizer of `{reference}`: {error}")]
    #[diagnostic(help("{}", error.hint().unwrap_or_else(|| "put the model's tokenizer.json beside its weights".to_owned())))]
    Tokenizer {
        /// Model reference.
        reference: String,
        /// What is wrong.
        error: TokenizerError,
    },
    /// A file that an experiment names as tokenizer, and that is none.
    #[error("{file} is no tokenizer: {problem}")]
    #[diagnostic(help("{}", advice::TOKENIZER_FORMS))]
    NotATokenizer {
        /// The file.
        file: String,
        /// Why.
        problem: String,
    },
    /// A random model without the tokenizer that it shares with most published ones.
    #[error("model `{reference}` needs the tokenizer of GPT-NeoX-20B: {problem}")]
    #[diagnostic(help(
        "name the folder that holds neox-tokenizer/20B_tokenizer.json with --data-dir or SWEEP_DATA_DIR"
    ))]
    NeoxTokenizer {
        /// Model reference.
        reference: String,
        /// Why there is none.
        problem: String,
    },
    /// A task that cannot be read.
    #[error(transparent)]
    #[diagnostic(help("{}", _0.hint().unwrap_or_else(|| "see `sweep tasks`".to_owned())))]
    Task(#[from] TaskError),
    /// A model folder without tokenizer.
    #[error("`{reference}` has no tokenizer: {folder} holds no tokenizer.json")]
    #[diagnostic(help(
        "{}. For state-spaces models neox-tokenizer/20B_tokenizer.json in the folder that --data-dir or SWEEP_DATA_DIR names serves too",
        advice::name_a_tokenizer(reference)
    ))]
    NoTokenizer {
        /// Model reference.
        reference: String,
        /// The folder.
        folder: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {error}")]
    #[diagnostic(help("a model folder holds config.json, the weights and tokenizer.json"))]
    File {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

impl LibraryError {
    /// Whether it is a matter of one task, and neither of a model nor of other tasks.
    #[must_use]
    pub fn is_of_task(&self) -> bool {
        matches!(self, Self::Task(_))
    }

    /// Whether it is about one model's files, and other models do not depend on it.
    #[must_use]
    pub fn is_of_model(&self) -> bool {
        match self {
            Self::Checkpoint { .. } => true,
            Self::Model { error, .. } => matches!(**error, ModelError::Checkpoint(_)),
            _ => false,
        }
    }

    /// What a record says of it: what went wrong, and what to do.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure { error: self.to_string(), hint: self.help().map(|help| help.to_string()) }
    }
}

/// Label of a reference that names nothing.
const UNKNOWN: &str = "unknown";

/// Where a model comes from.
enum Source {
    Builtin(Builtin),
    Folder(PathBuf),
    Hub(HubModel),
    Random(RandomModel),
}

/// What may be downloaded when something of the hub is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Downloads {
    /// Nothing: what the cache lacks is refused.
    #[default]
    Never,
    /// What the cache lacks.
    Missing,
    /// What the cache lacks, after asking the hub what branches and tags stand for now.
    Refresh,
}

/// A model whose configuration is known and whose weights are not read, or made, yet.
enum Opened {
    Checkpoint(Box<Checkpoint>),
    Random(ModelConfig, RandomModel),
}

/// Everything nameable, with tokenizers kept once read.
#[derive(Default)]
pub struct Library {
    data: Data,
    tokenizers: Tokenizers,
    /// Models that were opened for planning and wait to be loaded.
    opened: Mutex<BTreeMap<String, Opened>>,
    /// Tasks that were loaded.
    loaded: Mutex<Vec<(TaskKey, Arc<Task>)>>,
    /// Thresholds that runs found, by request.
    calibrations: Mutex<BTreeMap<String, Calibration>>,
    hub: Arc<Hub>,
}

/// Digest of the tokenizer, task and items: what decides the tokens of a task.
type TaskKey = (String, TaskRef, ItemChoice);

impl Library {
    /// The library of this installation. It downloads nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The library of this installation, with the benchmarks of a data directory, or of the hub where none is named, and with
    /// downloads, which happen when something is named for the first time.
    #[must_use]
    pub fn with(folder: Option<PathBuf>, downloads: Downloads) -> Self {
        let hub = Arc::new(Hub::new(downloads));
        let data = folder.map_or_else(|| hub.data(), Data::Folder);
        Self { data, hub, ..Self::default() }
    }

    /// The commits behind the references to a hub that were looked up so far.
    #[must_use]
    pub fn hub_commits(&self) -> Vec<HubCommit> {
        self.hub.commits()
    }

    /// How its tasks are read.
    pub fn tasks(&self, prompting: Prompting) -> TaskSource {
        TaskSource { data: self.data.clone(), prompting }
    }

    /// Loads a model for computing at `placement`.
    ///
    /// # Errors
    /// No such model, or a checkpoint that is damaged, incomplete or has surplus weights.
    pub fn load_model(&self, reference: &str, placement: &Placement) -> Result<LanguageModel, LibraryError> {
        let model = self.load_weights(reference, placement)?;
        self.with_tokenizer(reference, |tokenizer| tokenizer.check_vocab(model.config().vocab_size))?
            .map_err(|error| LibraryError::Tokenizer { reference: reference.to_owned(), error })?;
        Ok(model)
    }

    /// As [`Library::load_model`], without asking for a tokenizer: for those who bring token ids.
    ///
    /// # Errors
    /// As [`Library::load_model`], but for the tokenizer.
    pub fn load_weights(&self, reference: &str, placement: &Placement) -> Result<LanguageModel, LibraryError> {
        let waiting = self.opened.lock().unwrap_or_else(PoisonError::into_inner).remove(reference);
        let unbuilt = |error| LibraryError::Model { reference: reference.to_owned(), error: Box::new(error) };
        let unfit = |error| LibraryError::Checkpoint { reference: reference.to_owned(), error: Box::new(error) };
        match waiting.map_or_else(|| open(reference, &self.hub, Parts::Weights), Ok)? {
            Opened::Checkpoint(checkpoint) => {
                let mut weights = checkpoint.weights;
                let model = LanguageModel::load(&checkpoint.config, &mut weights, placement).map_err(unbuilt)?;
                weights.finish().map_err(unfit)?;
                Ok(model)
            }
            Opened::Random(config, random) => {
                LanguageModel::load(&config, &mut random.weights(), placement).map_err(unbuilt)
            }
        }
    }

    /// Loads the items of a task in the tokens of a model, once for all models of one tokenizer.
    ///
    /// # Errors
    /// No such task, no data for it, a damaged file, or a model without tokenizer.
    pub fn load_task(&self, model: &str, task: &TaskRef, items: ItemChoice) -> Result<Arc<Task>, LibraryError> {
        let digest = self.with_tokenizer(model, Tokenizer::digest)?;
        let key = (digest, task.clone(), items);
        let known = |loaded: &Vec<(TaskKey, Arc<Task>)>| {
            loaded.iter().find(|(known, _)| *known == key).map(|(_, task)| Arc::clone(task))
        };
        if let Some(task) = known(&self.loaded.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(task);
        }
        let ItemChoice { prompting, split, limit } = items;
        let source = self.tasks(prompting);
        let loaded = self.with_tokenizer(model, |tokenizer| tasks::load(task, &source, tokenizer, split, limit))??;
        let loaded = Arc::new(loaded);
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).push((key, Arc::clone(&loaded)));
        Ok(loaded)
    }

    /// What keeps a task from being scored by a model, as far as it can be told beforehand.
    ///
    /// # Errors
    /// As [`load_task`](Self::load_task).
    pub fn unfit(&self, model: &str, task: &TaskRef, items: ItemChoice) -> Result<Option<TaskError>, LibraryError> {
        let source = self.tasks(items.prompting);
        if !self.with_tokenizer(model, |tokenizer| tasks::is_suspicious(task, &source, tokenizer))?? {
            return Ok(None);
        }
        match self.load_task(model, task, items) {
            Ok(_) => Ok(None),
            Err(LibraryError::Task(error)) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// Token ids of a text, as tasks encode it.
    ///
    /// # Errors
    /// No tokenizer, or a text that it refuses.
    pub fn encode(&self, model: &str, text: &str) -> Result<Vec<u32>, LibraryError> {
        let encoded = self.with_tokenizer(model, |tokenizer| tokenizer.encode_text(text))?;
        encoded.map_err(|error| LibraryError::Tokenizer { reference: model.to_owned(), error })
    }

    /// The text of token ids.
    ///
    /// # Errors
    /// No tokenizer, or an id that it does not have.
    pub fn decode(&self, model: &str, ids: &[u32]) -> Result<String, LibraryError> {
        let decoded = self.with_tokenizer(model, |tokenizer| tokenizer.decode(ids))?;
        decoded.map_err(|error| LibraryError::Tokenizer { reference: model.to_owned(), error })
    }

    /// About how many tokens the longest item of a user's task has, where `max_length` would cut a benchmark and does not cut it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn longer_than_max_length(&self, task: &TaskRef, prompting: Prompting) -> Result<Option<usize>, LibraryError> {
        Ok(tasks::longer_than_max_length(task, &self.tasks(prompting))?)
    }

    /// Text of each token, for people to read.
    #[must_use]
    pub fn token_texts(&self, model: &str, tokens: &[u32]) -> Vec<String> {
        let texts = self.with_tokenizer(model, |tokenizer| tokenizer.token_texts(tokens));
        texts.unwrap_or_else(|_| tokens.iter().map(|token| format!("<{token}>")).collect())
    }

    /// Text of each token, with the spaces between them: put together they are the text.
    #[must_use]
    pub fn spaced_texts(&self, model: &str, tokens: &[u32]) -> Vec<String> {
        let texts = self.with_tokenizer(model, |tokenizer| tokenizer.spaced_texts(tokens));
        texts.unwrap_or_else(|_| tokens.iter().map(|token| format!("<{token}>")).collect())
    }

    fn with_tokenizer<R>(&self, reference: &str, f: impl FnOnce(&Tokenizer) -> R) -> Result<R, LibraryError> {
        self.tokenizers.with(reference, &self.data, &self.hub, f)
    }
}

/// Whether a folder holds a checkpoint as the state-spaces repositories do, without a tokenizer.
fn is_of_state_spaces(folder: &Path) -> bool {
    read(&folder.join("config.json")).is_ok_and(|text| ModelConfig::is_of_mamba_ssm(&text))
}

/// The text of a regular file: opening a pipe would wait for somebody to write.
fn read(path: &Path) -> Result<String, LibraryError> {
    regular::read_text(path, regular::MAX_BYTES)
        .map_err(|error| LibraryError::File { path: path.display().to_string(), error })
}

fn source(reference: &str, hub: &Hub, parts: Parts) -> Result<Source, CatalogError> {
    if let Some(name) = reference.strip_prefix("builtin:") {
        if let Some(model) = shipped::find(name) {
            return model.folder().map(Source::Folder).map_err(|error| CatalogError {
                message: error.to_string(),
                hint: error.hint(),
                label: error.label(),
            });
        }
        return catalog::builtin(name).map(Source::Builtin).ok_or_else(|| {
            let names = builtin_names();
            let near = nearest(name, names.iter().copied());
            CatalogError {
                label: UNKNOWN,
                message: format!("unknown builtin model `{name}`"),
                hint: Some(near.map_or_else(
                    || format!("builtin models: {}", names.join(", ")),
                    |near| format!("did you mean `builtin:{near}`?"),
                )),
            }
        });
    }
    if let Some(random) = RandomModel::parse(reference) {
        return random.map(Source::Random);
    }
    if let Some(rest) = reference.strip_prefix("hub:") {
        return hub.model(reference, rest, parts).map(Source::Hub);
    }
    let folder = home::expand(Path::new(reference)).map_err(|problem| CatalogError {
        message: format!("unknown model `{reference}`"),
        hint: Some(problem),
        label: UNKNOWN,
    })?;
    if folder.is_dir() {
        return Ok(Source::Folder(folder));
    }
    let hint = without_scheme(reference).unwrap_or_else(|| {
        "write builtin:<name>, random:<name> (see `sweep models`), hub:<owner>/<name>, or the path of a folder with config.json"
            .to_owned()
    });
    Err(CatalogError { message: format!("unknown model `{reference}`"), hint: Some(hint), label: UNKNOWN })
}

/// Names of the models that come with the program.
fn builtin_names() -> Vec<&'static str> {
    let embedded = catalog::builtins().iter().map(|builtin| builtin.name);
    embedded.chain(shipped::shipped().iter().map(|model| model.name)).collect()
}

/// What a reference that is no folder means if its scheme was forgotten.
fn without_scheme(reference: &str) -> Option<String> {
    let name = reference.split('@').next().unwrap_or_default();
    if let Some(model) = catalog::find_published(name) {
        return Some(format!("did you mean `hub:{}`, or `random:{}`?", model.name, model.short_name()));
    }
    if let Some(near) = nearest(name, builtin_names().into_iter()) {
        return Some(format!("did you mean `builtin:{near}`?"));
    }
    let names_repository = |(owner, rest): (&str, &str)| {
        !owner.is_empty() && !owner.starts_with(['.', '~']) && !rest.is_empty() && !rest.contains('/')
    };
    let is_of_hub = reference.split_once('/').is_some_and(names_repository);
    is_of_hub.then(|| format!("no such folder; write `hub:{reference}` for a repository of the hub"))
}

fn open(reference: &str, hub: &Hub, parts: Parts) -> Result<Opened, LibraryError> {
    let checkpoint = |checkpoint| Opened::Checkpoint(Box::new(checkpoint));
    match source(reference, hub, parts)? {
        Source::Builtin(builtin) => Checkpoint::from_bytes(builtin.config_json, builtin.safetensors).map(checkpoint),
        Source::Folder(folder) | Source::Hub(HubModel { folder, .. }) => Checkpoint::open(&folder).map(checkpoint),
        Source::Random(random) => match random.config() {
            Ok(config) => Ok(Opened::Random(config, random)),
            Err(source) => Err(CheckpointError::Config { file: reference.to_owned(), source }),
        },
    }
    .map_err(|error| LibraryError::Checkpoint { reference: reference.to_owned(), error: Box::new(error) })
}

impl Opened {
    fn config(&self) -> &ModelConfig {
        match self {
            Self::Checkpoint(checkpoint) => &checkpoint.config,
            Self::Random(config, _) => config,
        }
    }
}

/// Digest of the configuration and the weights as they are stored.
fn digest(reference: &str, hub: &Hub, parts: Parts) -> Result<String, LibraryError> {
    let mut hasher = blake3::Hasher::new();
    let files = match source(reference, hub, parts)? {
        Source::Builtin(builtin) => {
            hasher.update(builtin.config_json.as_bytes()).update(builtin.safetensors);
            Vec::new()
        }
        Source::Random(random) => {
            random.update(&mut hasher);
            Vec::new()
        }
        Source::Folder(folder) => weight_files(&folder)?,
        Source::Hub(model) => model.files,
    };
    for file in files {
        let unreadable = |error| LibraryError::File { path: file.display().to_string(), error };
        let opened = fs::File::open(&file).map_err(unreadable)?;
        hasher.update_reader(opened).map_err(unreadable)?;
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}

/// Files of a model folder that can change its output, in name order; the tokenizer has a digest of its own.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, LibraryError> {
    let unreadable = |error| LibraryError::File { path: folder.display().to_string(), error };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_tokenizer =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("tokenizer"));
        if path.is_file() && matches!(extension, Some("json" | "safetensors" | "zst" | "bin")) && !is_tokenizer {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn as_catalog_error(error: LibraryError) -> CatalogError {
    match error {
        LibraryError::Catalog(error) => error,
        other => CatalogError {
            hint: other.help().map(|help| help.to_string()),
            message: other.to_string(),
            label: match &other {
                LibraryError::Task(TaskError::Unknown { .. }) | LibraryError::Catalog(_) => UNKNOWN,
                LibraryError::Task(
                    TaskError::NoDataDir { .. }
                    | TaskError::NoData { .. }
                    | TaskError::Dataset { .. }
                    | TaskError::NoFile { .. },
                ) => "not on this machine",
                LibraryError::Task(TaskError::NotShipped(error)) => error.label(),
                LibraryError::Task(
                    TaskError::NoExamples { .. }
                    | TaskError::FewExamples { .. }
                    | TaskError::FewUnderHeading { .. }
                    | TaskError::NoDocuments { .. }
                    | TaskError::NoText { .. }
                    | TaskError::NoCut { .. },
                ) => "not with these settings",
                LibraryError::Task(
                    TaskError::Unreadable { .. } | TaskError::NotAFile { .. } | TaskError::TooLarge { .. },
                )
                | LibraryError::File { .. } => "unreadable",
                LibraryError::Task(_) => "damaged task",
                LibraryError::Checkpoint { error, .. } => error.label(),
                LibraryError::Model { error, .. } => match &**error {
                    ModelError::Checkpoint(error) => error.label(),
                    _ => "cannot be built",
                },
                LibraryError::Tokenizer { .. }
                | LibraryError::NoTokenizer { .. }
                | LibraryError::NotATokenizer { .. }
                | LibraryError::NeoxTokenizer { .. } => UNUSABLE_TOKENIZER,
            },
        },
    }
}

impl Library {
    /// Remembers a threshold that a run found, for plans that are built from here on.
    pub(crate) fn learn(&self, request: &str, found: Calibration) {
        self.calibrations.lock().unwrap_or_else(PoisonError::into_inner).insert(request.to_owned(), found);
    }
}

impl Catalog for Library {
    fn calibration(&self, request: &str) -> Option<Calibration> {
        self.calibrations.lock().unwrap_or_else(PoisonError::into_inner).get(request).cloned()
    }

    fn choose_tokenizer(&self, reference: &str, tokenizer: Option<&str>) -> Result<(), CatalogError> {
        self.tokenizers.choose(reference, tokenizer, &self.data, &self.hub).map_err(as_catalog_error)
    }

    fn model(&self, reference: &str) -> Result<ModelFacts, CatalogError> {
        let parts = self.tokenizers.parts(reference);
        let weights_digest = digest(reference, &self.hub, parts).map_err(as_catalog_error)?;
        let opened = open(reference, &self.hub, parts).map_err(as_catalog_error)?;
        let config = opened.config().clone();
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(reference.to_owned(), opened);
        let tokenizer = |tokenizer: &Tokenizer| tokenizer.check_vocab(config.vocab_size).map(|()| tokenizer.digest());
        let tokenizer_digest = self
            .with_tokenizer(reference, tokenizer)
            .and_then(|digest| {
                digest.map_err(|error| LibraryError::Tokenizer { reference: reference.to_owned(), error })
            })
            .map_err(as_catalog_error)?;
        Ok(ModelFacts {
            reference: reference.to_owned(),
            tokenizer: None,
            architecture: config.architecture,
            layers: config
                .layers
                .iter()
                .map(|layer| LayerFacts {
                    kind: layer.kind(),
                    kinds: layer.kinds(),
                    signals: layer.signals(),
                    flops_per_token: layer.flops_per_token(config.d_model),
                    flops_per_pair: layer.attention_flops_per_pair(config.d_model),
                })
                .collect(),
            uses_positions: config.uses_positions(),
            flops_per_token_head: config.head_flops_per_row(),
            weights_digest,
            tokenizer_digest,
        })
    }

    fn task(&self, task: &TaskRef, prompting: Prompting) -> Result<PlannedTask, CatalogError> {
        let facts =
            tasks::facts(task, &self.tasks(prompting)).map_err(|error| as_catalog_error(LibraryError::Task(error)))?;
        Ok(PlannedTask {
            name: task.name(),
            reference: task.clone(),
            items: facts.items,
            mean_context_tokens: facts.mean_context_tokens,
            mean_choice_tokens: facts.mean_continuation_tokens,
            choices: facts.choices,
            kind: match facts.kind {
                tasks::TaskKind::MultipleChoice | tasks::TaskKind::Target => Scoring::LogLikelihood,
                tasks::TaskKind::RunningText => Scoring::RunningText,
            },
            metrics: facts.measures.iter().map(|measure| measure.name()).collect(),
            primary_metric: facts.primary_metric,
            data_digest: facts.digest,
        })
    }

    fn shapes(
        &self,
        model: &str,
        task: &TaskRef,
        items: ItemChoice,
        protocols: &[evaluation::Scoring],
    ) -> Result<Vec<Shapes>, CatalogError> {
        let task = self.load_task(model, task, items).map_err(as_catalog_error)?;
        Ok(protocols.iter().map(|scoring| Layout::new(task.kind, &task.items, *scoring).shapes()).collect())
    }
}

#[cfg(test)]
mod tests;
