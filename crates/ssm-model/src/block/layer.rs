//! One layer: the branches are added, their sum is normalised, the mixer runs on it, and an MLP where the layer has one.
//!
//! With `x` the sum of the arriving branches, a layer without MLP computes `x + mixer(norm(x))`. With an MLP it computes
//! `x + mixer(norm1(x)) + mlp(norm2(x))` where the residual is parallel, and `x + m + mlp(norm2(x + m))` with
//! `m = mixer(norm1(x))` where it is sequential. The two branches stay separate after the block: `hidden` is what the block
//! adds, `residual` is `x`, and the next block forms their sum. Strategies therefore act on both branches alike, whatever the
//! layer.
//!
//! A layer with a shared block (Zamba2) computes `x + mixer(norm(x + block(x, embeddings)))`: the branches after it are the same two.

use ssm_kernels::Segments;

use super::kind::{Mixer, MixerCall, MixerKind, Named};
use super::layer_kind::LayerKind;
use super::mixer::MixerConfig;
use super::mlp::{Mlp, MlpConfig, Residual};
use super::norm::{Norm, NormKind};
use super::shared::{BLOCK, DECODER, SharedBlockConfig, SharedBlocks, SharedUse};
use crate::config::error::ConfigError;
use crate::config::naming::Naming;
use crate::error::ModelError;
use crate::loader::Loader;
use crate::signals::{Signal, SignalSet};
use crate::stream::{Activations, LayerOutput, LayerRequest};

/// Description of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerConfig {
    /// Norm before the mixer and before the MLP.
    pub norm: NormKind,
    /// The mixer.
    pub mixer: MixerConfig,
    /// A second mixer that reads the same normalised sum; the outputs of the two are added (attention beside Mamba-2 in Falcon-H1).
    pub beside: Option<MixerConfig>,
    /// A block before the mixer that other layers use as well; it reads the embeddings of the tokens too (Zamba2).
    pub shared: Option<SharedBlockConfig>,
    /// The MLP, where the layer has one.
    pub mlp: Option<MlpConfig>,
}

impl LayerConfig {
    /// A layer with one mixer and no MLP.
    #[must_use]
    pub fn of(norm: NormKind, mixer: MixerConfig) -> Self {
        Self { norm, mixer, beside: None, shared: None, mlp: None }
    }

    /// Name of the kind of mixer in messages: `Mamba`, `Falcon-Mamba`, `Mamba-2`, `attention`, `MLP`, or `Mamba-2 + attention` where a layer has
    /// both.
    pub fn kind(&self) -> &'static str {
        if self.beside.is_some() || self.shared.is_some() { "Mamba-2 + attention" } else { self.mixer.kind().name() }
    }

    /// The kinds by which experiments name the layer: those of both mixers, and attention where it has a shared block.
    pub fn kinds(&self) -> Vec<LayerKind> {
        self.mixers().map(MixerKind::layer_kind).chain(self.shared.as_ref().map(|_| LayerKind::Attention)).collect()
    }

    /// Both mixers.
    fn mixers(&self) -> impl Iterator<Item = &dyn MixerKind> {
        std::iter::once(&self.mixer).chain(&self.beside).map(MixerConfig::kind)
    }

    /// Channels inside the mixer, which are those of the signal `ssm_output`: `expand * d_model`; for attention those of all
    /// heads.
    pub fn d_inner(&self, d_model: usize) -> usize {
        self.mixer.kind().d_inner(d_model)
    }

    /// Step sizes of a token: one per channel (Mamba) or head (Mamba-2); attention has none.
    pub fn dt_width(&self, d_model: usize) -> usize {
        self.mixer.kind().dt_width(d_model)
    }

    /// The internals that the layer can show.
    pub fn signals(&self) -> SignalSet {
        self.mixer.kind().signals()
    }

    /// Whether the layer has a recurrence, whose step sizes a row can stretch ([`RowTime`](crate::RowTime)).
    pub fn has_scan(&self) -> bool {
        self.signals().contains(Signal::Scan)
    }

    /// Whether the layer reads the positions of its rows; a recurrence reads only their order.
    pub fn uses_positions(&self) -> bool {
        self.mixers().any(MixerKind::uses_positions)
            || self.shared.as_ref().is_some_and(SharedBlockConfig::uses_positions)
    }

    /// FLOPs per token: projections, convolution, and the scan in its recurrent form. Norms and activations are not counted.
    /// What attention costs besides its projections grows with the sequence: [`LayerConfig::attention_flops_per_pair`].
    ///
    /// One multiply-add counts as two. The chunked form of Mamba-2 executes more; the recurrent form is what the definition
    /// asks for, and the same on every device.
    pub fn flops_per_token(&self, d_model: usize) -> u64 {
        let mlp = self.mlp.as_ref().map_or(0, |mlp| mlp.flops_per_token(d_model));
        let shared = self.shared.as_ref().map_or(0, |shared| shared.flops_per_token(d_model));
        self.mixers().map(|mixer| mixer.flops_per_token(d_model)).sum::<u64>() + shared + mlp
    }

    /// FLOPs for one pair of a token and a token that it sees (itself included): the score, and the value's part of the mean.
    /// 0 for a recurrence, which compares no tokens.
    pub fn attention_flops_per_pair(&self, d_model: usize) -> u64 {
        let shared = self.shared.as_ref().map_or(0, SharedBlockConfig::flops_per_pair);
        self.mixers().map(|mixer| mixer.flops_per_pair(d_model)).sum::<u64>() + shared
    }

    /// Float32 values per token that one call of the layer holds at its fullest, with every signal asked for. An upper
    /// estimate; tables and states of segments are small in comparison.
    pub(crate) fn working_floats_per_token(&self, d_model: usize) -> usize {
        // Hidden states and residual before and after the block, and the normed input.
        let stream = 5 * d_model;
        let mlp = self.mlp.as_ref().map_or(0, |mlp| mlp.working_floats(d_model));
        let shared = self.shared.as_ref().map_or(0, |shared| shared.working_floats(d_model));
        stream + self.mixers().map(|mixer| mixer.working_floats(d_model)).sum::<usize>() + shared + mlp
    }

    pub(crate) fn validate(&self, d_model: usize) -> Result<(), ConfigError> {
        self.mixers().try_for_each(|mixer| mixer.validate(d_model))?;
        self.shared.as_ref().map_or(Ok(()), SharedBlockConfig::validate)?;
        self.mlp.as_ref().map_or(Ok(()), MlpConfig::validate)
    }

    /// What the name of a mixer's weights or its norm begins with inside the layer.
    fn decoder(&self, part: &str) -> String {
        if self.shared.is_some() { format!("{DECODER}.{part}") } else { part.to_owned() }
    }

    /// Names, from the layer's prefix on, and shapes of its weights, but for those of a shared block: [`LayerConfig::shared_weights`].
    pub(crate) fn weights(&self, d_model: usize, naming: &Naming) -> Vec<Named> {
        let norm = |name: &str| self.norm.weights(name).into_iter().map(|name| (name, vec![d_model]));
        let mut weights: Vec<_> = norm(&self.decoder(naming.mixer_norm)).collect();
        for mixer in std::iter::once(&self.mixer).chain(&self.beside) {
            let (own, prefix) = (mixer.kind().weights(d_model), self.decoder(mixer.name_in(naming)));
            weights.extend(own.into_iter().map(|(name, shape)| (format!("{prefix}.{name}"), shape)));
        }
        weights.extend(self.shared.as_ref().map(|_| SharedBlockConfig::output_weights(d_model)));
        if let Some(mlp) = &self.mlp {
            weights.extend(norm(naming.mlp_norm));
            let mlp = mlp.weights(d_model).into_iter();
            weights.extend(mlp.map(|(name, shape)| (format!("{}.{name}", naming.mlp), shape)));
        }
        weights
    }

    /// The layer that stores its shared block; names, from that layer's prefix on, and shapes of the weights that this layer, `index`, adds
    /// there: its adapters, and the block itself where it is the layer's own.
    pub(crate) fn shared_weights(&self, d_model: usize, index: usize) -> Option<(usize, Vec<Named>)> {
        let shared = self.shared.as_ref()?;
        let own = shared.weights(d_model, shared.owner == index).into_iter();
        Some((shared.owner, own.map(|(name, shape)| (format!("{BLOCK}.{name}"), shape)).collect()))
    }

    /// Takes the weights of layer `index`, and those of its shared block where `blocks` lacks it.
    pub(crate) fn load(
        &self,
        d_model: usize,
        norm_eps: f64,
        naming: &Naming,
        weights: &mut Loader<'_>,
        index: usize,
        blocks: &mut SharedBlocks,
    ) -> Result<Layer, ModelError> {
        let prefix = &naming.layer(index);
        let named = |part: &str| format!("{prefix}.{part}");
        let shared = match &self.shared {
            Some(shared) => {
                let owner = naming.layer(shared.owner);
                Some(shared.load(d_model, norm_eps, weights, [prefix, &owner], blocks)?)
            }
            None => None,
        };
        let norm = self.norm.load(d_model, norm_eps, weights, &named(&self.decoder(naming.mixer_norm)))?;
        let mut load = |mixer: &MixerConfig| {
            mixer.kind().load(d_model, norm_eps, weights, &named(&self.decoder(mixer.name_in(naming))))
        };
        let mixer = load(&self.mixer)?;
        let beside = self.beside.as_ref().map(load).transpose()?;
        let mlp = match &self.mlp {
            None => None,
            Some(mlp) => Some(Joined {
                norm: self.norm.load(d_model, norm_eps, weights, &named(naming.mlp_norm))?,
                mlp: mlp.load(d_model, weights, &named(naming.mlp))?,
                residual: mlp.residual,
            }),
        };
        Ok(Layer { norm, mixer, beside, shared, mlp })
    }
}

/// A layer with its weights.
#[derive(Debug)]
pub(crate) struct Layer {
    norm: Norm,
    mixer: Box<dyn Mixer>,
    beside: Option<Box<dyn Mixer>>,
    shared: Option<SharedUse>,
    mlp: Option<Joined>,
}

/// An MLP and how it is joined with the mixer.
#[derive(Debug)]
struct Joined {
    norm: Norm,
    mlp: Mlp,
    residual: Residual,
}

impl Layer {
    /// The weights as the graph of a decoding step reads them, or why there is no such graph.
    #[cfg(feature = "cuda")]
    pub(crate) fn decoding(&self) -> Result<ssm_kernels::ops::decode::LayerWeights, &'static str> {
        if self.beside.is_some() || self.shared.is_some() || self.mlp.is_some() {
            return Err("only layers of a mixer alone have kernels for it");
        }
        let (norm, _) = self.norm.rms().ok_or("only RMSNorm has kernels for it")?;
        Ok(ssm_kernels::ops::decode::LayerWeights { norm: norm.clone(), mixer: self.mixer.decoding()? })
    }

    pub(crate) fn forward(
        &self,
        activations: &Activations,
        segments: &Segments,
        request: LayerRequest<'_>,
    ) -> Result<LayerOutput, ModelError> {
        let Activations { hidden, residual, embeddings } = activations;
        let arriving = |norm: &Norm| norm.add(hidden, residual.as_ref(), request.rows);
        let embeddings = match (embeddings, request.rows) {
            (Some(embeddings), Some(rows)) => Some(rows.apply(embeddings, &rows.residual)?),
            (embeddings, _) => embeddings.clone(),
        };
        // With a shared block only the sum is used here.
        let (mut normed, residual) = arriving(&self.norm)?;
        let call = MixerCall {
            segments,
            initial: request.initial,
            signals: request.signals,
            want_states: request.states,
            positions: request.positions,
            time: request.time,
        };
        // Signals are those of the mixer, and factors of step sizes concern its scan.
        let attention = MixerCall { signals: SignalSet::default(), time: None, ..call };
        let mut second = None;
        if let Some(shared) = &self.shared {
            let embeddings = embeddings.as_ref().ok_or(ModelError::NoEmbeddings)?;
            let (output, state) = shared.forward(&residual, embeddings, hidden, &attention)?;
            (normed, _) = self.norm.add(&output, Some(&residual), None)?;
            second = state;
        }
        let mut mixed = self.mixer.forward(&normed, &call)?;
        if let Some(beside) = &self.beside {
            let output = beside.forward(&normed, &attention)?;
            mixed.hidden = (mixed.hidden + output.hidden)?;
            second = output.state;
        }
        if let Some(second) = second {
            mixed.state = mixed.state.map(|first| first.beside(second));
        }
        let hidden = match &self.mlp {
            None => mixed.hidden,
            Some(Joined { norm, mlp, residual: join }) => {
                let (normed, _) = match join {
                    // The same sum again, so that the result has the dtype of the branches and not of the residual.
                    Residual::Parallel => arriving(norm)?,
                    Residual::Sequential => norm.add(&mixed.hidden, Some(&residual), None)?,
                };
                (mixed.hidden + mlp.forward(&normed)?)?
            }
        };
        Ok(LayerOutput {
            activations: Activations { hidden, residual: Some(residual), embeddings },
            signals: mixed.signals,
            state: mixed.state,
        })
    }
}
