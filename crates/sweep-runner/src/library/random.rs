//! Random weights of a published size: `random:mamba2-2.7b`, or `random:mamba2-2.7b@3` with another seed than 0.
//!
//! They prove a path and measure its cost without a download. Their scores say nothing.

use evaluation::tasks::Data;
use records::names::RANDOM;
use reduction_strategies::spelling::nearest;
use ssm_model::catalog::{self, GPT_NEOX, Published};
use ssm_model::{ConfigError, ModelConfig, RandomWeights};

use super::hub::Hub;
use super::{LibraryError, UNKNOWN};
use crate::config::CatalogError;

/// Where the tokenizer may be besides the hub.
const IN_DATA_DIR: &str =
    "name the folder that holds neox-tokenizer/20B_tokenizer.json with --data-dir or SWEEP_DATA_DIR";

/// Raised whenever a seed gives other weights than before.
const WEIGHTS_VERSION: u32 = 1;

/// A model without training.
#[derive(Clone, Copy, Debug)]
pub(super) struct RandomModel {
    published: Published,
    seed: u64,
}

impl RandomModel {
    /// The model behind a reference, if it is one of this kind.
    pub(super) fn parse(reference: &str) -> Option<Result<Self, CatalogError>> {
        reference.strip_prefix(RANDOM).map(Self::named)
    }

    fn named(name: &str) -> Result<Self, CatalogError> {
        let (name, seed) = match name.split_once('@') {
            Some((name, seed)) => (name, seed.parse().map_err(|_| not_a_seed(name, seed))?),
            None => (name, 0),
        };
        let published = catalog::published().iter().copied().find(|published| published.short_name() == name);
        let published = published.ok_or_else(|| {
            let names = catalog::published().iter().map(Published::short_name);
            CatalogError {
                label: UNKNOWN,
                message: format!("unknown published model `{name}`"),
                hint: Some(nearest(name, names).map_or_else(
                    || "write random:<short name>, for example random:mamba2-2.7b; see `sweep models`".to_owned(),
                    |near| format!("did you mean `{RANDOM}{near}`?"),
                )),
            }
        })?;
        Ok(Self { published, seed })
    }

    /// The configuration of the published model.
    pub(super) fn config(&self) -> Result<ModelConfig, ConfigError> {
        self.published.config()
    }

    /// Its weights, made when they are taken.
    pub(super) fn weights(&self) -> RandomWeights {
        RandomWeights { seed: self.seed }
    }

    /// Feeds a digest with everything that decides the weights; that of a checkpoint is made of other bytes.
    pub(super) fn update(&self, hasher: &mut blake3::Hasher) {
        let parts = format!(
            "random weights, version {WEIGHTS_VERSION}, of {} with seed {}: {}",
            self.published.name,
            self.seed,
            self.published.config_json()
        );
        hasher.update(parts.as_bytes());
    }
}

fn not_a_seed(name: &str, seed: &str) -> CatalogError {
    CatalogError {
        label: "not a seed",
        message: format!("`{seed}` is no seed of random weights"),
        hint: Some(format!("write a whole number, for example {RANDOM}{name}@1, or leave it out for 0")),
    }
}

/// `tokenizer.json` of GPT-NeoX-20B, whose tokens are those of nearly all published models: from the data directory, or from the hub
/// where none is named.
pub(super) fn tokenizer_json(reference: &str, data: &Data, hub: &Hub) -> Result<String, LibraryError> {
    let unusable = |problem: String| LibraryError::NeoxTokenizer { reference: reference.to_owned(), problem };
    let path = match (data.neox_tokenizer(), data) {
        (Some(path), _) => path,
        (None, Data::Hub(_)) => hub.tokenizer(reference, GPT_NEOX, IN_DATA_DIR)?,
        (None, _) => return Err(unusable("no data directory is named".to_owned())),
    };
    super::read(&path).map_err(|error| unusable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(reference: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        RandomModel::parse(reference).unwrap().unwrap().update(&mut hasher);
        hasher.finalize().to_hex().to_string()
    }

    #[test]
    fn a_digest_knows_model_and_seed() {
        assert_eq!(digest("random:mamba2-130m"), digest("random:mamba2-130m@0"));
        assert_ne!(digest("random:mamba2-130m"), digest("random:mamba2-130m@1"));
        assert_ne!(digest("random:mamba2-130m"), digest("random:mamba-130m"));
    }

    #[test]
    fn what_is_no_random_model_is_refused() {
        assert!(RandomModel::parse("builtin:mamba-world").is_none());
        let refusal = |reference: &str| {
            let error = RandomModel::parse(reference).unwrap().unwrap_err();
            format!("{} | {}", error.message, error.hint.unwrap())
        };
        assert_eq!(
            refusal("random:mamba2-2.8b"),
            "unknown published model `mamba2-2.8b` | did you mean `random:mamba-2.8b`?"
        );
        assert_eq!(
            refusal("random:mamba2-130m@main"),
            "`main` is no seed of random weights | write a whole number, for example random:mamba2-130m@1, or leave it out for 0"
        );
    }
}
