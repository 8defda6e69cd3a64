use std::path::Path;

use hint::Hint;
use ssm_kernels::KernelError;
use thiserror::Error;

use crate::config::error::ConfigError;

/// Why a checkpoint could not be opened or did not hold what the model needs.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A folder without a config.
    #[error("{folder}: no config.json")]
    NoConfig {
        /// Folder.
        folder: String,
    },
    /// A folder with a config and without weights.
    #[error("{folder}: no weights; looked for {looked_for}")]
    NoWeights {
        /// Folder.
        folder: String,
        /// Names, in order of preference.
        looked_for: String,
    },
    /// A config that was refused.
    #[error("{file}: {source}")]
    Config {
        /// File.
        file: String,
        /// Why.
        source: ConfigError,
    },
    /// The operating system refused.
    #[error("{file}: {source}")]
    Io {
        /// File.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file whose structure contradicts itself.
    #[error("{file}: {problem}")]
    Malformed {
        /// File.
        file: String,
        /// What is wrong, with the weight's name where one is concerned.
        problem: String,
    },
    /// A file that is whole and of a kind that is not read.
    #[error("{file}: {problem}")]
    Unsupported {
        /// File.
        file: String,
        /// What it is, with the weight's name where one is concerned.
        problem: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A few lines of Git LFS that say which file belongs there.
    #[error("{file}: this is a Git LFS pointer, not the file itself")]
    Pointer {
        /// File.
        file: String,
    },
    /// An index and shards that say different things.
    #[error("{file}: {problem}")]
    Index {
        /// Index file.
        file: String,
        /// What is wrong, with the weight's name.
        problem: String,
    },
    /// A pickle that wants to load something else than tensors. Nothing of it was used.
    #[error("{file}: the pickle refers to `{global}`, which is not part of a state dict of tensors")]
    ForbiddenGlobal {
        /// File.
        file: String,
        /// Module and name.
        global: String,
    },
    /// An index that points out of its folder.
    #[error("{file}: shard `{shard}` is not a plain file name beside the index")]
    ShardOutside {
        /// Index file.
        file: String,
        /// What it names.
        shard: String,
    },
    /// The same weight in two places.
    #[error("`{name}` is in {first} and again in {second}")]
    Duplicate {
        /// Canonical name.
        name: String,
        /// File.
        first: String,
        /// File.
        second: String,
    },
    /// A weight the model needs and the checkpoint lacks.
    #[error("no weight `{name}` (looked for {looked_for}); the nearest name present is {nearest}")]
    Missing {
        /// Canonical name.
        name: String,
        /// Names that would have been accepted.
        looked_for: String,
        /// The most similar name present, or "none".
        nearest: String,
    },
    /// A weight that was taken before.
    #[error("weight `{name}` was taken twice")]
    TakenTwice {
        /// Canonical name.
        name: String,
    },
    /// A weight of another shape than the config implies.
    #[error("weight `{name}` has shape {got:?}, expected {expected:?}")]
    Shape {
        /// Name in the file.
        name: String,
        /// What the config implies.
        expected: Vec<usize>,
        /// What the file holds.
        got: Vec<usize>,
    },
    /// A weight that holds something else than numbers.
    #[error("{file}: weight `{name}` is {value} at {place:?}")]
    NonFinite {
        /// File.
        file: String,
        /// Name in the file.
        name: String,
        /// Where in the weight, by axis.
        place: Vec<usize>,
        /// NaN or an infinity.
        value: f64,
    },
    /// A weight too large for the dtype of activations.
    #[error("weight `{name}` holds a number that {dtype} cannot hold, at {place:?}")]
    TooLarge {
        /// Canonical name.
        name: String,
        /// The dtype.
        dtype: &'static str,
        /// Where in the weight, by axis.
        place: Vec<usize>,
    },
    /// Weights that the model has no place for.
    #[error("weights that the model does not use: {}", .names.join(", "))]
    Surplus {
        /// Names in the file.
        names: Vec<String>,
    },
    /// A head that is called tied and is not.
    #[error("the config ties the head to the embedding, but the head's weight differs from it")]
    UntiedHead,
    /// A weight of a block that layers share, stored for two of them with different values.
    #[error("`{name}` differs from `{original}`, which it is a copy of")]
    UnlikeCopy {
        /// Canonical name of the copy.
        name: String,
        /// Canonical name of the weight that the model uses.
        original: String,
    },
    /// Values that could not be looked at.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// An error of the tensor library.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl CheckpointError {
    pub(super) fn io(file: &Path, source: std::io::Error) -> Self {
        Self::Io { file: file.display().to_string(), source }
    }

    pub(super) fn unsupported(file: &str, problem: impl Into<String>, hint: &'static str) -> Self {
        Self::Unsupported { file: file.to_string(), problem: problem.into(), hint }
    }

    pub(super) fn malformed(file: &str, problem: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_string(), problem: problem.into() }
    }

    /// What is wrong with the model, in two or three words, for a line under its name.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoConfig { .. } => "not a model folder",
            Self::Config { source, .. } => source.label(),
            Self::NoWeights { .. } | Self::Pointer { .. } | Self::Missing { .. } => "incomplete model",
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => "incomplete model",
            Self::Io { .. } => "unreadable",
            Self::Unsupported { .. } => "unsupported model",
            Self::ForbiddenGlobal { .. } | Self::ShardOutside { .. } => "not trusted",
            Self::Index { .. }
            | Self::Duplicate { .. }
            | Self::Shape { .. }
            | Self::Surplus { .. }
            | Self::UntiedHead
            | Self::UnlikeCopy { .. } => "parts that do not fit",
            Self::Malformed { .. } | Self::NonFinite { .. } | Self::Candle(_) => "damaged model",
            Self::TooLarge { .. } => "too large for the dtype",
            Self::Kernel(_) => "cannot be read",
            Self::TakenTwice { .. } => "fault of the program",
        }
    }

    /// By axis, the place of the value at `index` of a weight of this shape.
    pub(crate) fn place(mut index: usize, shape: &[usize]) -> Vec<usize> {
        let mut place: Vec<usize> = Vec::with_capacity(shape.len());
        for size in shape.iter().rev() {
            place.push(index % size);
            index /= size;
        }
        place.reverse();
        place
    }
}

impl Hint for CheckpointError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoConfig { .. } => "point at the folder that holds config.json and the weights".into(),
            Self::NoWeights { .. } => "download the weights into the folder, or link them there".into(),
            Self::Config { source, .. } => return source.hint(),
            Self::Io { .. } => "check the path and its permissions".into(),
            Self::Malformed { .. } => {
                "the file may be damaged or truncated; compare its size and hash with the published ones".into()
            }
            Self::Unsupported { hint, .. } => (*hint).into(),
            Self::Pointer { .. } => "`git lfs pull` in its repository puts the file there".into(),
            Self::Index { .. } => {
                "index and shards are of different models or versions; download all of them again".into()
            }
            Self::ForbiddenGlobal { .. } => {
                "do not load this file anywhere; ask its publisher for a safetensors file".into()
            }
            Self::ShardOutside { .. } => "put the shards beside the index and name them without folders".into(),
            Self::Duplicate { .. } => "each weight must be in one shard only".into(),
            Self::Missing { .. } => {
                "config and weights may belong to different models, or the weights to a base model without a head"
                    .into()
            }
            Self::TakenTwice { .. } => "this is a fault of the model code, not of the checkpoint".into(),
            Self::Shape { .. } => "config.json and the weights belong to different models".into(),
            Self::NonFinite { .. } => {
                "training diverged or the file was damaged: compare its checksum with the published one, or take an earlier \
                 checkpoint"
                    .into()
            }
            Self::TooLarge { .. } => "load the model in float32".into(),
            Self::Surplus { .. } => "the model has parts that the config does not mention".into(),
            Self::UntiedHead => {
                "set tie_embeddings (tie_word_embeddings) to false if the head is meant to differ".into()
            }
            Self::UnlikeCopy { .. } => {
                "the config says that these layers share a block (num_mem_blocks): compare it with the one that was published".into()
            }
            Self::Kernel(_) | Self::Candle(_) => "the values could not be converted to float32".into(),
        })
    }
}
