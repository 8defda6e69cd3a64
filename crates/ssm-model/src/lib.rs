//! Language models on packed sequences, driven layer by layer: Mamba, Mamba-2, and GPT-NeoX as the Transformer to compare
//! them with.
//!
//! A model knows nothing of reduction: whoever drives it decides what happens between layers.

mod block;
pub mod catalog;
pub mod checkpoint;
pub mod config;
mod error;
mod loader;
mod model;
mod random;
mod signals;
mod state;
mod stream;
mod strict_json;
mod time;

pub use block::{AttentionConfig, LayerConfig, Mamba2Config, MambaConfig, MixerConfig, MlpConfig, NormKind, Residual};
pub use checkpoint::{Checkpoint, CheckpointError, Weights};
pub use config::{ConfigError, ModelConfig};
pub use error::ModelError;
pub use loader::WeightSource;
pub use model::LanguageModel;
pub use random::RandomWeights;
pub use signals::{ScanConstants, Signal, SignalInfo, SignalSet, Signals, Supplier};
pub use ssm_kernels::Placement;
pub use state::{KeyValueCache, LayerState, ModelState, RecurrentState};
pub use stream::{Activations, LayerOutput, LayerRequest};
pub use time::RowTime;
