//! Mamba and Mamba-2 language models on packed sequences, driven layer by layer.

mod signals;

pub use signals::{SignalSet, Signals};

pub mod catalog;
pub mod checkpoint;
pub mod config;

pub use checkpoint::{Checkpoint, CheckpointError, Weights};
pub use config::{ConfigError, Mamba2Config, MambaConfig, MixerConfig, ModelConfig};
