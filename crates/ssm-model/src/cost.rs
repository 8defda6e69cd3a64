//! FLOPs from shapes. One multiply-add counts as two.

use crate::config::{MixerConfig, ModelConfig};

impl ModelConfig {
    /// FLOPs of one block per token: projections, convolution, scan in its recurrent form, norms left out.
    ///
    /// The chunked form of Mamba-2 executes more; the recurrent form is what the definition asks for, and the same on
    /// every device.
    #[must_use]
    pub fn layer_flops_per_token(&self) -> f64 {
        let (d_model, d_inner) = (self.d_model as f64, self.d_inner() as f64);
        match &self.mixer {
            MixerConfig::Mamba(mixer) => {
                let (d_state, dt_rank, d_conv) = (mixer.d_state as f64, mixer.dt_rank as f64, mixer.d_conv as f64);
                let projections = 2.0 * d_model * 2.0 * d_inner
                    + 2.0 * d_inner * (dt_rank + 2.0 * d_state)
                    + 2.0 * dt_rank * d_inner
                    + 2.0 * d_inner * d_model;
                // Per channel and state: decay, input, their sum, and the product with C.
                projections + 2.0 * d_conv * d_inner + 7.0 * d_inner * d_state + 3.0 * d_inner
            }
            MixerConfig::Mamba2(mixer) => {
                let (conv_dim, nheads) = (self.conv_dim() as f64, d_inner / mixer.headdim as f64);
                let projections = 2.0 * d_model * (d_inner + conv_dim + nheads) + 2.0 * d_inner * d_model;
                projections
                    + 2.0 * mixer.d_conv as f64 * conv_dim
                    + 6.0 * d_inner * mixer.d_state as f64
                    + 3.0 * d_inner
            }
        }
    }

    /// Float32 values per token that one call of a layer holds at its fullest, with every signal asked for: what the
    /// memory of a call is planned with. An upper estimate; tables and states of segments are small beside it.
    #[must_use]
    pub fn working_floats_per_token(&self) -> usize {
        let (d_model, d_inner, conv_dim) = (self.d_model, self.d_inner(), self.conv_dim());
        // Arriving and leaving hidden states and residual, and the normed input.
        let stream = 5 * d_model;
        // Projection, convolution, step sizes, scan and gated output, and copies of the signals; the chunked scan holds
        // its 64 products per token and group.
        let mixer = match &self.mixer {
            MixerConfig::Mamba(mixer) => 2 * d_inner + conv_dim + mixer.dt_rank + 2 * mixer.d_state + 3 * d_inner,
            MixerConfig::Mamba2(mixer) => {
                d_inner + 2 * conv_dim + 2 * d_inner / mixer.headdim + 64 * mixer.ngroups + 2 * d_inner
            }
        };
        stream + mixer + d_inner + 2 * conv_dim
    }

    /// FLOPs of the LM head per scored row.
    #[must_use]
    pub fn head_flops_per_row(&self) -> f64 {
        2.0 * self.d_model as f64 * self.vocab_size as f64
    }
}
