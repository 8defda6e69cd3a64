//! FLOPs from shapes. One multiply-add counts as two.

use crate::config::{Architecture, ModelConfig};

impl ModelConfig {
    /// FLOPs of one block per token: projections, convolution, scan in its recurrent form, norms and activations left out.
    /// What attention costs beside its projections grows with the sequence: [`ModelConfig::attention_flops_per_pair`].
    ///
    /// The chunked form of Mamba-2 executes more; the recurrent form is what the definition asks for, and the same on
    /// every device.
    #[must_use]
    pub fn layer_flops_per_token(&self) -> f64 {
        let (d_model, d_inner) = (self.d_model as f64, self.d_inner() as f64);
        match &self.architecture {
            Architecture::Mamba(mixer) => {
                let (d_state, dt_rank, d_conv) = (mixer.d_state as f64, mixer.dt_rank as f64, mixer.d_conv as f64);
                let projections = 2.0 * d_model * 2.0 * d_inner
                    + 2.0 * d_inner * (dt_rank + 2.0 * d_state)
                    + 2.0 * dt_rank * d_inner
                    + 2.0 * d_inner * d_model;
                // Per channel and state: decay, input, their sum, and the product with C.
                projections + 2.0 * d_conv * d_inner + 7.0 * d_inner * d_state + 3.0 * d_inner
            }
            Architecture::Mamba2(mixer) => {
                let (conv_dim, nheads) = (mixer.conv_dim(self.d_model) as f64, d_inner / mixer.headdim as f64);
                let projections = 2.0 * d_model * (d_inner + conv_dim + nheads) + 2.0 * d_inner * d_model;
                projections
                    + 2.0 * mixer.d_conv as f64 * conv_dim
                    + 6.0 * d_inner * mixer.d_state as f64
                    + 3.0 * d_inner
            }
            // Query, key, value and output, then up and down.
            Architecture::GptNeoX(block) => 8.0 * d_model * d_model + 4.0 * d_model * block.d_mlp as f64,
        }
    }

    /// FLOPs of one block for one pair of a token and a token that it sees (itself included): the score, and the value's part
    /// of the mean. 0 for a recurrence, which compares no tokens.
    #[must_use]
    pub fn attention_flops_per_pair(&self) -> f64 {
        match &self.architecture {
            Architecture::Mamba(_) | Architecture::Mamba2(_) => 0.0,
            Architecture::GptNeoX(_) => 4.0 * self.d_model as f64,
        }
    }

    /// Float32 values per token that one call of a layer holds at its fullest, with every signal asked for: what the
    /// memory of a call is planned with. An upper estimate; tables and states of segments are small beside it.
    #[must_use]
    pub fn working_floats_per_token(&self) -> usize {
        let (d_model, d_inner) = (self.d_model, self.d_inner());
        // Arriving and leaving hidden states and residual, and the normed input.
        let stream = 5 * d_model;
        // Projection, convolution, step sizes, scan and gated output, and copies of the signals; the chunked scan holds
        // its 64 products per token and group.
        let (conv_dim, mixer) = match &self.architecture {
            Architecture::Mamba(mixer) => {
                let conv_dim = mixer.conv_dim(d_model);
                (conv_dim, 2 * d_inner + conv_dim + mixer.dt_rank + 2 * mixer.d_state + 3 * d_inner)
            }
            Architecture::Mamba2(mixer) => {
                let conv_dim = mixer.conv_dim(d_model);
                (conv_dim, d_inner + 2 * conv_dim + 2 * d_inner / mixer.headdim + 64 * mixer.ngroups + 2 * d_inner)
            }
            // The fused projection, its three parts, keys and values gathered by head, the attention's result, its projection
            // and a copy as a signal, the second normed input and its sum, and the MLP before and after its activation.
            Architecture::GptNeoX(block) => return stream + 15 * d_model + 2 * block.d_mlp,
        };
        stream + mixer + d_inner + 2 * conv_dim
    }

    /// FLOPs of the LM head per scored row.
    #[must_use]
    pub fn head_flops_per_row(&self) -> f64 {
        2.0 * self.d_model as f64 * self.vocab_size as f64
    }
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
        assert!((config.layer_flops_per_token() - 2.0 * products as f64).abs() < 0.5);
        assert!((config.attention_flops_per_pair() - 512.0).abs() < f64::EPSILON);
    }
}
