//! Mamba and Mamba-2 language models on packed sequences, driven layer by layer.
//!
//! A model knows nothing of reduction: whoever drives it decides what happens between layers.

pub mod catalog;
pub mod checkpoint;
pub mod config;
mod cost;
mod error;
mod mixer;
mod model;
mod signals;
mod state;

pub use checkpoint::{Checkpoint, CheckpointError, Weights};
pub use config::{ConfigError, Mamba2Config, MambaConfig, MixerConfig, ModelConfig};
pub use error::ModelError;
pub use model::{Activations, LayerOutput, LayerRequest, MambaLm};
pub use signals::{SignalSet, Signals};
pub use state::{LayerState, ModelState};
