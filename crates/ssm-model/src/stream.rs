//! What goes into a layer and what comes out of it: data that the model and its blocks share.

use candle_core::Tensor;
use ssm_kernels::ops::RowPlan;

use crate::signals::{SignalSet, Signals};
use crate::state::LayerState;
use crate::time::Times;

/// What flows from block to block, one row per token of the packed stream.
///
/// The two branches are separate, as in `mamba_ssm`: a block adds them, normalises the sum and runs on it. Attention layers
/// work the same way: `hidden` is what attention and MLP of the last block add.
#[derive(Clone, Debug)]
pub struct Activations {
    /// `[tokens, d_model]`: output of the last block, or the embedding before the first one.
    pub hidden: Tensor,
    /// `[tokens, d_model]`, float32: the residual stream; none before the first block.
    pub residual: Option<Tensor>,
    /// `[tokens, d_model]`, float32: the embeddings of the tokens, where a layer of the model reads them (Zamba2).
    ///
    /// The residual stream is the sum of the embedding and of what every layer added. Rows of the embeddings therefore go the way of the rows of
    /// that stream: they are removed with them, and merged with the same weights. The merged row then holds the embedding that is the first
    /// term of its merged stream.
    pub embeddings: Option<Tensor>,
}

impl Activations {
    /// Every tensor changed in the same way, such as by taking some of its rows.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map<E>(&self, mut change: impl FnMut(&Tensor) -> Result<Tensor, E>) -> Result<Self, E> {
        Ok(Self {
            hidden: change(&self.hidden)?,
            residual: self.residual.as_ref().map(&mut change).transpose()?,
            embeddings: self.embeddings.as_ref().map(&mut change).transpose()?,
        })
    }
}

/// What a driver asks of a layer besides its output.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerRequest<'a> {
    /// State before each root segment; zeros where absent.
    pub initial: Option<&'a LayerState>,
    /// Internals to return.
    pub signals: SignalSet,
    /// Whether to return the state after each segment.
    pub states: bool,
    /// Rows of the activations to gather and merge before the block reads them; the segments are those of the kept rows.
    pub rows: Option<&'a RowPlan>,
    /// Position of every row, for a layer that reads them ([`LayerConfig::uses_positions`](crate::LayerConfig::uses_positions)).
    /// Where absent, the rows of a segment are numbered consecutively from the end of its parent or initial state on.
    pub positions: Option<&'a [u32]>,
    /// Factors on the step sizes, one per row that the scan sees; all 1 where absent.
    pub time: Option<Times<'a>>,
}

/// What a layer returns.
pub struct LayerOutput {
    /// Activations after the block.
    pub activations: Activations,
    /// The internals that were asked for.
    pub signals: Signals,
    /// The state after each segment, where asked for.
    pub state: Option<LayerState>,
}
