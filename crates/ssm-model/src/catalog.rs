//! Models known by name: those embedded in the program, and the published ones with their sizes.

use crate::checkpoint::{Checkpoint, CheckpointError};

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

const BUILTINS: &[Builtin] = &[
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
    /// Whether its mixer is the one of Mamba-2.
    pub mamba2: bool,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layer: usize,
}

const PUBLISHED: &[Published] = &[
    Published { name: "state-spaces/mamba-130m", mamba2: false, d_model: 768, n_layer: 24 },
    Published { name: "state-spaces/mamba-370m", mamba2: false, d_model: 1024, n_layer: 48 },
    Published { name: "state-spaces/mamba-790m", mamba2: false, d_model: 1536, n_layer: 48 },
    Published { name: "state-spaces/mamba-1.4b", mamba2: false, d_model: 2048, n_layer: 48 },
    Published { name: "state-spaces/mamba-2.8b", mamba2: false, d_model: 2560, n_layer: 64 },
    Published { name: "state-spaces/mamba2-130m", mamba2: true, d_model: 768, n_layer: 24 },
    Published { name: "state-spaces/mamba2-370m", mamba2: true, d_model: 1024, n_layer: 48 },
    Published { name: "state-spaces/mamba2-780m", mamba2: true, d_model: 1536, n_layer: 48 },
    Published { name: "state-spaces/mamba2-1.3b", mamba2: true, d_model: 2048, n_layer: 48 },
    Published { name: "state-spaces/mamba2-2.7b", mamba2: true, d_model: 2560, n_layer: 64 },
];

/// The published models of the two papers.
pub fn published() -> &'static [Published] {
    PUBLISHED
}
