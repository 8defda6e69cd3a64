//! Models known by name: those embedded in the program, and the published ones with their sizes.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::config::{ConfigError, ModelConfig};

const TOKENIZER: &str = include_str!("../assets/reference-models/tokenizer.json");

/// A model whose weights are part of the program; `assets/reference-models/README.md` says how it was made.
#[derive(Clone, Copy)]
pub struct Builtin {
    /// Name, as in `builtin:mamba2-world`.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// Its `config.json`.
    pub config_json: &'static str,
    /// Its `model.safetensors`.
    pub safetensors: &'static [u8],
    /// Its `tokenizer.json`, the same for all.
    pub tokenizer_json: &'static str,
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builtin").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Builtin {
    /// Opens it.
    ///
    /// # Errors
    /// As [`Checkpoint::from_bytes`]; not for the models of this catalog.
    pub fn open(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::from_bytes(self.config_json, self.safetensors)
    }
}

// A static: the program would hold a constant once for every crate that names it.
static BUILTINS: &[Builtin] = &[
    Builtin {
        name: "mamba-world",
        summary: "Mamba, 2.0 M parameters, 16 layers, trained on the tiny world of the reference tasks",
        config_json: include_str!("../assets/reference-models/mamba-world/config.json"),
        safetensors: include_bytes!("../assets/reference-models/mamba-world/model.safetensors"),
        tokenizer_json: TOKENIZER,
    },
    Builtin {
        name: "mamba2-world",
        summary: "Mamba-2, 2.0 M parameters, 16 layers, trained on the tiny world of the reference tasks",
        config_json: include_str!("../assets/reference-models/mamba2-world/config.json"),
        safetensors: include_bytes!("../assets/reference-models/mamba2-world/model.safetensors"),
        tokenizer_json: TOKENIZER,
    },
    Builtin {
        name: "neox-world",
        summary: "Transformer control (GPT-NeoX), 1.9 M parameters, 8 layers, trained on the same tiny world",
        config_json: include_str!("../assets/reference-models/neox-world/config.json"),
        safetensors: include_bytes!("../assets/reference-models/neox-world/model.safetensors"),
        tokenizer_json: TOKENIZER,
    },
];

/// All embedded models.
pub fn builtins() -> &'static [Builtin] {
    BUILTINS
}

/// The embedded model of this name, without the `builtin:`.
pub fn builtin(name: &str) -> Option<Builtin> {
    BUILTINS.iter().copied().find(|builtin| builtin.name == name)
}

/// A model on the hub that is known to work. Only its sizes are here; its weights must be downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Repository on the hub.
    pub name: &'static str,
    /// Its architecture.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layer: usize,
}

/// Architecture of a published model, with the sizes that width and depth do not determine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Mamba.
    Mamba,
    /// Mamba-2.
    Mamba2,
    /// Mamba with norms on dt, B and C.
    FalconMamba,
    /// Mamba-2 with eight groups and a head of its own.
    Codestral,
    /// Mamba-2 with attention in some layers, in the dialect of `mamba_ssm`: heads of 128 channels, half of them rotary, and a
    /// convolution over queries, keys and values.
    Mamba2Attention {
        /// Heads of the attention.
        heads: usize,
        /// The layers that are attention.
        layers: &'static [usize],
    },
    /// A Transformer in the dialect of `mamba_ssm`: attention with rotary heads of 128 channels in every layer, each followed by
    /// a gated MLP of 8/3 of the width.
    TransformerPlusPlus {
        /// Heads of the attention.
        heads: usize,
    },
    /// GPT-NeoX as Pythia uses it: rotary positions on a quarter of each head, an MLP four times as wide as the model.
    Pythia {
        /// Heads of the attention.
        heads: usize,
    },
    /// A hybrid of transformers, by what its published `config.json` says, as far as it decides sizes. Constants that the model multiplies by are
    /// not part of it.
    Hybrid {
        /// The settings.
        config: &'static str,
    },
}

impl Published {
    /// The part of the name after the owner, `mamba2-2.7b`, or what the model is usually called.
    #[must_use]
    pub fn short_name(&self) -> &'static str {
        match self.architecture {
            Architecture::Codestral => "codestral-mamba-7b",
            _ => self.name.rsplit('/').next().unwrap_or(self.name),
        }
    }

    /// The configuration: [`Published::config_json`], read.
    ///
    /// # Errors
    /// As [`ModelConfig::from_json`]; not for the models of this catalog.
    pub fn config(&self) -> Result<ModelConfig, ConfigError> {
        ModelConfig::from_json(&self.config_json())
    }

    /// A `config.json` of this model: upstream's defaults at these sizes, with the vocabulary of GPT-NeoX padded as upstream pads
    /// it. Pythia's own is padded to 50,304. Of the other architectures it is what their published files say, as far as it decides
    /// the model.
    #[must_use]
    pub fn config_json(&self) -> String {
        let (d_model, n_layer) = (self.d_model, self.n_layer);
        let (mixer, vocabulary, multiple, more) = match self.architecture {
            Architecture::Mamba => ("{}", 50277, 8, String::new()),
            Architecture::Mamba2 => (r#"{"layer": "Mamba2"}"#, 50288, 16, String::new()),
            Architecture::Mamba2Attention { heads, layers } => {
                (r#"{"layer": "Mamba2"}"#, 50277, 16, attention(layers, heads, 4, 64))
            }
            Architecture::TransformerPlusPlus { heads } => {
                let layers: Vec<usize> = (0..n_layer).collect();
                let d_intermediate = 8 * d_model / 3;
                let mlp = format!(r#", "d_intermediate": {d_intermediate}"#);
                ("{}", 50277, 16, attention(&layers, heads, 0, 128) + &mlp)
            }
            Architecture::FalconMamba => {
                let d_inner = 2 * d_model;
                return format!(
                    r#"{{"model_type": "falcon_mamba", "hidden_size": {d_model}, "num_hidden_layers": {n_layer}, "expand": 16,
                        "intermediate_size": {d_inner}, "state_size": 16, "conv_kernel": 4, "vocab_size": 65024,
                        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": false, "use_conv_bias": true}}"#
                );
            }
            Architecture::Codestral => {
                return format!(
                    r#"{{"model_type": "mamba2", "hidden_size": {d_model}, "num_hidden_layers": {n_layer}, "expand": 2,
                        "head_dim": 64, "n_groups": 8, "state_size": 128, "conv_kernel": 4, "vocab_size": 32768,
                        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": false, "use_conv_bias": true}}"#
                );
            }
            Architecture::Hybrid { config } => return config.to_owned(),
            Architecture::Pythia { heads } => {
                let d_mlp = 4 * d_model;
                return format!(
                    r#"{{"model_type": "gpt_neox", "hidden_size": {d_model}, "num_hidden_layers": {n_layer},
                        "num_attention_heads": {heads}, "intermediate_size": {d_mlp}, "vocab_size": 50304, "hidden_act": "gelu",
                        "rotary_pct": 0.25, "rotary_emb_base": 10000, "use_parallel_residual": true}}"#
                );
            }
        };
        format!(
            r#"{{"d_model": {d_model}, "n_layer": {n_layer}, "vocab_size": {vocabulary}, "ssm_cfg": {mixer},
                "rms_norm": true, "residual_in_fp32": true, "fused_add_norm": true, "pad_vocab_size_multiple": {multiple}{more}}}"#
        )
    }
}

/// The part of a `config.json` of `mamba_ssm` that makes these layers attention.
fn attention(layers: &[usize], heads: usize, d_conv: usize, rotary_dim: usize) -> String {
    format!(
        r#", "attn_layer_idx": {layers:?}, "attn_cfg": {{"causal": true, "d_conv": {d_conv}, "head_dim": 128, "num_heads": {heads},
            "out_proj_bias": false, "qkv_proj_bias": false, "rotary_emb_dim": {rotary_dim}}}"#
    )
}

const NEMOTRON_H_8B: &str = r#"{"model_type": "nemotron_h", "hidden_size": 4096, "num_hidden_layers": 52,
    "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 21504,
    "mamba_num_heads": 128, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128, "vocab_size": 131072,
    "tie_word_embeddings": false}"#;

const BAMBA_9B: &str = r#"{"model_type": "bamba", "hidden_size": 4096, "num_hidden_layers": 32, "attn_layer_indices": [9, 18, 27],
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "mamba_n_heads": 128, "mamba_d_head": 64,
    "mamba_d_state": 128, "mamba_n_groups": 1, "mamba_expand": 2, "vocab_size": 128256, "tie_word_embeddings": false}"#;

const FALCON_H1_TINY: &str = r#"{"model_type": "falcon_h1", "hidden_size": 512, "num_hidden_layers": 24, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 768, "mamba_d_ssm": 768, "mamba_n_heads": 24, "mamba_d_head": 32,
    "mamba_d_state": 64, "mamba_n_groups": 1, "mamba_rms_norm": false, "rope_theta": 1e11, "vocab_size": 32768,
    "tie_word_embeddings": true}"#;

const FALCON_H1_0_5B: &str = r#"{"model_type": "falcon_h1", "hidden_size": 1024, "num_hidden_layers": 36, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 2048, "mamba_d_ssm": 1536, "mamba_n_heads": 24, "mamba_d_head": 64,
    "mamba_d_state": 128, "mamba_n_groups": 1, "mamba_rms_norm": false, "rope_theta": 1e11, "vocab_size": 32784,
    "tie_word_embeddings": false}"#;

const ZAMBA2_1_2B: &str = r#"{"model_type": "zamba2", "hidden_size": 2048, "num_hidden_layers": 38, "num_attention_heads": 32,
    "intermediate_size": 8192, "mamba_d_state": 128, "n_mamba_heads": 64, "mamba_ngroups": 1, "num_mem_blocks": 1, "adapter_rank": 128,
    "use_shared_attention_adapter": true, "use_mem_rope": true, "rope_theta": 10000, "vocab_size": 32000, "tie_word_embeddings": true,
    "layers_block_type": ["mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba",
        "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba",
        "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba"]}"#;

const ZAMBA2_2_7B: &str = r#"{"model_type": "zamba2", "hidden_size": 2560, "num_hidden_layers": 54, "num_attention_heads": 32,
    "intermediate_size": 10240, "mamba_d_state": 64, "n_mamba_heads": 80, "mamba_ngroups": 1, "num_mem_blocks": 2, "adapter_rank": 128,
    "use_shared_attention_adapter": false, "use_mem_rope": false, "vocab_size": 32000, "tie_word_embeddings": true,
    "layers_block_type": ["mamba", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba",
        "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba",
        "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "mamba", "mamba",
        "hybrid", "mamba", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba", "mamba", "hybrid", "mamba", "mamba"]}"#;

const FALCON_H1_1_5B: &str = r#"{"model_type": "falcon_h1", "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 128, "intermediate_size": 4608, "mamba_d_ssm": 3072, "mamba_n_heads": 48, "mamba_d_head": 64,
    "mamba_d_state": 256, "mamba_n_groups": 1, "mamba_rms_norm": false, "rope_theta": 1e11, "vocab_size": 65537,
    "tie_word_embeddings": false}"#;

const FALCON_H1_7B: &str = r#"{"model_type": "falcon_h1", "hidden_size": 3072, "num_hidden_layers": 44, "num_attention_heads": 12,
    "num_key_value_heads": 2, "head_dim": 128, "intermediate_size": 12288, "mamba_d_ssm": 3072, "mamba_n_heads": 24, "mamba_d_head": 128,
    "mamba_d_state": 256, "mamba_n_groups": 1, "mamba_rms_norm": false, "rope_theta": 1e11, "vocab_size": 130048,
    "tie_word_embeddings": false}"#;

const PUBLISHED: &[Published] = &[
    Published { name: "state-spaces/mamba-130m", architecture: Architecture::Mamba, d_model: 768, n_layer: 24 },
    Published { name: "state-spaces/mamba-370m", architecture: Architecture::Mamba, d_model: 1024, n_layer: 48 },
    Published { name: "state-spaces/mamba-790m", architecture: Architecture::Mamba, d_model: 1536, n_layer: 48 },
    Published { name: "state-spaces/mamba-1.4b", architecture: Architecture::Mamba, d_model: 2048, n_layer: 48 },
    Published { name: "state-spaces/mamba-2.8b", architecture: Architecture::Mamba, d_model: 2560, n_layer: 64 },
    Published { name: "state-spaces/mamba2-130m", architecture: Architecture::Mamba2, d_model: 768, n_layer: 24 },
    Published { name: "state-spaces/mamba2-370m", architecture: Architecture::Mamba2, d_model: 1024, n_layer: 48 },
    Published { name: "state-spaces/mamba2-780m", architecture: Architecture::Mamba2, d_model: 1536, n_layer: 48 },
    Published { name: "state-spaces/mamba2-1.3b", architecture: Architecture::Mamba2, d_model: 2048, n_layer: 48 },
    Published { name: "state-spaces/mamba2-2.7b", architecture: Architecture::Mamba2, d_model: 2560, n_layer: 64 },
    Published {
        name: "state-spaces/mamba2attn-2.7b",
        architecture: Architecture::Mamba2Attention { heads: 30, layers: &[9, 18, 27, 36, 45, 56] },
        d_model: 2560,
        n_layer: 64,
    },
    Published {
        name: "state-spaces/transformerpp-2.7b",
        architecture: Architecture::TransformerPlusPlus { heads: 20 },
        d_model: 2560,
        n_layer: 32,
    },
    Published { name: "tiiuae/falcon-mamba-7b", architecture: Architecture::FalconMamba, d_model: 4096, n_layer: 64 },
    Published {
        name: "mistralai/Mamba-Codestral-7B-v0.1",
        architecture: Architecture::Codestral,
        d_model: 4096,
        n_layer: 64,
    },
    Published {
        name: "tiiuae/Falcon-H1-Tiny-90M-Base",
        architecture: Architecture::Hybrid { config: FALCON_H1_TINY },
        d_model: 512,
        n_layer: 24,
    },
    Published {
        name: "tiiuae/Falcon-H1-0.5B-Base",
        architecture: Architecture::Hybrid { config: FALCON_H1_0_5B },
        d_model: 1024,
        n_layer: 36,
    },
    Published {
        name: "tiiuae/Falcon-H1-1.5B-Base",
        architecture: Architecture::Hybrid { config: FALCON_H1_1_5B },
        d_model: 2048,
        n_layer: 24,
    },
    Published {
        name: "tiiuae/Falcon-H1-7B-Base",
        architecture: Architecture::Hybrid { config: FALCON_H1_7B },
        d_model: 3072,
        n_layer: 44,
    },
    Published {
        name: "Zyphra/Zamba2-1.2B",
        architecture: Architecture::Hybrid { config: ZAMBA2_1_2B },
        d_model: 2048,
        n_layer: 38,
    },
    Published {
        name: "Zyphra/Zamba2-2.7B",
        architecture: Architecture::Hybrid { config: ZAMBA2_2_7B },
        d_model: 2560,
        n_layer: 54,
    },
    Published {
        name: "nvidia/Nemotron-H-8B-Base-8K",
        architecture: Architecture::Hybrid { config: NEMOTRON_H_8B },
        d_model: 4096,
        n_layer: 52,
    },
    Published {
        name: "ibm-ai-platform/Bamba-9B-v1",
        architecture: Architecture::Hybrid { config: BAMBA_9B },
        d_model: 4096,
        n_layer: 32,
    },
    Published {
        name: "EleutherAI/pythia-70m",
        architecture: Architecture::Pythia { heads: 8 },
        d_model: 512,
        n_layer: 6,
    },
    Published {
        name: "EleutherAI/pythia-160m",
        architecture: Architecture::Pythia { heads: 12 },
        d_model: 768,
        n_layer: 12,
    },
    Published {
        name: "EleutherAI/pythia-410m",
        architecture: Architecture::Pythia { heads: 16 },
        d_model: 1024,
        n_layer: 24,
    },
    Published {
        name: "EleutherAI/pythia-1b",
        architecture: Architecture::Pythia { heads: 8 },
        d_model: 2048,
        n_layer: 16,
    },
    Published {
        name: "EleutherAI/pythia-1.4b",
        architecture: Architecture::Pythia { heads: 16 },
        d_model: 2048,
        n_layer: 24,
    },
    Published {
        name: "EleutherAI/pythia-2.8b",
        architecture: Architecture::Pythia { heads: 32 },
        d_model: 2560,
        n_layer: 32,
    },
];

/// Owners that publish weights without a tokenizer, and the repository whose `tokenizer.json` their models were trained with.
const TOKENIZERS: &[(&str, &str)] = &[("state-spaces", GPT_NEOX)];

/// The repository whose tokenizer most published models share.
pub const GPT_NEOX: &str = "EleutherAI/gpt-neox-20b";

/// The repository that has the tokenizer of `repository` (`owner/name`), where that one has none itself.
pub fn tokenizer_repository(repository: &str) -> Option<&'static str> {
    let owner = repository.split('/').next();
    TOKENIZERS.iter().find(|(known, _)| Some(*known) == owner).map(|(_, tokenizer)| *tokenizer)
}

/// The model of this short name (`mamba2-2.7b`) or repository (`state-spaces/mamba2-2.7b`).
pub fn find_published(name: &str) -> Option<Published> {
    PUBLISHED.iter().copied().find(|model| model.short_name() == name || model.name == name)
}

/// The published models of the two papers with their hybrid and their Transformer, two later models of 7 billion parameters, and the
/// Pythia models as Transformers of their sizes, trained on the same data.
pub fn published() -> &'static [Published] {
    PUBLISHED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_model_has_a_tokenizer_somewhere() {
        assert_eq!(tokenizer_repository("state-spaces/mamba2-2.7b"), Some("EleutherAI/gpt-neox-20b"));
        assert_eq!(tokenizer_repository("EleutherAI/pythia-70m"), None, "it has one itself");
    }

    /// Sizes as the papers and the hub's pages give them.
    #[test]
    fn published_models_have_about_the_parameters_in_their_names() {
        // Hybrids are named more freely: `tests/hybrids.rs`.
        let named = |model: &&Published| !matches!(model.architecture, Architecture::Hybrid { .. });
        for published in published().iter().filter(named) {
            let parameters = published.config().unwrap().parameters() as f64;
            let size = published.short_name().rsplit('-').next().unwrap();
            let (number, unit) = size.split_at(size.len() - 1);
            let named: f64 = number.parse::<f64>().unwrap() * if unit == "b" { 1e9 } else { 1e6 };
            assert!((parameters / named - 1.0).abs() < 0.06, "{}: {parameters}", published.name);
        }
        let mamba2 = published().iter().find(|model| model.name == "state-spaces/mamba2-2.7b").unwrap();
        assert_eq!(
            (mamba2.config().unwrap().vocab_size, mamba2.config().unwrap().layers[0].d_inner(2560)),
            (50288, 5120)
        );
        let hybrid = find_published("mamba2attn-2.7b").unwrap().config().unwrap();
        let attention = hybrid.layers.iter().filter(|layer| layer.kind() == "attention").count();
        assert_eq!((hybrid.n_layer(), attention, hybrid.layers[9].d_inner(2560)), (64, 6, 3840));
        let transformer = find_published("transformerpp-2.7b").unwrap().config().unwrap();
        assert_eq!((transformer.n_layer(), transformer.layers[0].mlp.as_ref().unwrap().width), (32, 6912));
    }
}
