//! What every kind of mixer declares and does. Each kind implements both traits in a file of its own; no other code
//! distinguishes kinds.

use std::fmt::Debug;

use candle_core::Tensor;
use ssm_kernels::Segments;

use super::layer_kind::LayerKind;
use crate::config::error::ConfigError;
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{SignalSet, Signals};
use crate::state::LayerState;
use crate::time::Times;

/// Name of a weight, from the prefix of its owner on, and its shape.
pub(crate) type Named = (String, Vec<usize>);

/// Weights whose names are known here.
pub(super) fn named(weights: Vec<(&str, Vec<usize>)>) -> Vec<Named> {
    weights.into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect()
}

/// Description of a mixer: its sizes, and everything that follows from them and the width of the model.
pub(crate) trait MixerKind {
    /// Name in messages and tables.
    fn name(&self) -> &'static str;

    /// The kind by which experiments name its layers.
    fn layer_kind(&self) -> LayerKind;

    /// Refuses sizes that no model has and sizes that do not fit each other.
    fn validate(&self, d_model: usize) -> Result<(), ConfigError>;

    /// Every weight of the mixer.
    fn weights(&self, d_model: usize) -> Vec<Named>;

    /// Takes the weights under `prefix` (for example `backbone.layers.3.mixer`).
    fn load(
        &self,
        d_model: usize,
        norm_eps: f64,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Box<dyn Mixer>, ModelError>;

    /// Channels inside the mixer, which are those of the signal `ssm_output`.
    fn d_inner(&self, d_model: usize) -> usize;

    /// Step sizes of a token; 0 without a scan.
    fn dt_width(&self, d_model: usize) -> usize;

    /// The internals that the mixer can show.
    fn signals(&self) -> SignalSet;

    /// Whether the mixer reads the positions of its rows; a recurrence reads only their order.
    fn uses_positions(&self) -> bool;

    /// FLOPs per token: projections, convolution, and the scan in its recurrent form. Norms and activations are not counted.
    fn flops_per_token(&self, d_model: usize) -> u64;

    /// FLOPs for one pair of a token and a token that it sees (itself included); 0 where no tokens are compared.
    fn flops_per_pair(&self, d_model: usize) -> u64;

    /// Float32 values per token that a call holds at its fullest, with every signal asked for.
    fn working_floats(&self, d_model: usize) -> usize;
}

/// A mixer with its weights.
pub(crate) trait Mixer: Debug + Send + Sync {
    /// Runs on the normalised sum of the branches, `[tokens, d_model]`.
    fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError>;

    /// The weights as the graph of a decoding step reads them, or why there is no such graph.
    #[cfg(feature = "cuda")]
    fn decoding(&self) -> Result<ssm_kernels::ops::decode::MixerWeights, &'static str> {
        Err("only Mamba and Mamba-2 have kernels for it")
    }
}

/// Arguments of a mixer besides its input.
pub(crate) struct MixerCall<'a> {
    pub(crate) segments: &'a Segments,
    pub(crate) initial: Option<&'a LayerState>,
    pub(crate) signals: SignalSet,
    pub(crate) want_states: bool,
    pub(crate) positions: Option<&'a [u32]>,
    pub(crate) time: Option<Times<'a>>,
}

/// Output of a mixer: `[tokens, d_model]` and what was asked for besides.
pub(crate) struct MixerOutput {
    pub(crate) hidden: Tensor,
    pub(crate) signals: Signals,
    pub(crate) state: Option<LayerState>,
}
