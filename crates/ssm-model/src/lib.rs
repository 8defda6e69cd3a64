//! Language models on packed sequences, driven layer by layer: Mamba, Mamba-2, hybrids of these and attention, and
//! Transformers to compare them with.
//!
//! A model knows nothing of reduction: whoever drives it decides what happens between layers.
//!
//! ```
//! use ssm_kernels::Segments;
//! use ssm_model::{LanguageModel, LayerRequest, Placement, Signal, SignalSet, catalog};
//!
//! // A trained model that is part of the program; `Checkpoint::open` reads a folder.
//! let mut checkpoint = catalog::builtin("mamba2-world").expect("a builtin model").open()?;
//! let model = LanguageModel::load(&checkpoint.config, &mut checkpoint.weights, &Placement::cpu())?;
//! checkpoint.weights.finish()?;
//!
//! // Two sequences packed end to end, driven layer by layer.
//! let segments = Segments::independent(&[3, 2]);
//! let mut activations = model.embed(&[5, 6, 7, 8, 9])?;
//! for (index, layer) in model.config().layers.iter().enumerate() {
//!     let dt = SignalSet::of(&[Signal::Dt]);
//!     let signals = if layer.signals().contains(Signal::Dt) { dt } else { SignalSet::default() };
//!     let output = model.layer(index, &activations, &segments, LayerRequest { signals, ..LayerRequest::default() })?;
//!     let dt = output.signals.get(Signal::Dt).expect("asked for");
//!     assert_eq!(dt.dims(), [5, layer.dt_width(model.config().d_model)]);
//!     activations = output.activations;
//! }
//! // Logits at the last token of each sequence.
//! assert_eq!(model.head(&activations, &[2, 4])?.dims(), [2, model.config().vocab_size]);
//! # Ok::<(), ssm_model::ModelError>(())
//! ```

mod block;
pub mod catalog;
pub mod checkpoint;
pub mod config;
mod decoder;
mod error;
mod loader;
mod model;
mod random;
pub mod shipped;
mod signals;
mod state;
mod stream;
mod strict_json;
mod time;

pub use block::{
    AttentionConfig, GatedWeights, GqaConfig, GqaFactors, InnerNorms, LayerConfig, LayerKind, Mamba2Config,
    Mamba2Factors, MambaConfig, MhaConfig, MixerConfig, MlpActivation, MlpConfig, MlpLayerConfig, NormKind, Residual,
    SharedBlockConfig,
};
pub use checkpoint::{Checkpoint, CheckpointError, Weights};
pub use config::{ConfigError, ModelConfig};
pub use decoder::{Decoder, most_likely};
pub use error::ModelError;
pub use loader::WeightSource;
pub use model::LanguageModel;
pub use random::RandomWeights;
pub use signals::{ScanConstants, Signal, SignalInfo, SignalSet, Signals, Supplier};
pub use ssm_kernels::Placement;
pub use state::{KeyValueCache, LayerState, ModelState, RecurrentState};
pub use stream::{Activations, LayerOutput, LayerRequest};
pub use time::{RowTime, Times};
