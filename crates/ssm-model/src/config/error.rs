use hint::Hint;
use thiserror::Error;

/// Why a `config.json` was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not JSON, or not an object.
    #[error("not a JSON object: {0}")]
    Json(String),
    /// Neither dialect.
    #[error("neither `d_model` (mamba_ssm) nor `model_type` (transformers) is set; found {}", .keys.join(", "))]
    UnknownDialect {
        /// What is set instead.
        keys: Vec<String>,
    },
    /// A setting that the model cannot be built without.
    #[error("`{key}` is missing")]
    Missing {
        /// Setting, with its parent.
        key: String,
    },
    /// A setting of the wrong type.
    #[error("`{key}` must be {expected}, got {got}")]
    Type {
        /// Setting, with its parent.
        key: String,
        /// What fits.
        expected: &'static str,
        /// Its value, as JSON.
        got: String,
    },
    /// A setting that is understood and not implemented.
    #[error("`{key}` = {value} is not supported; supported: {supported}")]
    Unsupported {
        /// Setting, with its parent.
        key: String,
        /// Its value, as JSON.
        value: String,
        /// What is supported.
        supported: &'static str,
    },
    /// A setting that occurs twice; which of the two is meant is unknown.
    #[error("`{key}` is set twice")]
    Twice {
        /// Setting.
        key: String,
    },
    /// Settings that this crate does not know.
    #[error("unknown setting{} {}", if .keys.len() == 1 { "" } else { "s" }, quoted(.keys))]
    Unknown {
        /// All of them, each with its parent.
        keys: Vec<String>,
    },
    /// Two settings that contradict each other, or a size out of range.
    #[error("{0}")]
    Sizes(String),
}

impl ConfigError {
    /// What is wrong with the model, in two or three words.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Json(_) => "damaged model",
            Self::UnknownDialect { .. } | Self::Unsupported { .. } | Self::Unknown { .. } => "unsupported model",
            Self::Missing { .. } | Self::Type { .. } | Self::Twice { .. } | Self::Sizes(_) => "wrong config.json",
        }
    }
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Json(_) => "the file may be truncated or a Git LFS pointer; download it again".into(),
            Self::UnknownDialect { .. } => {
                "use a checkpoint of mamba_ssm, or of transformers with model_type mamba, mamba2, falcon_mamba, gpt_neox, granitemoehybrid, \
                 bamba, nemotron_h, falcon_h1, jamba or zamba2".into()
            }
            Self::Missing { key } => format!("add `{key}`: a guess would make another model"),
            Self::Type { .. } | Self::Sizes(_) => "compare the file with the one that was published".into(),
            Self::Unsupported { .. } => "this model computes something that is not implemented here".into(),
            Self::Twice { .. } => "remove one of the two".into(),
            Self::Unknown { .. } => {
                "a setting that is not understood may change the model; remove it only if upstream ignores it".into()
            }
        })
    }
}

fn quoted(keys: &[String]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    keys.join(", ")
}
