//! Recurrent states as values: take them, clone them, hand them to children, continue.

use candle_core::Tensor;

use crate::error::ModelError;

/// What one layer carries from token to token, for every segment of a packed call.
///
/// Float32, as upstream keeps it.
#[derive(Clone, Debug)]
pub struct LayerState {
    /// The last inputs of the convolution, oldest first: `[segments, conv_channels, d_conv]`.
    pub conv: Tensor,
    /// State of the scan: `[segments, d_inner, d_state]` (Mamba) or `[segments, nheads, headdim, d_state]` (Mamba-2).
    pub ssm: Tensor,
}

impl LayerState {
    /// The states of some segments, in the order given; a segment may be taken several times.
    ///
    /// # Errors
    /// A segment that is not there.
    pub fn select(&self, segments: &[u32]) -> Result<Self, ModelError> {
        let index = Tensor::new(segments, self.conv.device())?;
        Ok(Self { conv: self.conv.index_select(&index, 0)?, ssm: self.ssm.index_select(&index, 0)? })
    }
}

/// The states of all layers, first layer first.
#[derive(Clone, Debug)]
pub struct ModelState(pub Vec<LayerState>);

impl ModelState {
    /// The states of some segments in every layer; see [`LayerState::select`].
    ///
    /// # Errors
    /// A segment that is not there.
    pub fn select(&self, segments: &[u32]) -> Result<Self, ModelError> {
        self.0.iter().map(|layer| layer.select(segments)).collect::<Result<_, _>>().map(Self)
    }
}
