//! Sizes and switches of a model: a list of layers between an embedding and a head.

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::naming::Naming;
use super::sizes::{epsilon, factor, within};
use crate::block::{LayerConfig, LayerKind, NormKind, SHARED_BLOCK};
use crate::signals::SignalSet;

/// Most layers of a model.
const MAX_LAYERS: usize = 1 << 10;

/// Sizes and switches of a language model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Name of the architecture in messages and tables.
    pub architecture: &'static str,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Rows of the embedding as stored, after upstream's padding (`pad_vocab_size_multiple`).
    pub vocab_size: usize,
    /// Epsilon of every norm, the gated one of Mamba-2 included.
    pub norm_eps: f64,
    /// Whether the head is the embedding; then a checkpoint needs no weight of the head.
    pub tie_embeddings: bool,
    /// Norm before the head.
    pub final_norm: NormKind,
    /// What embeddings are multiplied by; 1 in most models.
    pub embedding_factor: f64,
    /// What logits are multiplied by; 1 in most models. The weights of the last norm take it in when they are loaded.
    pub logit_factor: f64,
    /// The layers, first to last. Most models repeat one; a hybrid mixes several kinds.
    pub layers: Vec<LayerConfig>,
    pub(crate) naming: &'static Naming,
}

/// Name and shape of one weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSpec {
    /// Canonical name, as `mamba_ssm` (for GPT-NeoX: transformers) writes it.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
}

impl ModelConfig {
    /// Number of layers.
    #[must_use]
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// The kinds of every layer, first to last.
    #[must_use]
    pub fn kinds(&self) -> Vec<Vec<LayerKind>> {
        self.layers.iter().map(LayerConfig::kinds).collect()
    }

    /// Checks that sizes are within what models have and fit each other.
    ///
    /// # Errors
    /// [`ConfigError::Sizes`] with the names and the numbers.
    pub fn validate(&self) -> Result<(), ConfigError> {
        within("d_model", self.d_model, 1 << 16)?;
        within("n_layer", self.n_layer(), MAX_LAYERS)?;
        within("vocab_size", self.vocab_size, 1 << 22)?;
        epsilon("norm_eps", self.norm_eps)?;
        factor("embedding_multiplier", self.embedding_factor)?;
        factor("the factor of the logits", self.logit_factor)?;
        self.layers.iter().try_for_each(|layer| layer.validate(self.d_model))
    }

    /// The internals that every one of these layers can show. A layer that is not there shows nothing.
    #[must_use]
    pub fn signals(&self, layers: impl IntoIterator<Item = usize>) -> SignalSet {
        let of = |layer: usize| self.layers.get(layer).map_or_else(SignalSet::default, LayerConfig::signals);
        let both = |a: SignalSet, b: SignalSet| a.without(a.without(b));
        layers.into_iter().map(of).reduce(both).unwrap_or_default()
    }

    /// Whether any layer reads the positions of its rows; the others ignore them.
    #[must_use]
    pub fn uses_positions(&self) -> bool {
        self.layers.iter().any(LayerConfig::uses_positions)
    }

    /// Whether any layer reads the embeddings of the tokens besides the stream; then [`Activations`](crate::Activations) hold them.
    #[must_use]
    pub fn reads_embeddings(&self) -> bool {
        self.layers.iter().any(|layer| layer.shared.is_some())
    }

    /// FLOPs of all layers per token: the sum of [`LayerConfig::flops_per_token`].
    #[must_use]
    pub fn flops_per_token(&self) -> u64 {
        self.layers.iter().map(|layer| layer.flops_per_token(self.d_model)).sum()
    }

    /// FLOPs of all layers for one pair of tokens: the sum of [`LayerConfig::attention_flops_per_pair`].
    #[must_use]
    pub fn attention_flops_per_pair(&self) -> u64 {
        self.layers.iter().map(|layer| layer.attention_flops_per_pair(self.d_model)).sum()
    }

    /// FLOPs of a layer for `tokens` tokens that see `pairs` tokens together, each itself included.
    ///
    /// # Panics
    /// A layer that is not there.
    #[must_use]
    pub fn block_flops(&self, layer: usize, tokens: u64, pairs: u64) -> u64 {
        let layer = &self.layers[layer];
        tokens * layer.flops_per_token(self.d_model) + pairs * layer.attention_flops_per_pair(self.d_model)
    }

    /// FLOPs of the LM head per scored row. One multiply-add counts as two.
    #[must_use]
    pub fn head_flops_per_row(&self) -> f64 {
        2.0 * self.d_model as f64 * self.vocab_size as f64
    }

    /// Float32 values per token that one call of the widest layer holds at its fullest, with every signal asked for: what the
    /// memory of a call is planned with.
    #[must_use]
    pub fn working_floats_per_token(&self) -> usize {
        // Embeddings before and after a gather.
        let embeddings = if self.reads_embeddings() { 2 * self.d_model } else { 0 };
        embeddings + self.layers.iter().map(|layer| layer.working_floats_per_token(self.d_model)).max().unwrap_or(0)
    }

    /// Every weight of the model, each once: a tied head is not listed.
    pub fn weights(&self) -> Vec<WeightSpec> {
        let table = || vec![self.vocab_size, self.d_model];
        let mut specs = vec![WeightSpec { name: self.naming.embedding.into(), shape: table() }];
        for (index, layer) in self.layers.iter().enumerate() {
            let prefix = self.naming.layer(index);
            let own = layer.weights(self.d_model, self.naming).into_iter();
            specs.extend(own.map(|(name, shape)| WeightSpec { name: format!("{prefix}.{name}"), shape }));
            if let Some((owner, shared)) = layer.shared_weights(self.d_model, index) {
                let prefix = self.naming.layer(owner);
                let shared = shared.into_iter();
                specs.extend(shared.map(|(name, shape)| WeightSpec { name: format!("{prefix}.{name}"), shape }));
            }
        }
        let norm = self.final_norm.weights(self.naming.final_norm).into_iter();
        specs.extend(norm.map(|name| WeightSpec { name, shape: vec![self.d_model] }));
        if !self.tie_embeddings {
            specs.push(WeightSpec { name: self.naming.head.into(), shape: table() });
        }
        specs
    }

    /// Weights that a checkpoint may hold besides, because it holds some once for each layer that uses them: the name of each, and of the weight
    /// that it equals.
    pub(crate) fn copies(&self) -> BTreeMap<String, String> {
        let mut copies = BTreeMap::new();
        if self.tie_embeddings {
            copies.insert(self.naming.head.to_owned(), self.naming.embedding.to_owned());
        }
        let block = |layer| format!("{}.{SHARED_BLOCK}.", self.naming.layer(layer));
        let users =
            self.layers.iter().enumerate().filter_map(|(index, layer)| Some((index, layer.shared.as_ref()?.owner)));
        let users: Vec<(usize, usize)> = users.filter(|(index, owner)| index != owner).collect();
        let weights = if users.is_empty() { Vec::new() } else { self.weights() };
        for (index, owner) in users {
            let (copy, original) = (block(index), block(owner));
            let parts = weights.iter().filter_map(|weight| Some((weight.name.strip_prefix(&original)?, &weight.name)));
            copies.extend(parts.map(|(part, name)| (format!("{copy}{part}"), name.clone())));
        }
        copies
    }

    /// Number of parameters, a tied head counted once.
    pub fn parameters(&self) -> usize {
        self.weights().iter().map(|weight| weight.shape.iter().product::<usize>()).sum()
    }
}

/// What is said of every layer of a model, or its layers where it repeats one, bounded before the list is made.
pub(super) fn repeated<T: Clone>(layer: T, n_layer: usize) -> Result<Vec<T>, ConfigError> {
    within("n_layer", n_layer, MAX_LAYERS)?;
    Ok(vec![layer; n_layer])
}

#[cfg(test)]
mod tests {
    use crate::catalog;

    #[test]
    fn a_transformer_costs_two_flops_per_weight_of_its_products() {
        let config = catalog::builtin("neox-world").unwrap().open().unwrap().config;
        let products: usize = config
            .weights()
            .iter()
            .filter(|weight| weight.name.starts_with("gpt_neox.layers.0.") && weight.shape.len() == 2)
            .map(|weight| weight.shape.iter().product::<usize>())
            .sum();
        let layer = &config.layers[0];
        assert_eq!(layer.flops_per_token(config.d_model), 2 * products as u64);
        assert_eq!(layer.attention_flops_per_pair(config.d_model), 512);
    }
}
