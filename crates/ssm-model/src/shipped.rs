//! Models that come with the program as files: too large to be part of it, small enough for the repository.
//!
//! They are in the folder `crates/ssm-model/shipped` of the repository. A program that was built there finds it; an installed program
//! finds a copy in its data folder, or where the environment variable `SWEEP_MODELS` says.

mod digests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use hint::Hint;
use thiserror::Error;

use digests::DIGESTS;

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
    /// As [`path`].
    pub fn folder(&self) -> Result<PathBuf, NotShipped> {
        path(self.name)
    }
}

/// The path of a shipped file or folder: `mamba2-books`, or `books-tasks/books_text.jsonl.bz2`. Every file in it is what it was when it
/// was packed: under its name a reader expects the model or the task that others have.
///
/// # Errors
/// The shipped files are not on this machine, this one is not among them, or a file is another one.
pub fn path(name: &str) -> Result<PathBuf, NotShipped> {
    let path = find_in(name, env::var_os(VARIABLE), &places())?;
    check(name, &path)?;
    Ok(path)
}

/// Refuses a file that differs from the one that was packed, one that is missing, and one that was added to a folder.
fn check(name: &str, path: &Path) -> Result<(), NotShipped> {
    let unreadable = |path: &Path, error: io::Error| NotShipped::Unreadable {
        path: path.display().to_string(),
        error: error.to_string(),
    };
    let below = |file: &str| match file.strip_prefix(name)? {
        "" => Some(path.to_owned()),
        rest => rest.strip_prefix('/').map(|rest| path.join(rest)),
    };
    let packed: Vec<(PathBuf, &str)> =
        DIGESTS.iter().filter_map(|(file, digest)| Some((below(file)?, *digest))).collect();
    let differs = |file: &Path, what| NotShipped::Differs {
        name: name.to_owned(),
        file: file.display().to_string(),
        what,
        path: path.display().to_string(),
    };
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(|error| unreadable(path, error))? {
            let file = entry.map_err(|error| unreadable(path, error))?.path();
            if packed.iter().all(|(known, _)| *known != file) {
                return Err(differs(&file, "is not part of it"));
            }
        }
    }
    for (file, digest) in packed {
        if !file.is_file() {
            return Err(differs(&file, "is missing"));
        }
        let mut hasher = blake3::Hasher::new();
        let read = fs::File::open(&file).and_then(|open| hasher.update_reader(open).map(|_| ()));
        read.map_err(|error| unreadable(&file, error))?;
        if hasher.finalize().to_hex().as_str() != digest {
            return Err(differs(&file, "is not the file that was shipped"));
        }
    }
    Ok(())
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
    looked.iter().map(|folder| folder.join(name)).find(|path| path.exists()).ok_or_else(|| NotShipped::Absent {
        name: name.to_owned(),
        looked: looked.iter().map(|folder| folder.display().to_string()).collect(),
        named: named.is_some(),
    })
}

/// A file that comes with the program and is not on this machine as it was shipped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotShipped {
    /// It is not there.
    #[error("`{name}` comes with the program as files, which are not in {}", looked.join(" and not in "))]
    Absent {
        /// The file or folder.
        name: String,
        /// Folders that were looked at.
        looked: Vec<String>,
        /// Whether the environment named the folder.
        named: bool,
    },
    /// It is there and has been changed.
    #[error("`{name}` is not what came with the program: {file} {what}")]
    Differs {
        /// The file or folder.
        name: String,
        /// The file that differs.
        file: String,
        /// How it differs.
        what: &'static str,
        /// The path under which the file or folder can be used as it is.
        path: String,
    },
    /// It cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// Why.
        error: String,
    },
}

impl NotShipped {
    /// A few words for the place where it was asked for.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "not on this machine",
            Self::Differs { .. } => "changed",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

/// Where the files are to be had.
const ORIGINAL: &str = "the folder `crates/ssm-model/shipped` of the repository";

impl Hint for NotShipped {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Absent { named: true, .. } => Some(format!("{VARIABLE} must name {ORIGINAL}, or a copy of it")),
            Self::Absent { named: false, .. } => Some(format!("set {VARIABLE} to {ORIGINAL}, or a copy of it")),
            Self::Differs { path, .. } => {
                Some(format!("copy {ORIGINAL} again; to use what is there as it is, write its path: {path}"))
            }
            Self::Unreadable { .. } => None,
        }
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
        let NotShipped::Absent { looked, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*looked, [without.display().to_string()]);
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

    #[test]
    fn every_file_of_the_repository_is_what_was_packed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shipped");
        for model in shipped() {
            assert_eq!(check(model.name, &folder.join(model.name)), Ok(()));
        }
        assert_eq!(check("books-tasks", &folder.join("books-tasks")), Ok(()));
        let files = shipped().len() * 4 + fs::read_dir(folder.join("books-tasks")).unwrap().count();
        assert_eq!(DIGESTS.len(), files);
    }

    /// A flipped byte gives other numbers and no other sign.
    #[test]
    fn a_changed_model_or_task_is_refused_by_name() {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("shipped");
        let copy = tempfile::tempdir().unwrap();
        let model = copy.path().join("mamba2-books");
        fs::create_dir(&model).unwrap();
        for entry in fs::read_dir(original.join("mamba2-books")).unwrap() {
            let file = entry.unwrap().path();
            fs::copy(&file, model.join(file.file_name().unwrap())).unwrap();
        }
        let refusal = || {
            let error = check("mamba2-books", &model).unwrap_err();
            assert_eq!(error.label(), "changed");
            let hint = error.hint().unwrap();
            assert!(hint.ends_with(&format!("write its path: {}", model.display())), "{hint}");
            error.to_string().replace(&format!("{}/", model.display()), "")
        };
        assert_eq!(check("mamba2-books", &model), Ok(()));
        let weights = model.join("model.safetensors.shuffled.zst");
        let mut bytes = fs::read(&weights).unwrap();
        bytes[6_000_000] ^= 1;
        fs::write(&weights, &bytes).unwrap();
        let changed = "model.safetensors.shuffled.zst is not the file that was shipped";
        assert_eq!(refusal(), format!("`mamba2-books` is not what came with the program: {changed}"));
        bytes[6_000_000] ^= 1;
        fs::write(&weights, &bytes).unwrap();
        assert_eq!(check("mamba2-books", &model), Ok(()));
        // The weights that are read first are those of a plain file.
        fs::write(model.join("model.safetensors"), "").unwrap();
        assert!(refusal().ends_with("model.safetensors is not part of it"));
        fs::remove_file(model.join("model.safetensors")).unwrap();
        fs::remove_file(model.join("tokenizer_config.json")).unwrap();
        assert!(refusal().ends_with("tokenizer_config.json is missing"));
        let task = copy.path().join("books_text.jsonl.bz2");
        fs::write(&task, "{}").unwrap();
        assert!(check("books-tasks/books_text.jsonl.bz2", &task).is_err());
    }
}
