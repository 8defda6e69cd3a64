//! The weights that a config implies.

use super::{Architecture, GptNeoXConfig, ModelConfig};

/// Name and shape of one weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSpec {
    /// Canonical name, as `mamba_ssm` (for GPT-NeoX: transformers) writes it.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
}

impl ModelConfig {
    /// Every weight of the model, each once: a tied head is not listed.
    pub fn weights(&self) -> Vec<WeightSpec> {
        let mut specs = Vec::new();
        let mut add = |name: String, shape: &[usize]| specs.push(WeightSpec { name, shape: shape.to_vec() });
        add(self.embedding_name().into(), &[self.vocab_size, self.d_model]);
        for layer in 0..self.n_layer {
            for (name, shape) in self.layer_weights() {
                add(format!("{}.{layer}.{name}", self.layers_name()), &shape);
            }
        }
        match &self.architecture {
            Architecture::Mamba(_) | Architecture::Mamba2(_) => add("backbone.norm_f.weight".into(), &[self.d_model]),
            Architecture::GptNeoX(_) => {
                add("gpt_neox.final_layer_norm.weight".into(), &[self.d_model]);
                add("gpt_neox.final_layer_norm.bias".into(), &[self.d_model]);
            }
        }
        if !self.tie_embeddings {
            add(self.head_name().into(), &[self.vocab_size, self.d_model]);
        }
        specs
    }

    /// Number of parameters, a tied head counted once.
    pub fn parameters(&self) -> usize {
        self.weights().iter().map(|weight| weight.shape.iter().product::<usize>()).sum()
    }

    /// Canonical name of the embedding.
    pub(crate) fn embedding_name(&self) -> &'static str {
        match &self.architecture {
            Architecture::Mamba(_) | Architecture::Mamba2(_) => "backbone.embedding.weight",
            Architecture::GptNeoX(_) => "gpt_neox.embed_in.weight",
        }
    }

    /// Canonical name of the head's weight.
    pub(crate) fn head_name(&self) -> &'static str {
        match &self.architecture {
            Architecture::Mamba(_) | Architecture::Mamba2(_) => "lm_head.weight",
            Architecture::GptNeoX(_) => "embed_out.weight",
        }
    }

    /// What stands before the number of a layer in the names of its weights.
    pub(crate) fn layers_name(&self) -> &'static str {
        match &self.architecture {
            Architecture::Mamba(_) | Architecture::Mamba2(_) => "backbone.layers",
            Architecture::GptNeoX(_) => "gpt_neox.layers",
        }
    }

    /// Weights of one layer, named from its number on.
    fn layer_weights(&self) -> Vec<(&'static str, Vec<usize>)> {
        let d_model = self.d_model;
        let (d_in_proj, conv_dim, d_conv, conv_bias, own) = match &self.architecture {
            Architecture::Mamba(mixer) => {
                let d_inner = mixer.d_inner(d_model);
                let own = vec![
                    ("mixer.x_proj.weight", vec![mixer.dt_rank + 2 * mixer.d_state, d_inner]),
                    ("mixer.dt_proj.weight", vec![d_inner, mixer.dt_rank]),
                    ("mixer.dt_proj.bias", vec![d_inner]),
                    ("mixer.A_log", vec![d_inner, mixer.d_state]),
                    ("mixer.D", vec![d_inner]),
                ];
                (mixer.d_in_proj(d_model), mixer.conv_dim(d_model), mixer.d_conv, mixer.conv_bias, own)
            }
            Architecture::Mamba2(mixer) => {
                let nheads = mixer.nheads(d_model);
                let own = vec![
                    ("mixer.dt_bias", vec![nheads]),
                    ("mixer.A_log", vec![nheads]),
                    ("mixer.D", vec![nheads]),
                    ("mixer.norm.weight", vec![mixer.d_inner(d_model)]),
                ];
                (mixer.d_in_proj(d_model), mixer.conv_dim(d_model), mixer.d_conv, mixer.conv_bias, own)
            }
            Architecture::GptNeoX(block) => return gpt_neox(block, d_model),
        };
        let mut weights = vec![("norm.weight", vec![d_model]), ("mixer.in_proj.weight", vec![d_in_proj, d_model])];
        weights.extend(own);
        weights.push(("mixer.conv1d.weight", vec![conv_dim, 1, d_conv]));
        if conv_bias {
            weights.push(("mixer.conv1d.bias", vec![conv_dim]));
        }
        weights.push(("mixer.out_proj.weight", vec![d_model, self.d_inner()]));
        weights
    }
}

fn gpt_neox(block: &GptNeoXConfig, d_model: usize) -> Vec<(&'static str, Vec<usize>)> {
    let mut weights = vec![
        ("input_layernorm.weight", vec![d_model]),
        ("input_layernorm.bias", vec![d_model]),
        ("post_attention_layernorm.weight", vec![d_model]),
        ("post_attention_layernorm.bias", vec![d_model]),
        ("attention.query_key_value.weight", vec![3 * d_model, d_model]),
        ("attention.dense.weight", vec![d_model, d_model]),
        ("mlp.dense_h_to_4h.weight", vec![block.d_mlp, d_model]),
        ("mlp.dense_h_to_4h.bias", vec![block.d_mlp]),
        ("mlp.dense_4h_to_h.weight", vec![d_model, block.d_mlp]),
        ("mlp.dense_4h_to_h.bias", vec![d_model]),
    ];
    if block.attention_bias {
        weights.push(("attention.query_key_value.bias", vec![3 * d_model]));
        weights.push(("attention.dense.bias", vec![d_model]));
    }
    weights
}
