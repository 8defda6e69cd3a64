//! Reads a `config.json` of any dialect.

use super::error::ConfigError;
use super::model::ModelConfig;
use super::{fields, json, state_spaces, transformers};

impl ModelConfig {
    /// Reads a `config.json` of either dialect: the one of `mamba_ssm` (`d_model`, `ssm_cfg`, ...) or the one of
    /// transformers (`model_type` mamba, mamba2, `falcon_mamba`, `gpt_neox`, or a hybrid: `granitemoehybrid`, `bamba`, `nemotron_h`,
    /// `falcon_h1`, `jamba`, `zamba2`).
    ///
    /// `Infinity`, `-Infinity` and `NaN`, which Python writes into JSON, are understood, also as texts; a byte-order mark is
    /// skipped. A setting that is null counts as absent.
    ///
    /// # Errors
    /// Text that is not JSON, a setting that is missing, malformed, set twice, unknown (all of them at once) or that this crate
    /// does not implement (always by name), and sizes that do not fit each other.
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
}
