//! Mamba and Mamba-2 language models on packed sequences, driven layer by layer.

mod signals;

pub use signals::{SignalSet, Signals};

pub mod config;

pub use config::{ConfigError, Mamba2Config, MambaConfig, MixerConfig, ModelConfig};
