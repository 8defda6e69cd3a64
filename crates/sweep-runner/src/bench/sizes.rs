//! Whose sizes are measured: those of a published model, or those of a checkpoint's `config.json`.

use std::path::Path;

use ssm_model::ModelConfig;
use ssm_model::catalog::{self, Architecture, Published};

use super::BenchError;

/// A model by its sizes; its weights are random.
pub(super) struct Sizes {
    /// As tables show it.
    pub(super) name: String,
    pub(super) config: ModelConfig,
    /// Two layers of the same kind in shapes that the fast kernels are made for, to be held against the CPU.
    pub(super) small: ModelConfig,
    #[cfg(feature = "peer")]
    pub(super) published: Option<Published>,
}

impl Sizes {
    /// The sizes that `name` stands for: a published model by its short name, or a folder with a `config.json`.
    pub(super) fn find(name: &str) -> Result<Self, BenchError> {
        match catalog::published().iter().find(|published| published.short_name() == name) {
            Some(published) => Self::published(*published).map_err(BenchError::Config),
            None if name.contains('/') || Path::new(name).is_dir() => Self::folder(name),
            None => {
                let known: Vec<_> = catalog::published().iter().map(Published::short_name).collect();
                let known = known.join(", ");
                Err(BenchError::Name(format!(
                    "no published model is called `{name}`, and no folder; there are {known}, and the path of any folder with a config.json"
                )))
            }
        }
    }

    fn published(published: Published) -> Result<Self, ssm_model::ConfigError> {
        // Of width 256, or with four heads as wide as the model's own.
        let (d_model, architecture) = match published.architecture {
            Architecture::Pythia { heads } => (4 * published.d_model / heads, Architecture::Pythia { heads: 4 }),
            Architecture::Mamba2Attention { .. } => (256, Architecture::Mamba2Attention { heads: 4, layers: &[1] }),
            Architecture::TransformerPlusPlus { .. } => (256, Architecture::TransformerPlusPlus { heads: 4 }),
            other => (256, other),
        };
        Ok(Self {
            name: published.short_name().to_owned(),
            config: published.config()?,
            small: Published { d_model, architecture, n_layer: 2, ..published }.config()?,
            #[cfg(feature = "peer")]
            published: Some(published),
        })
    }

    fn folder(path: &str) -> Result<Self, BenchError> {
        let file = Path::new(path).join("config.json");
        let text = std::fs::read_to_string(&file)
            .map_err(|error| BenchError::Name(format!("cannot read {}: {error}", file.display())))?;
        let config = ModelConfig::from_json(&text).map_err(BenchError::Config)?;
        let mut small = config.clone();
        small.layers.truncate(2);
        let name = Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy());
        Ok(Self {
            name: name.into_owned(),
            config,
            small,
            #[cfg(feature = "peer")]
            published: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_a_published_model_or_of_a_folder() {
        let published = Sizes::find("mamba2-130m").unwrap();
        assert_eq!((published.config.n_layer(), published.small.n_layer(), published.small.d_model), (24, 2, 256));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("config.json"),
            r#"{"d_model": 64, "n_layer": 5, "vocab_size": 100, "ssm_cfg": {"layer": "Mamba2", "headdim": 32}}"#,
        )
        .unwrap();
        let own = Sizes::find(&folder.path().to_string_lossy()).unwrap();
        assert_eq!((own.config.n_layer(), own.small.n_layer(), own.config.d_model), (5, 2, 64));
        for (name, said) in [("mamba2-2b", "mamba2-2.7b"), ("./nowhere", "config.json")] {
            let error = Sizes::find(name).err().unwrap().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
