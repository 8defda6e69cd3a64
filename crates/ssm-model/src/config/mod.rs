//! What a checkpoint says about its model, in whichever dialect.

mod attention;
pub(crate) mod error;
mod fields;
mod gpt_neox;
pub(crate) mod heads;
mod hybrids;
mod json;
mod model;
pub(crate) mod naming;
mod parse;
mod rope;
pub(crate) mod sizes;
mod state_spaces;
mod transformers;
mod without_effect;

pub use error::ConfigError;
pub use model::{ModelConfig, WeightSpec};
