//! The weights that a config implies.

use super::{MixerConfig, ModelConfig};

/// Name and shape of one weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightSpec {
    /// Canonical name, as `mamba_ssm` writes it.
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
}

impl ModelConfig {
    /// Every weight of the model, each once: a tied head is not listed.
    pub fn weights(&self) -> Vec<WeightSpec> {
        let mut specs = Vec::new();
        let mut add = |name: String, shape: &[usize]| specs.push(WeightSpec { name, shape: shape.to_vec() });
        add("backbone.embedding.weight".into(), &[self.vocab_size, self.d_model]);
        for layer in 0..self.n_layer {
            add(format!("backbone.layers.{layer}.norm.weight"), &[self.d_model]);
            for (name, shape) in self.mixer_weights() {
                add(format!("backbone.layers.{layer}.mixer.{name}"), &shape);
            }
        }
        add("backbone.norm_f.weight".into(), &[self.d_model]);
        if !self.tie_embeddings {
            add("lm_head.weight".into(), &[self.vocab_size, self.d_model]);
        }
        specs
    }

    /// Number of parameters, a tied head counted once.
    pub fn parameters(&self) -> usize {
        self.weights().iter().map(|weight| weight.shape.iter().product::<usize>()).sum()
    }

    fn mixer_weights(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (d_model, d_inner, conv_dim) = (self.d_model, self.d_inner(), self.conv_dim());
        let mut weights = vec![("in_proj.weight", vec![self.d_in_proj(), d_model])];
        let (d_conv, conv_bias) = match &self.mixer {
            MixerConfig::Mamba(mixer) => {
                weights.extend([
                    ("x_proj.weight", vec![mixer.dt_rank + 2 * mixer.d_state, d_inner]),
                    ("dt_proj.weight", vec![d_inner, mixer.dt_rank]),
                    ("dt_proj.bias", vec![d_inner]),
                    ("A_log", vec![d_inner, mixer.d_state]),
                    ("D", vec![d_inner]),
                ]);
                (mixer.d_conv, mixer.conv_bias)
            }
            MixerConfig::Mamba2(mixer) => {
                let nheads = mixer.nheads(d_model);
                weights.extend([
                    ("dt_bias", vec![nheads]),
                    ("A_log", vec![nheads]),
                    ("D", vec![nheads]),
                    ("norm.weight", vec![d_inner]),
                ]);
                (mixer.d_conv, mixer.conv_bias)
            }
        };
        weights.push(("conv1d.weight", vec![conv_dim, 1, d_conv]));
        if conv_bias {
            weights.push(("conv1d.bias", vec![conv_dim]));
        }
        weights.push(("out_proj.weight", vec![d_model, d_inner]));
        weights
    }
}
