//! Canonical names of the weights that every model has, and the prefixes of those that layers have. A kind of layer names the
//! weights below its prefix.

/// How a family of checkpoints names its weights.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) embedding: &'static str,
    /// Before the number of a layer.
    pub(crate) layers: &'static str,
    pub(crate) mixer_norm: &'static str,
    /// A mixer with a scan, or an MLP in its place.
    pub(crate) mixer: &'static str,
    /// A mixer that is attention.
    pub(crate) attention: &'static str,
    pub(crate) mlp_norm: &'static str,
    pub(crate) mlp: &'static str,
    pub(crate) final_norm: &'static str,
    pub(crate) head: &'static str,
}

impl Naming {
    /// What the names of a layer's weights begin with.
    pub(crate) fn layer(&self, index: usize) -> String {
        format!("{}.{index}", self.layers)
    }
}

/// `MambaLMHeadModel` of `mamba_ssm`.
pub(super) static MAMBA_SSM: Naming = Naming {
    embedding: "backbone.embedding.weight",
    layers: "backbone.layers",
    mixer_norm: "norm",
    mixer: "mixer",
    attention: "mixer",
    mlp_norm: "norm2",
    mlp: "mlp",
    final_norm: "backbone.norm_f",
    head: "lm_head.weight",
};

/// `GPTNeoXForCausalLM` of transformers.
pub(super) static GPT_NEOX: Naming = Naming {
    embedding: "gpt_neox.embed_in.weight",
    layers: "gpt_neox.layers",
    mixer_norm: "input_layernorm",
    mixer: "attention",
    attention: "attention",
    mlp_norm: "post_attention_layernorm",
    mlp: "mlp",
    final_norm: "gpt_neox.final_layer_norm",
    head: "embed_out.weight",
};

/// `GraniteMoeHybridForCausalLM` of transformers.
pub(super) static GRANITE_HYBRID: Naming = Naming {
    embedding: "model.embed_tokens.weight",
    layers: "model.layers",
    mixer_norm: "input_layernorm",
    mixer: "mamba",
    attention: "self_attn",
    mlp_norm: "post_attention_layernorm",
    mlp: "shared_mlp",
    final_norm: "model.norm",
    head: "lm_head.weight",
};

/// `BambaForCausalLM`, `FalconH1ForCausalLM`, `JambaForCausalLM` and `Zamba2ForCausalLM` of transformers.
pub(super) static BAMBA: Naming = Naming {
    embedding: "model.embed_tokens.weight",
    layers: "model.layers",
    mixer_norm: "input_layernorm",
    mixer: "mamba",
    attention: "self_attn",
    mlp_norm: "pre_ff_layernorm",
    mlp: "feed_forward",
    final_norm: "model.final_layernorm",
    head: "lm_head.weight",
};
