//! The models and tasks that an experiment can name, and how they are loaded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use evaluation::tasks::{self, DataDir, Prompting, Source as TaskSource, Split, Task, TaskError};
use evaluation::tokenizer::{Tokenizer, TokenizerError};
use miette::Diagnostic;
use reduction_strategies::registry::nearest;
use ssm_model::catalog::{self, Builtin};
use ssm_model::checkpoint::{Checkpoint, CheckpointError};
use ssm_model::{LanguageModel, ModelError, Placement};
use thiserror::Error;

use crate::config::{Catalog, CatalogError, ModelFacts, TaskFacts, TaskKind};

/// Why a model or task could not be had.
#[derive(Debug, Error, Diagnostic)]
pub enum LibraryError {
    /// No such model or task.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A checkpoint that cannot be read.
    #[error("model `{reference}`: {error}")]
    #[diagnostic(help("{}", error.hint()))]
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
    /// A task that cannot be read.
    #[error(transparent)]
    #[diagnostic(help("{}", _0.hint().unwrap_or_else(|| "see `sweep tasks`".to_owned())))]
    Task(#[from] TaskError),
    /// A model folder without tokenizer.
    #[error("{folder} holds no tokenizer.json")]
    #[diagnostic(help(
        "put the model's tokenizer.json there; the state-spaces models use that of GPT-NeoX, which is also found as \
         neox-tokenizer/20B_tokenizer.json in the folder that --data-dir or SWEEP_DATA_DIR names"
    ))]
    NoTokenizer {
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

/// Label of a reference that names nothing.
const UNKNOWN: &str = "unknown";

/// Where a model comes from.
enum Source {
    Builtin(Builtin),
    Folder(PathBuf),
}

/// Everything nameable, with tokenizers kept once read.
#[derive(Default)]
pub struct Library {
    data: DataDir,
    tokenizers: Mutex<BTreeMap<String, Tokenizer>>,
    /// Checkpoints that were opened for planning and wait to be loaded.
    opened: Mutex<BTreeMap<String, Checkpoint>>,
}

impl Library {
    /// The library of this installation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The library of this installation, with the benchmarks of a data directory.
    #[must_use]
    pub fn with_data(data: DataDir) -> Self {
        Self { data, ..Self::default() }
    }

    /// How its tasks are read.
    fn tasks(&self, prompting: Prompting) -> TaskSource {
        TaskSource { data: self.data.clone(), prompting }
    }

    /// Loads a model for computing at `placement`.
    ///
    /// # Errors
    /// No such model, or a checkpoint that is damaged, incomplete or has surplus weights.
    pub fn load_model(&self, reference: &str, placement: &Placement) -> Result<LanguageModel, LibraryError> {
        let waiting = self.opened.lock().unwrap_or_else(PoisonError::into_inner).remove(reference);
        let checkpoint = waiting.map_or_else(|| open(reference), Ok)?;
        let mut weights = checkpoint.weights;
        let model = LanguageModel::load(&checkpoint.config, &mut weights, placement)
            .map_err(|error| LibraryError::Model { reference: reference.to_owned(), error: Box::new(error) })?;
        weights
            .finish()
            .map_err(|error| LibraryError::Checkpoint { reference: reference.to_owned(), error: Box::new(error) })?;
        self.with_tokenizer(reference, |tokenizer| tokenizer.check_vocab(model.config().vocab_size))?
            .map_err(|error| LibraryError::Tokenizer { reference: reference.to_owned(), error })?;
        Ok(model)
    }

    /// Loads a task in the tokens of a model.
    ///
    /// # Errors
    /// No such task, no data for it, a damaged file, or a model without tokenizer.
    pub fn load_task(
        &self,
        model: &str,
        name: &str,
        prompting: Prompting,
        split: Split,
        limit: Option<usize>,
    ) -> Result<Task, LibraryError> {
        let source = self.tasks(prompting);
        Ok(self.with_tokenizer(model, |tokenizer| tasks::load(name, &source, tokenizer, split, limit))??)
    }

    /// Text of a token, for people to read.
    #[must_use]
    pub fn token_text(&self, model: &str, token: u32) -> String {
        let text = self.with_tokenizer(model, |tokenizer| tokenizer.token_text(token));
        text.ok().flatten().unwrap_or_else(|| format!("<{token}>"))
    }

    /// The `tokenizer.json` of a model folder. The state-spaces repositories hold none: theirs is that of GPT-NeoX, from the data
    /// directory.
    fn tokenizer_of(&self, folder: &Path) -> Result<PathBuf, LibraryError> {
        let own = folder.join("tokenizer.json");
        if own.is_file() || !is_of_state_spaces(folder) {
            return Ok(own);
        }
        self.data
            .neox_tokenizer()
            .filter(|path| path.is_file())
            .ok_or_else(|| LibraryError::NoTokenizer { folder: folder.display().to_string() })
    }

    fn with_tokenizer<R>(&self, reference: &str, f: impl FnOnce(&Tokenizer) -> R) -> Result<R, LibraryError> {
        let mut tokenizers = self.tokenizers.lock().unwrap_or_else(PoisonError::into_inner);
        if !tokenizers.contains_key(reference) {
            let refused = |error| LibraryError::Tokenizer { reference: reference.to_owned(), error };
            let tokenizer = match source(reference)? {
                Source::Builtin(builtin) => Tokenizer::from_json(builtin.tokenizer_json).map_err(refused)?,
                Source::Folder(folder) => {
                    let json = read(&self.tokenizer_of(&folder)?)?;
                    let tokenizer = Tokenizer::from_json(&json).map_err(refused)?;
                    let config = folder.join("tokenizer_config.json");
                    if config.is_file() { tokenizer.with_config(&read(&config)?).map_err(refused)? } else { tokenizer }
                }
            };
            tokenizers.insert(reference.to_owned(), tokenizer);
        }
        Ok(f(&tokenizers[reference]))
    }
}

/// Whether a folder holds a checkpoint as the state-spaces repositories do, without a tokenizer.
fn is_of_state_spaces(folder: &Path) -> bool {
    let config = fs::read_to_string(folder.join("config.json")).ok();
    let config: Option<serde_json::Value> = config.and_then(|text| serde_json::from_str(&text).ok());
    config.is_some_and(|config| config.get("ssm_cfg").is_some() && config.get("model_type").is_none())
}

fn read(path: &Path) -> Result<String, LibraryError> {
    fs::read_to_string(path).map_err(|error| LibraryError::File { path: path.display().to_string(), error })
}

fn source(reference: &str) -> Result<Source, CatalogError> {
    if let Some(name) = reference.strip_prefix("builtin:") {
        return catalog::builtin(name).map(Source::Builtin).ok_or_else(|| {
            let names: Vec<&str> = catalog::builtins().iter().map(|builtin| builtin.name).collect();
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
    if reference.starts_with("hub:") {
        return Err(CatalogError {
            message: format!("cannot fetch `{reference}`: this version downloads nothing"),
            hint: Some("download the checkpoint and name its folder instead".to_owned()),
            label: "not on this machine",
        });
    }
    let folder = PathBuf::from(reference);
    if folder.is_dir() {
        return Ok(Source::Folder(folder));
    }
    Err(CatalogError {
        message: format!("unknown model `{reference}`"),
        hint: Some("write builtin:<name> (see `sweep models`) or the path of a folder with config.json".to_owned()),
        label: UNKNOWN,
    })
}

fn open(reference: &str) -> Result<Checkpoint, LibraryError> {
    match source(reference)? {
        Source::Builtin(builtin) => Checkpoint::from_bytes(builtin.config_json, builtin.safetensors),
        Source::Folder(folder) => Checkpoint::open(&folder),
    }
    .map_err(|error| LibraryError::Checkpoint { reference: reference.to_owned(), error: Box::new(error) })
}

/// Digest of the configuration and the weights as they are stored.
fn digest(reference: &str) -> Result<String, LibraryError> {
    let mut hasher = blake3::Hasher::new();
    match source(reference)? {
        Source::Builtin(builtin) => {
            hasher.update(builtin.config_json.as_bytes()).update(builtin.safetensors);
        }
        Source::Folder(folder) => {
            for file in weight_files(&folder)? {
                let path = || file.display().to_string();
                let opened = fs::File::open(&file).map_err(|error| LibraryError::File { path: path(), error })?;
                hasher.update_reader(opened).map_err(|error| LibraryError::File { path: path(), error })?;
            }
        }
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
        if path.is_file() && matches!(extension, Some("json" | "safetensors" | "bin")) && !is_tokenizer {
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
                LibraryError::Task(TaskError::NoDataDir { .. } | TaskError::NoData { .. }) => "not on this machine",
                LibraryError::Task(
                    TaskError::NoExamples { .. } | TaskError::FewExamples { .. } | TaskError::NoDocuments { .. },
                ) => "not with these settings",
                LibraryError::Task(_) => "damaged task",
                LibraryError::Checkpoint { error, .. } if matches!(**error, CheckpointError::NoConfig { .. }) => {
                    "not a model folder"
                }
                LibraryError::Checkpoint { .. } | LibraryError::Model { .. } => "damaged model",
                LibraryError::Tokenizer { .. } | LibraryError::NoTokenizer { .. } => "unusable tokenizer",
                LibraryError::File { .. } => "unreadable",
            },
        },
    }
}

impl Catalog for Library {
    fn model(&self, reference: &str) -> Result<ModelFacts, CatalogError> {
        let weights_digest = digest(reference).map_err(as_catalog_error)?;
        let checkpoint = open(reference).map_err(as_catalog_error)?;
        let config = checkpoint.config.clone();
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(reference.to_owned(), checkpoint);
        let tokenizer = |tokenizer: &Tokenizer| tokenizer.check_vocab(config.vocab_size).map(|()| tokenizer.digest());
        let tokenizer_digest = self
            .with_tokenizer(reference, tokenizer)
            .and_then(|digest| {
                digest.map_err(|error| LibraryError::Tokenizer { reference: reference.to_owned(), error })
            })
            .map_err(as_catalog_error)?;
        Ok(ModelFacts {
            reference: reference.to_owned(),
            architecture: config.architecture_name(),
            n_layer: config.n_layer,
            signals: config.signals(),
            uses_positions: config.uses_positions(),
            flops_per_token_layer: config.layer_flops_per_token(),
            flops_per_token_pair: config.attention_flops_per_pair(),
            flops_per_token_head: config.head_flops_per_row(),
            weights_digest,
            tokenizer_digest,
        })
    }

    fn task(&self, name: &str, prompting: Prompting) -> Result<TaskFacts, CatalogError> {
        let facts =
            tasks::facts(name, &self.tasks(prompting)).map_err(|error| as_catalog_error(LibraryError::Task(error)))?;
        Ok(TaskFacts {
            name: name.to_owned(),
            items: facts.items,
            mean_context_tokens: facts.mean_context_tokens,
            mean_choice_tokens: facts.mean_continuation_tokens,
            choices: facts.choices,
            kind: match facts.kind {
                tasks::TaskKind::MultipleChoice | tasks::TaskKind::Target => TaskKind::LogLikelihood,
                tasks::TaskKind::RunningText => TaskKind::RunningText,
            },
            data_digest: facts.digest,
        })
    }
}
