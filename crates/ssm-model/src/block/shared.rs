//! The transformer block that several layers of Zamba2 share: `Zamba2AttentionDecoderLayer` of transformers (Glorioso et al. 2024,
//! <https://arxiv.org/abs/2411.15242>). It reads the arriving sum next to the embeddings of the tokens, and has no residual of its own: norm,
//! attention, norm, gated MLP. What one layer adds to it are low-rank adapters and a projection of its output. The layer's mixer reads the
//! arriving sum plus that output; the residual stream does not take the output up.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use super::gqa::{Gqa, GqaConfig};
use super::kind::{MixerCall, Named};
use super::linear::{Linear, Part};
use super::mlp::{Mlp, MlpConfig};
use super::norm::{Norm, NormKind};
use crate::config::error::ConfigError;
use crate::config::sizes::within;
use crate::error::ModelError;
use crate::loader::Loader;
use crate::state::LayerState;

/// Where a layer keeps the block, and where the mixer of a layer with a block.
pub(crate) const BLOCK: &str = "shared_transformer";
pub(super) const DECODER: &str = "mamba_decoder";
const OUTPUT: &str = "linear";
const NORMS: [&str; 2] = ["input_layernorm", "pre_ff_layernorm"];
const ATTENTION: &str = "self_attn";
const MLP: &str = "feed_forward";

/// A layer's use of a shared block.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedBlockConfig {
    /// The first layer that uses the block: a checkpoint stores the block there.
    pub owner: usize,
    /// How many layers before this one use a block, whichever: adapters are named by that number.
    pub usage: usize,
    /// Attention over the sum and the embeddings: its inputs are twice as wide as the model, its output is as wide.
    pub attention: GqaConfig,
    /// The MLP after it.
    pub mlp: MlpConfig,
    /// Rank of the adapters (`adapter_rank`).
    pub adapter_rank: usize,
    /// Whether queries, keys and values have adapters (`use_shared_attention_adapter`); the MLP always has one.
    pub attention_adapters: bool,
}

/// What several layers share.
#[derive(Debug)]
pub(crate) struct SharedBlock {
    norm: Norm,
    attention: Gqa,
    mlp_norm: Norm,
    mlp: Mlp,
}

/// Blocks that were loaded, by the layer that stores them.
pub(crate) type SharedBlocks = BTreeMap<usize, Arc<SharedBlock>>;

/// A layer's use of a block, with its weights.
#[derive(Debug)]
pub(crate) struct SharedUse {
    block: Arc<SharedBlock>,
    attention_adapters: Option<[Adapter; 3]>,
    mlp_adapter: Adapter,
    output: Linear,
}

/// Two projections in a row through few channels, added to a projection.
#[derive(Debug)]
struct Adapter {
    down: Linear,
    up: Linear,
}

impl Adapter {
    fn load(
        weights: &mut Loader<'_>,
        prefix: &str,
        [inputs, rank, outputs]: [usize; 3],
        factor: f64,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            down: Linear::join(weights, prefix, &[Part::plain("0", rank)], inputs, false)?,
            up: Linear::join(weights, prefix, &[Part::scaled("1", outputs, 1.0, factor)], rank, false)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        self.up.forward(&self.down.forward(x)?)
    }
}

/// An adapter: its name below the block, its inputs and outputs, and what its output is multiplied by.
struct AdapterShape {
    name: String,
    inputs: usize,
    outputs: usize,
    factor: f64,
}

impl SharedBlockConfig {
    /// Adapters of queries, keys and values where there are any, and that of the MLP.
    fn adapters(&self, d_model: usize) -> (Option<[AdapterShape; 3]>, AdapterShape) {
        let usage = self.usage;
        let attention = self.attention_adapters.then(|| {
            let (queries, others) = (self.attention.width(), self.attention.kv_width());
            let [q, k, v] = self.attention.output_factors();
            [("q", queries, q), ("k", others, k), ("v", others, v)].map(|(part, outputs, factor)| AdapterShape {
                name: format!("{ATTENTION}.linear_{part}_adapter_list.{usage}"),
                inputs: 2 * d_model,
                outputs,
                factor,
            })
        });
        let mlp = AdapterShape {
            name: format!("{MLP}.gate_up_proj_adapter_list.{usage}"),
            inputs: d_model,
            outputs: self.mlp.up_width(),
            factor: 1.0,
        };
        (attention, mlp)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        within("adapter_rank", self.adapter_rank, 1 << 16)?;
        self.attention.validate_sizes()?;
        self.mlp.validate()
    }

    /// Weights below the block: its adapters for this layer, and the block itself where the layer stores it.
    pub(crate) fn weights(&self, d_model: usize, stores: bool) -> Vec<Named> {
        let mut weights = if stores { self.own_weights(d_model) } else { Vec::new() };
        let (attention, mlp) = self.adapters(d_model);
        for adapter in attention.into_iter().flatten().chain([mlp]) {
            weights.push((format!("{}.0.weight", adapter.name), vec![self.adapter_rank, adapter.inputs]));
            weights.push((format!("{}.1.weight", adapter.name), vec![adapter.outputs, self.adapter_rank]));
        }
        weights
    }

    fn own_weights(&self, d_model: usize) -> Vec<Named> {
        let mut weights = Vec::new();
        for (norm, width) in NORMS.into_iter().zip([2 * d_model, d_model]) {
            weights.extend(NormKind::Rms.weights(norm).into_iter().map(|name| (name, vec![width])));
        }
        let attention = self.attention.weights_between(2 * d_model, d_model).into_iter();
        weights.extend(attention.map(|(name, shape)| (format!("{ATTENTION}.{name}"), shape)));
        weights.extend(self.mlp.weights(d_model).into_iter().map(|(name, shape)| (format!("{MLP}.{name}"), shape)));
        weights
    }

    /// Weights of a layer that are not below the block.
    pub(super) fn output_weights(d_model: usize) -> Named {
        (format!("{OUTPUT}.weight"), vec![d_model, d_model])
    }

    /// Takes the weights of the layer under `layer`, and those of the block, below the layer `owner`, where no layer before this one did.
    pub(super) fn load(
        &self,
        d_model: usize,
        norm_eps: f64,
        weights: &mut Loader<'_>,
        [layer, owner]: [&str; 2],
        blocks: &mut SharedBlocks,
    ) -> Result<SharedUse, ModelError> {
        let prefix = format!("{owner}.{BLOCK}");
        let block = if let Some(block) = blocks.get(&self.owner) {
            Arc::clone(block)
        } else {
            let mut norm =
                |name: &str, width| NormKind::Rms.load(width, norm_eps, weights, &format!("{prefix}.{name}"));
            let (norm, mlp_norm) = (norm(NORMS[0], 2 * d_model)?, norm(NORMS[1], d_model)?);
            let attention =
                self.attention.load_between(2 * d_model, d_model, weights, &format!("{prefix}.{ATTENTION}"))?;
            let mlp = self.mlp.load(d_model, weights, &format!("{prefix}.{MLP}"))?;
            let block = Arc::new(SharedBlock { norm, attention, mlp_norm, mlp });
            blocks.insert(self.owner, Arc::clone(&block));
            block
        };
        let mut adapter = |shape: AdapterShape| {
            let sizes = [shape.inputs, self.adapter_rank, shape.outputs];
            Adapter::load(weights, &format!("{prefix}.{}", shape.name), sizes, shape.factor)
        };
        let (attention, mlp) = self.adapters(d_model);
        let attention_adapters = match attention {
            Some([q, k, v]) => Some([adapter(q)?, adapter(k)?, adapter(v)?]),
            None => None,
        };
        let mlp_adapter = adapter(mlp)?;
        let output = Linear::load(weights, &format!("{layer}.{OUTPUT}"), d_model, d_model, false)?;
        Ok(SharedUse { block, attention_adapters, mlp_adapter, output })
    }

    /// Whether the block reads the positions of its rows.
    pub(super) fn uses_positions(&self) -> bool {
        self.attention.rotary_dim > 0
    }

    /// The projections of the block, the layer's adapters and its projection of the output.
    pub(super) fn flops_per_token(&self, d_model: usize) -> u64 {
        let (attention, mlp) = self.adapters(d_model);
        let adapters = attention.into_iter().flatten().chain([mlp]);
        let adapters: usize = adapters.map(|shape| 2 * self.adapter_rank * (shape.inputs + shape.outputs)).sum();
        self.attention.flops_between(2 * d_model, d_model)
            + self.mlp.flops_per_token(d_model)
            + (adapters + 2 * d_model * d_model) as u64
    }

    pub(super) fn flops_per_pair(&self) -> u64 {
        self.attention.flops_per_pair_of_heads()
    }

    /// The sum next to the embeddings, before and after its norm; attention and MLP; what the adapters add, and the output.
    pub(super) fn working_floats(&self, d_model: usize) -> usize {
        let projected = self.attention.width() + 2 * self.attention.kv_width();
        6 * d_model
            + self.attention.working_floats_of_heads()
            + 2 * projected
            + self.mlp.working_floats(d_model)
            + self.mlp.up_width()
    }
}

impl SharedUse {
    /// What the block makes of a sum of branches and the embeddings of its rows, both `[tokens, d_model]` and float32, rounded to the dtype of
    /// `like`; and its cache where states are asked for.
    pub(super) fn forward(
        &self,
        sum: &Tensor,
        embeddings: &Tensor,
        like: &Tensor,
        call: &MixerCall<'_>,
    ) -> Result<(Tensor, Option<LayerState>), ModelError> {
        let Self { block, attention_adapters, mlp_adapter, output } = self;
        let (x, _) = block.norm.add(&Tensor::cat(&[sum, embeddings], 1)?, None, None)?;
        let x = x.to_dtype(like.dtype())?;
        let adapted = match attention_adapters {
            Some([q, k, v]) => Some(Tensor::cat(&[q.forward(&x)?, k.forward(&x)?, v.forward(&x)?], 1)?),
            None => None,
        };
        let attended = block.attention.forward_with(&x, adapted.as_ref(), call)?;
        let (x, _) = block.mlp_norm.add(&attended.hidden, None, None)?;
        let hidden = block.mlp.forward_with(&x, Some(&mlp_adapter.forward(&x)?))?;
        Ok((output.forward(&hidden)?, attended.state))
    }
}
