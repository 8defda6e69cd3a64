//! Settings that change nothing of what a model computes from given tokens, in one table. Every other setting is read or refused.
//!
//! What versions 4.39 to 5.24 of transformers write was looked up in their `configuration_utils.py`.

use serde_json::json;

use super::error::ConfigError;
use super::fields::Fields;

/// In every dialect: what `PreTrainedConfig` of transformers holds, and what tools write into any `config.json`.
pub(super) const COMMON: &[&str] = &[
    // Bookkeeping: where it comes from, which class and which kernels upstream loads it with, in which precision.
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_commit_hash",
    "_experts_implementation",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "auto_map",
    "custom_pipelines",
    "dtype",
    "experts_implementation",
    "name_or_path",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_bfloat16",
    "xla_device",
    // What a call returns, and in how many pieces it is computed.
    "chunk_size_feed_forward",
    "logits_to_keep",
    "num_logits_to_keep",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "use_cache",
    // Training, and heads for classes, which a language model has not.
    "finetuning_task",
    "id2label",
    "initializer_range",
    "label2id",
    "num_labels",
    "problem_type",
    "task_specific_params",
    "tf_legacy_loss",
    // Rotary positions have no table that could end, and a recurrence has none.
    "max_position_embeddings",
    // Generation: which tokens are special, and how the next one is drawn.
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "is_decoder",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "pad_token_id",
    "prefix",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];

/// `MambaConfig`, `FalconMambaConfig` and `Mamba2Config` of transformers: initialisation of new weights, choices among kernels, and
/// leftovers of conversion scripts. `norm_before_gate` occurs in some published files and is read by nothing upstream: the gate always
/// comes first.
pub(super) const MAMBA: &[&str] = &[
    "chunk_size",
    "fused_add_norm",
    "norm_before_gate",
    "pad_vocab_size_multiple",
    "rescale_prenorm_residual",
    "residual_in_fp32",
    "time_step_floor",
    "time_step_init_scheme",
    "time_step_max",
    "time_step_min",
    "time_step_rank",
    "time_step_scale",
    "use_associative_scan",
    "use_falcon_mambapy",
    "use_mambapy",
];

/// What `MambaConfig` and `Mamba2Config` of flash-linear-attention hold besides: initialisation of new weights, and choices among kernels
/// and losses.
pub(super) const FLASH_LINEAR_ATTENTION: &[&str] = &[
    "A_init_range",
    "conv_init",
    "dt_init_floor",
    "dt_max",
    "dt_min",
    "fuse_cross_entropy",
    "fuse_linear_cross_entropy",
    "fuse_norm",
    "use_l2warp",
];

/// `GPTNeoXConfig` of transformers: training.
pub(super) const GPT_NEOX: &[&str] = &[
    "attention_dropout",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "hidden_dropout",
    "hidden_dropout_prob",
];

/// The hybrids of transformers: training, initialisation of new weights, choices among kernels, settings of experts where there are none.
pub(super) const HYBRIDS: &[&str] = &[
    "attention_dropout",
    "hidden_dropout",
    "intermediate_size",
    "mamba_chunk_size",
    "mamba_norm_before_gate",
    "mlp_expansion_factor",
    "normalization_function",
    "num_experts_per_tok",
    "output_router_logits",
    "partial_rotary_factor",
    "router_aux_loss_coef",
    "time_step_floor",
    "time_step_max",
    "time_step_min",
    "time_step_rank",
    "use_associative_scan",
    "use_mamba_kernels",
    "use_mambapy",
    "z_loss_coefficient",
];

/// `NemotronHConfig` of transformers beside [`HYBRIDS`]: its experts, its second head, and keys that nothing upstream reads.
pub(super) const NEMOTRON_H: &[&str] = &[
    "chunk_size",
    "expand",
    "mamba_dt_init_floor",
    "mamba_dt_limit",
    "mamba_dt_max",
    "mamba_expand",
    "mamba_proj_bias",
    "mamba_ssm_cache_dtype",
    "moe_intermediate_size",
    "moe_latent_size",
    "moe_shared_expert_intermediate_size",
    "moe_shared_expert_overlap",
    "mtp_hybrid_override_pattern",
    "mtp_layers_block_type",
    "n_group",
    "n_routed_experts",
    "n_shared_experts",
    "norm_topk_prob",
    "rescale_prenorm_residual",
    "residual_in_fp32",
    "routed_scaling_factor",
    "time_step_limit",
    "topk_group",
];

/// `Zamba2Config` of transformers beside [`HYBRIDS`]: choices among kernels, and sizes that follow from others. Its MLPs have adapters, whatever
/// `use_shared_mlp_adapter` says.
pub(super) const ZAMBA2: &[&str] =
    &["chunk_size", "kv_channels", "num_query_groups", "use_mem_eff_path", "use_shared_mlp_adapter"];

/// `MambaConfig` of `mamba_ssm`: kernels, the precision of the residual, which is float32 here in any case, and the sizes of
/// attention where no layer has it.
pub(super) const STATE_SPACES: &[&str] = &["residual_in_fp32", "fused_add_norm", "attn_cfg"];

/// Its `ssm_cfg`: initialisation of new weights, and choices among kernels.
pub(super) const STATE_SPACES_MIXER: &[&str] = &[
    "A_init_range",
    "chunk_size",
    "conv_init",
    "dt_init",
    "dt_init_floor",
    "dt_max",
    "dt_min",
    "dt_scale",
    "sequence_parallel",
    "use_fast_path",
    "use_mem_eff_path",
];

/// Settings of [`COMMON`]'s kind that change nothing with one value alone; refuses the others.
pub(super) fn only_without_effect(fields: &mut Fields) -> Result<(), ConfigError> {
    for key in ["add_cross_attention", "is_encoder_decoder", "tie_encoder_decoder"] {
        fields.only(key, &[json!(false)], "false (no encoder)")?;
    }
    fields.only("cross_attention_hidden_size", &[], "null (no encoder)")?;
    fields.only("pruned_heads", &[json!({})], "{} (every head is there)")?;
    fields.only("quantization_config", &[], "null (weights as floats)")?;
    fields.only("compression_config", &[], "null (weights as floats)")
}
