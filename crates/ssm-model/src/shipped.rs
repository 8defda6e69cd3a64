//! Models that come with the program as files: too large to be part of it, small enough for the repository.
//!
//! They are in the folder `crates/ssm-model/shipped` of the repository. A program that was built there finds it; an installed program
//! finds a copy in its data folder, or where the environment variable `SWEEP_MODELS` says.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hint::Hint;
use thiserror::Error;

/// A model that comes with the program as a folder of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Name, as in `builtin:mamba2-books`; also that of its folder.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
}

/// Environment variable that names the folder of shipped files.
pub const VARIABLE: &str = "SWEEP_MODELS";

static SHIPPED: &[Shipped] = &[
    Shipped { name: "mamba-books", summary: "Mamba, 9.1 M parameters, 16 layers, trained on English novels" },
    Shipped { name: "mamba2-books", summary: "Mamba-2, 9.0 M parameters, 16 layers, trained on the same novels" },
    Shipped {
        name: "hybrid-books",
        summary: "Mamba-2 with attention in layers 5 and 11, 8.7 M parameters, 16 layers, trained on the same novels",
    },
    Shipped {
        name: "neox-books",
        summary: "Transformer control (GPT-NeoX), 10.5 M parameters, 8 layers, trained on the same novels",
    },
];

/// All models that come as files.
#[must_use]
pub fn shipped() -> &'static [Shipped] {
    SHIPPED
}

/// The model of this name, without the `builtin:`.
#[must_use]
pub fn find(name: &str) -> Option<Shipped> {
    SHIPPED.iter().copied().find(|shipped| shipped.name == name)
}

impl Shipped {
    /// The folder with its `config.json`, weights and `tokenizer.json`.
    ///
    /// # Errors
    /// The shipped files are not on this machine, or not all of them.
    pub fn folder(&self) -> Result<PathBuf, NotShipped> {
        path(self.name)
    }
}

/// The path of a shipped file or folder: `mamba2-books`, or `books-tasks/books_text.jsonl.bz2`.
///
/// # Errors
/// The shipped files are not on this machine, or this one is not among them.
pub fn path(name: &str) -> Result<PathBuf, NotShipped> {
    find_in(name, env::var_os(VARIABLE), &places())
}

/// Where the files may be when the environment does not say: beside the program, in its data folder, in the repository.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(folder) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        places.push(folder.join("shipped"));
        places.push(folder.join("../share/sweep/shipped"));
    }
    if let Some(data) = env::var_os("XDG_DATA_HOME").filter(|data| !data.is_empty()) {
        places.push(Path::new(&data).join("sweep/shipped"));
    } else if let Some(home) = env::var_os("HOME").filter(|home| !home.is_empty()) {
        places.push(Path::new(&home).join(".local/share/sweep/shipped"));
    }
    places.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("shipped"));
    places
}

fn find_in(name: &str, variable: Option<OsString>, places: &[PathBuf]) -> Result<PathBuf, NotShipped> {
    // A folder that was named is meant: another one would give other numbers without a word.
    let named = variable.filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let looked = named.as_ref().map_or(places, std::slice::from_ref);
    looked.iter().map(|folder| folder.join(name)).find(|path| path.exists()).ok_or_else(|| NotShipped {
        name: name.to_owned(),
        looked: looked.iter().map(|folder| folder.display().to_string()).collect(),
        named: named.is_some(),
    })
}

/// A file that comes with the program and is not on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{name}` comes with the program as files, which are not in {}", looked.join(" and not in "))]
pub struct NotShipped {
    /// The file or folder.
    pub name: String,
    /// Folders that were looked at.
    pub looked: Vec<String>,
    /// Whether the environment named the folder.
    pub named: bool,
}

impl Hint for NotShipped {
    fn hint(&self) -> Option<String> {
        let folder = "the folder `crates/ssm-model/shipped` of the repository, or a copy of it";
        Some(if self.named { format!("{VARIABLE} must name {folder}") } else { format!("set {VARIABLE} to {folder}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_that_is_named_is_the_only_one() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [with, without] = folders.each_ref().map(|folder| folder.path().to_owned());
        std::fs::create_dir(with.join("model")).unwrap();
        let places = [without.clone(), with.clone()];
        assert_eq!(find_in("model", None, &places), Ok(with.join("model")));
        assert_eq!(find_in("model", Some("".into()), &places), Ok(with.join("model")));
        assert_eq!(find_in("model", Some(with.clone().into()), &[]), Ok(with.join("model")));
        let error = find_in("model", Some(without.clone().into()), &places).unwrap_err();
        assert_eq!(error.looked, [without.display().to_string()]);
        assert!(error.hint().unwrap().starts_with("SWEEP_MODELS must name"));
        assert!(find_in("other", None, &places).unwrap_err().hint().unwrap().starts_with("set SWEEP_MODELS"));
    }

    #[test]
    fn every_shipped_model_is_in_the_repository() {
        for model in shipped() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shipped").join(model.name);
            assert!(crate::Checkpoint::open(&folder).is_ok(), "{}", model.name);
        }
    }
}
