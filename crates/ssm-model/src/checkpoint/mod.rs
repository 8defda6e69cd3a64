//! Checkpoints: a config and the weights it goes with, in any of the formats that published models come in.
//!
//! Names are the canonical ones of `mamba_ssm` (`backbone.layers.{i}.mixer.in_proj.weight`, ...); those of transformers
//! are mapped. A GPT-NeoX is known by its names in transformers (`gpt_neox.layers.{i}.attention.dense.weight`, ...). Weights
//! are read one at a time, when they are taken, and arrive as contiguous float32 on the CPU.

pub(crate) mod error;
mod folder;
mod names;
mod pickle;
mod safetensors_file;
mod weights;

use std::path::Path;

pub use error::CheckpointError;
pub use folder::{shards, weights_file};
pub use weights::Weights;

use crate::config::{ConfigError, ModelConfig};

/// What to do about weights that are no floats.
const FLOATS: &str = "weights of 16, 32 or 64 bits are read; use the model as it was before it was quantised";

/// A model on disk or in memory, its header checked and its weights not read yet.
#[derive(Debug)]
pub struct Checkpoint {
    /// Sizes and switches.
    pub config: ModelConfig,
    /// The weights, to be taken by the model.
    pub weights: Weights,
}

impl Checkpoint {
    /// Opens the folder of a model.
    ///
    /// It must hold `config.json` and, in this order of preference, `model.safetensors`, `model.safetensors.shuffled.zst` (the
    /// same compressed, as `shipped/README.md` describes), `model.safetensors.index.json` with its shards, `pytorch_model.bin`, or
    /// `pytorch_model.bin.index.json` with its shards. Only the first that exists is opened.
    ///
    /// # Errors
    /// Files that are missing or malformed, a pickle that names anything but tensors, and what
    /// [`ModelConfig::from_json`] refuses.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let config_file = folder.join("config.json");
        if !config_file.is_file() {
            return Err(CheckpointError::NoConfig { folder: folder.display().to_string() });
        }
        let refused = |source| CheckpointError::Config { file: config_file.display().to_string(), source };
        let text = std::fs::read(&config_file).map_err(|error| CheckpointError::io(&config_file, error))?;
        let text =
            String::from_utf8(text).map_err(|error| refused(ConfigError::Json(format!("not UTF-8: {error}"))))?;
        let config = ModelConfig::from_json(&text).map_err(refused)?;
        let weights = Weights::new(folder::open_weights(folder)?, &config)?;
        Ok(Self { config, weights })
    }

    /// Opens a model held in memory, for example one that is embedded in the program.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; the file is called `<memory>` in messages.
    pub fn from_bytes(config_json: &str, safetensors: &[u8]) -> Result<Self, CheckpointError> {
        let file = "<memory>".to_string();
        let config = ModelConfig::from_json(config_json)
            .map_err(|source| CheckpointError::Config { file: file.clone(), source })?;
        let reader = std::io::Cursor::new(safetensors.to_vec());
        let archive = safetensors_file::SafetensorsFile::new(file, Box::new(reader))?;
        let weights = Weights::new(vec![Box::new(archive)], &config)?;
        Ok(Self { config, weights })
    }

    /// Digest of the weights: blake3 over canonical name, shape and float32 values, in the order of the names.
    ///
    /// Equal for the same numbers in any format and dialect; a tied head does not count. The config is not part of it.
    /// Reads every weight once and keeps none, whether or not some were taken.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn digest(&mut self) -> Result<String, CheckpointError> {
        self.weights.digest()
    }
}
