//! What a checkpoint says about its model, whichever dialect said it.

mod error;
mod fields;
mod gpt_neox;
mod json;
mod state_spaces;
mod transformers;
mod validate;
mod weights;
mod without_effect;

use ssm_kernels::ops::Gelu;

pub use error::ConfigError;
pub use weights::WeightSpec;

use crate::signals::{Signal, SignalSet};

/// Sizes and switches of a language model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Rows of the embedding as stored, after upstream's padding (`pad_vocab_size_multiple`).
    pub vocab_size: usize,
    /// Epsilon of every norm, the gated one of Mamba-2 included.
    pub norm_eps: f64,
    /// Whether the head is the embedding; then a checkpoint needs no weight of the head.
    pub tie_embeddings: bool,
    /// What stands in every block.
    pub architecture: Architecture,
}

/// What stands in every block.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// Selective scan with a decay per channel and state (`Mamba1`, `model_type` mamba or `falcon_mamba`).
    Mamba(MambaConfig),
    /// State space duality with a scalar decay per head (`Mamba2`, `model_type` mamba2).
    Mamba2(Mamba2Config),
    /// Attention and MLP of GPT-NeoX (`model_type` `gpt_neox`): the Pythia models.
    GptNeoX(GptNeoXConfig),
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
    /// Epsilon of the norms of Falcon-Mamba: dt, B and C each pass an RMSNorm without weight before they are used
    /// (transformers: `mixer_rms_eps`). None in every other Mamba, which has no such norms.
    pub mixer_norm_eps: Option<f64>,
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
    /// Groups of channels that the gated norm normalises separately. `mamba_ssm`, with which the published models were
    /// trained, uses `ngroups`, and so does transformers (5.24). Earlier versions (5.17 among them) used 1 whatever `ngroups`
    /// was, and so computed another model from the same weights where `ngroups > 1`: Codestral-Mamba. A `config.json` of
    /// transformers asks for that with a key that only this crate reads, `"norm_groups": 1`.
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
    /// transformers (`model_type` mamba, mamba2, `falcon_mamba` or `gpt_neox`).
    ///
    /// `Infinity`, `-Infinity` and `NaN`, which Python writes into JSON, are understood, also as texts; a byte-order mark is passed
    /// over. A setting that is null counts as absent.
    ///
    /// # Errors
    /// Text that is no JSON, a setting that is missing, malformed, set twice, unknown (all of them at once) or that this crate does
    /// not implement (always by name), and sizes that do not fit each other.
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

    /// Whether a `config.json` is of the dialect of `mamba_ssm`, whose repositories hold no tokenizer.
    pub fn is_of_mamba_ssm(text: &str) -> bool {
        let of_mamba_ssm =
            |object: serde_json::Map<_, _>| object.contains_key("ssm_cfg") && !object.contains_key("model_type");
        json::parse_object(text).is_ok_and(of_mamba_ssm)
    }

    /// Name of the architecture in messages and tables.
    pub fn architecture_name(&self) -> &'static str {
        match &self.architecture {
            Architecture::Mamba(MambaConfig { mixer_norm_eps: Some(_), .. }) => "Falcon-Mamba",
            Architecture::Mamba(_) => "Mamba",
            Architecture::Mamba2(_) => "Mamba-2",
            Architecture::GptNeoX(_) => "GPT-NeoX",
        }
    }

    /// Channels inside the mixer, which are those of the signal `ssm_output`: `expand * d_model`; for attention `d_model`.
    pub fn d_inner(&self) -> usize {
        match &self.architecture {
            Architecture::Mamba(mixer) => mixer.d_inner(self.d_model),
            Architecture::Mamba2(mixer) => mixer.d_inner(self.d_model),
            Architecture::GptNeoX(_) => self.d_model,
        }
    }

    /// Step sizes of a token: one per channel (Mamba) or head (Mamba-2); attention has none.
    pub fn dt_width(&self) -> usize {
        match &self.architecture {
            Architecture::Mamba(mixer) => mixer.d_inner(self.d_model),
            Architecture::Mamba2(mixer) => mixer.nheads(self.d_model),
            Architecture::GptNeoX(_) => 0,
        }
    }

    /// The internals that a layer can show.
    pub fn signals(&self) -> SignalSet {
        match &self.architecture {
            Architecture::Mamba(_) | Architecture::Mamba2(_) => SignalSet::ALL,
            // Influence is measured by the driver, whatever the model.
            Architecture::GptNeoX(_) => SignalSet::of(&[Signal::SsmOutput, Signal::Influence]),
        }
    }

    /// Whether a layer reads the positions of its rows; a recurrence reads their order alone.
    pub fn uses_positions(&self) -> bool {
        matches!(self.architecture, Architecture::GptNeoX(_))
    }
}

/// Sizes and switches of the blocks of GPT-NeoX: attention with rotary positions on a part of each head, and an MLP.
#[derive(Clone, Debug, PartialEq)]
pub struct GptNeoXConfig {
    /// Heads of the attention (`num_attention_heads`).
    pub heads: usize,
    /// Width of the MLP (`intermediate_size`).
    pub d_mlp: usize,
    /// Channels of a head that turn with the position: `rotary_pct` of them, rounded down.
    pub rotary_dim: usize,
    /// Base of the rotary frequencies (`rotary_emb_base`).
    pub rotary_base: f64,
    /// Whether attention and MLP read the same sum; otherwise the MLP reads the sum with the attention's output.
    pub parallel_residual: bool,
    /// Whether the projections of the attention have biases (`attention_bias`).
    pub attention_bias: bool,
    /// Activation of the MLP (`hidden_act`).
    pub activation: Gelu,
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
