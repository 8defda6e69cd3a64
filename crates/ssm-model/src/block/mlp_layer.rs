//! A layer that is an MLP alone, as Nemotron-H has them: in the place of a mixer, with the norm of one.

use candle_core::Tensor;

use super::kind::{Mixer, MixerCall, MixerKind, MixerOutput, Named};
use super::layer_kind::LayerKind;
use super::mlp::{Mlp, MlpConfig};
use crate::config::error::ConfigError;
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{Signal, SignalSet, Signals};
use crate::state::LayerState;

/// An MLP in the place of a mixer: tokens do not read each other in such a layer, and it carries nothing from token to token.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpLayerConfig(pub MlpConfig);

#[derive(Debug)]
struct MlpLayer(Mlp);

impl MixerKind for MlpLayerConfig {
    fn name(&self) -> &'static str {
        "MLP"
    }

    fn layer_kind(&self) -> LayerKind {
        LayerKind::Mlp
    }

    fn validate(&self, _d_model: usize) -> Result<(), ConfigError> {
        self.0.validate()
    }

    fn weights(&self, d_model: usize) -> Vec<Named> {
        self.0.weights(d_model)
    }

    fn load(
        &self,
        d_model: usize,
        _norm_eps: f64,
        weights: &mut Loader<'_>,
        prefix: &str,
    ) -> Result<Box<dyn Mixer>, ModelError> {
        Ok(Box::new(MlpLayer(self.0.load(d_model, weights, prefix)?)))
    }

    fn d_inner(&self, _d_model: usize) -> usize {
        self.0.width
    }

    fn dt_width(&self, _d_model: usize) -> usize {
        0
    }

    /// Nothing of its own; the driver measures influence, whatever the layer.
    fn signals(&self) -> SignalSet {
        SignalSet::of(&[Signal::Influence])
    }

    fn uses_positions(&self) -> bool {
        false
    }

    fn flops_per_token(&self, d_model: usize) -> u64 {
        self.0.flops_per_token(d_model)
    }

    fn flops_per_pair(&self, _d_model: usize) -> u64 {
        0
    }

    fn working_floats(&self, d_model: usize) -> usize {
        self.0.working_floats(d_model)
    }
}

impl Mixer for MlpLayer {
    fn forward(&self, x: &Tensor, call: &MixerCall<'_>) -> Result<MixerOutput, ModelError> {
        if call.time.is_some() {
            return Err(ModelError::NoScan);
        }
        let hidden = self.0.forward(x)?;
        Ok(MixerOutput {
            hidden,
            signals: Signals::default(),
            state: call.want_states.then_some(LayerState::Stateless),
        })
    }
}
