//! Sizes that no model has are refused before anything is allocated from them.

use super::{Architecture, ConfigError, GptNeoXConfig, Mamba2Config, ModelConfig};

impl ModelConfig {
    /// Checks that sizes are within what models have and fit each other.
    ///
    /// # Errors
    /// [`ConfigError::Sizes`] with the names and the numbers.
    pub fn validate(&self) -> Result<(), ConfigError> {
        within("d_model", self.d_model, 1 << 16)?;
        within("n_layer", self.n_layer, 1 << 10)?;
        within("vocab_size", self.vocab_size, 1 << 22)?;
        epsilon("norm_eps", self.norm_eps)?;
        match &self.architecture {
            Architecture::Mamba(mixer) => {
                shared_sizes(mixer.d_state, mixer.d_conv, mixer.expand)?;
                if let Some(eps) = mixer.mixer_norm_eps {
                    epsilon("mixer_rms_eps", eps)?;
                }
                within("dt_rank", mixer.dt_rank, mixer.d_inner(self.d_model))
            }
            Architecture::Mamba2(mixer) => {
                shared_sizes(mixer.d_state, mixer.d_conv, mixer.expand)?;
                mamba2(mixer, self.d_model)
            }
            Architecture::GptNeoX(block) => gpt_neox(block, self.d_model),
        }
    }
}

fn shared_sizes(d_state: usize, d_conv: usize, expand: usize) -> Result<(), ConfigError> {
    within("d_state", d_state, 1 << 13)?;
    within("d_conv", d_conv, 64)?;
    within("expand", expand, 64)
}

fn mamba2(mixer: &Mamba2Config, d_model: usize) -> Result<(), ConfigError> {
    let d_inner = mixer.d_inner(d_model);
    within("headdim", mixer.headdim, d_inner)?;
    divides("headdim", mixer.headdim, "d_inner", d_inner)?;
    let nheads = mixer.nheads(d_model);
    within("ngroups", mixer.ngroups, nheads)?;
    divides("ngroups", mixer.ngroups, "nheads", nheads)?;
    within("norm_groups", mixer.norm_groups, d_inner)?;
    divides("norm_groups", mixer.norm_groups, "d_inner", d_inner)?;
    let (low, high) = mixer.dt_limit;
    if low >= 0.0 && low < high {
        Ok(())
    } else {
        Err(ConfigError::Sizes(format!("dt_limit is ({low}, {high}), expected 0 <= low < high")))
    }
}

fn gpt_neox(block: &GptNeoXConfig, d_model: usize) -> Result<(), ConfigError> {
    within("num_attention_heads", block.heads, d_model)?;
    divides("num_attention_heads", block.heads, "hidden_size", d_model)?;
    within("intermediate_size", block.d_mlp, 1 << 20)?;
    let head_dim = d_model / block.heads;
    if block.rotary_dim > head_dim || !block.rotary_dim.is_multiple_of(2) {
        return Err(ConfigError::Sizes(format!(
            "rotary_pct turns {} of the {head_dim} channels of a head, expected an even number of at most all",
            block.rotary_dim
        )));
    }
    if !(block.rotary_base > 1.0 && block.rotary_base.is_finite()) {
        return Err(ConfigError::Sizes(format!("rotary_emb_base is {}, expected more than 1", block.rotary_base)));
    }
    Ok(())
}

fn epsilon(name: &str, value: f64) -> Result<(), ConfigError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(ConfigError::Sizes(format!("{name} is {value}, expected between 0 and 1")))
    }
}

fn within(name: &str, value: usize, max: usize) -> Result<(), ConfigError> {
    if (1..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Sizes(format!("{name} is {value}, expected 1 to {max}")))
    }
}

fn divides(part: &str, part_size: usize, whole: &str, whole_size: usize) -> Result<(), ConfigError> {
    if whole_size.is_multiple_of(part_size) {
        Ok(())
    } else {
        Err(ConfigError::Sizes(format!("{part} is {part_size}, which does not divide {whole} = {whole_size}")))
    }
}
