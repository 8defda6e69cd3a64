//! What a checkpoint says about its model, whichever dialect said it.

mod error;
mod fields;
mod json;
mod state_spaces;
mod transformers;
mod validate;
mod weights;

pub use error::ConfigError;
pub use weights::WeightSpec;

/// Sizes and switches of a Mamba or Mamba-2 language model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Rows of the embedding as stored, after upstream's padding (`pad_vocab_size_multiple`).
    pub vocab_size: usize,
    /// Epsilon of every RMS norm, the gated one of Mamba-2 included.
    pub norm_eps: f64,
    /// Whether the head is the embedding; then a checkpoint needs no `lm_head.weight`.
    pub tie_embeddings: bool,
    /// The mixer, the same in every block.
    pub mixer: MixerConfig,
}

/// The mixer of every block.
#[derive(Clone, Debug, PartialEq)]
pub enum MixerConfig {
    /// Selective scan with a decay per channel and state (`Mamba1`, `model_type` mamba).
    Mamba(MambaConfig),
    /// State space duality with a scalar decay per head (`Mamba2`, `model_type` mamba2).
    Mamba2(Mamba2Config),
}

/// Sizes of a Mamba mixer.
#[derive(Clone, Debug, PartialEq)]
pub struct MambaConfig {
    /// State per channel (transformers: `state_size`).
    pub d_state: usize,
    /// Width of the causal convolution (transformers: `conv_kernel`).
    pub d_conv: usize,
    /// `d_inner / d_model`.
    pub expand: usize,
    /// Width of the low-rank path to dt (transformers: `time_step_rank`).
    pub dt_rank: usize,
    /// Whether the convolution has a bias (transformers: `use_conv_bias`).
    pub conv_bias: bool,
}

/// Sizes and switches of a Mamba-2 mixer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba2Config {
    /// State per channel (transformers: `state_size`).
    pub d_state: usize,
    /// Width of the causal convolution (transformers: `conv_kernel`).
    pub d_conv: usize,
    /// `d_inner / d_model`.
    pub expand: usize,
    /// Channels of a head (transformers: `head_dim`).
    pub headdim: usize,
    /// Groups of heads that share B and C (transformers: `n_groups`).
    pub ngroups: usize,
    /// Groups of channels that the gated norm normalises separately. `mamba_ssm` uses `ngroups`, transformers
    /// always 1: for `ngroups > 1` the two compute different models from the same weights.
    pub norm_groups: usize,
    /// Whether the gated norm normalises before it gates; false in every published model.
    pub norm_before_gate: bool,
    /// Lower and upper bound of dt after bias and softplus; (0, infinity) leaves it alone.
    pub dt_limit: (f32, f32),
    /// Whether the convolution has a bias (transformers: `use_conv_bias`).
    pub conv_bias: bool,
}

impl ModelConfig {
    /// Reads a `config.json` of either dialect: the one of `mamba_ssm` (`d_model`, `ssm_cfg`, ...) or the one of
    /// transformers (`model_type` mamba or mamba2).
    ///
    /// `Infinity`, `-Infinity` and `NaN`, which Python writes into JSON, are understood.
    ///
    /// # Errors
    /// Text that is no JSON, a setting that is missing, malformed, unknown or that this crate does not implement
    /// (always by name), and sizes that do not fit each other.
    pub fn from_json(text: &str) -> Result<Self, ConfigError> {
        let fields = fields::Fields::new("", json::parse_object(text)?);
        let config = if fields.has("model_type") {
            transformers::parse(fields)?
        } else if fields.has("d_model") {
            state_spaces::parse(fields)?
        } else {
            return Err(ConfigError::UnknownDialect { keys: fields.keys() });
        };
        config.validate()?;
        Ok(config)
    }

    /// Channels inside the mixer: `expand * d_model`.
    pub fn d_inner(&self) -> usize {
        match &self.mixer {
            MixerConfig::Mamba(mixer) => mixer.d_inner(self.d_model),
            MixerConfig::Mamba2(mixer) => mixer.d_inner(self.d_model),
        }
    }

    /// Heads of the mixer; a Mamba mixer has none.
    pub fn nheads(&self) -> Option<usize> {
        match &self.mixer {
            MixerConfig::Mamba(_) => None,
            MixerConfig::Mamba2(mixer) => Some(mixer.nheads(self.d_model)),
        }
    }

    /// Channels that the convolution sees.
    pub fn conv_dim(&self) -> usize {
        match &self.mixer {
            MixerConfig::Mamba(mixer) => mixer.conv_dim(self.d_model),
            MixerConfig::Mamba2(mixer) => mixer.conv_dim(self.d_model),
        }
    }

    /// Rows of the input projection.
    pub fn d_in_proj(&self) -> usize {
        match &self.mixer {
            MixerConfig::Mamba(mixer) => mixer.d_in_proj(self.d_model),
            MixerConfig::Mamba2(mixer) => mixer.d_in_proj(self.d_model),
        }
    }
}

impl MambaConfig {
    /// Channels inside the mixer: `expand * d_model`.
    pub fn d_inner(&self, d_model: usize) -> usize {
        self.expand * d_model
    }

    /// Channels that the convolution sees: `d_inner`.
    pub fn conv_dim(&self, d_model: usize) -> usize {
        self.d_inner(d_model)
    }

    /// Rows of the input projection: x and z, `2 * d_inner`.
    pub fn d_in_proj(&self, d_model: usize) -> usize {
        2 * self.d_inner(d_model)
    }
}

impl Mamba2Config {
    /// Channels inside the mixer: `expand * d_model`.
    pub fn d_inner(&self, d_model: usize) -> usize {
        self.expand * d_model
    }

    /// Heads: `d_inner / headdim`.
    pub fn nheads(&self, d_model: usize) -> usize {
        self.d_inner(d_model) / self.headdim
    }

    /// Channels that the convolution sees: x, B and C, `d_inner + 2 * ngroups * d_state`.
    pub fn conv_dim(&self, d_model: usize) -> usize {
        self.d_inner(d_model) + 2 * self.ngroups * self.d_state
    }

    /// Rows of the input projection: z, then what the convolution sees, then dt: `d_inner + conv_dim + nheads`.
    pub fn d_in_proj(&self, d_model: usize) -> usize {
        self.d_inner(d_model) + self.conv_dim(d_model) + self.nheads(d_model)
    }
}
