//! Mamba and Mamba-2 language models on packed sequences, driven layer by layer.
//!
//! A model knows nothing of reduction: whoever drives it decides what happens between layers.

pub mod catalog;
pub mod checkpoint;
pub mod config;
mod cost;
mod error;
mod loader;
mod mixer;
mod model;
mod random;
mod signals;
mod state;
mod time;

pub use checkpoint::{Checkpoint, CheckpointError, Weights};
pub use config::{ConfigError, Mamba2Config, MambaConfig, MixerConfig, ModelConfig};
pub use error::ModelError;
pub use loader::WeightSource;
pub use model::{Activations, LayerOutput, LayerRequest, MambaLm};
pub use random::RandomWeights;
pub use signals::{ScanConstants, SignalSet, Signals};
pub use ssm_kernels::Placement;
pub use state::{LayerState, ModelState};
pub use time::RowTime;
