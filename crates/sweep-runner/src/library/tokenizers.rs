//! The tokenizers of models: their own, or one that an experiment names beside the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use evaluation::tasks::Data;
use evaluation::tokenizer::{Tokenizer, TokenizerError};
use reduction_strategies::spelling::nearest;
use ssm_model::catalog::GPT_NEOX;

use super::advice::TOKENIZER_FORMS;
use super::hub::{Hub, HubModel, Parts};
use super::{LibraryError, Source, UNKNOWN, is_of_state_spaces, random, read, source};
use crate::config::CatalogError;
use crate::home;

/// Tokenizers by the reference of the model, kept once read.
#[derive(Default)]
pub(super) struct Tokenizers {
    read: Mutex<BTreeMap<String, Tokenizer>>,
    /// The `tokenizer.json` of those models that are to use another than their own.
    chosen: Mutex<BTreeMap<String, PathBuf>>,
}

impl Tokenizers {
    /// From here on `reference` uses the tokenizer that `named` says, or its own.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(super) fn choose(
        &self,
        reference: &str,
        named: Option<&str>,
        data: &Data,
        hub: &Hub,
    ) -> Result<(), LibraryError> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).remove(reference);
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).remove(reference);
        hub.forget_tokenizer(reference);
        let Some(named) = named else { return Ok(()) };
        let file = find(reference, named, hub)?;
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).insert(reference.to_owned(), file);
        self.with(reference, data, hub, |_| ())
    }

    /// What of a model is wanted besides: its own tokenizer, unless it uses another.
    pub(super) fn parts(&self, reference: &str) -> Parts {
        let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if chosen.contains_key(reference) { Parts::Weights } else { Parts::All }
    }

    /// Runs `f` with the tokenizer of a model.
    ///
    /// # Errors
    /// No such model, or no tokenizer for it that can be read.
    pub(super) fn with<R>(
        &self,
        reference: &str,
        data: &Data,
        hub: &Hub,
        f: impl FnOnce(&Tokenizer) -> R,
    ) -> Result<R, LibraryError> {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(reference) {
            let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner).get(reference).cloned();
            let tokenizer = match chosen {
                Some(file) => from_file(reference, &file).map_err(|error| not_one(&file, error))?,
                None => own(reference, data, hub)?,
            };
            known.insert(reference.to_owned(), tokenizer);
        }
        Ok(f(&known[reference]))
    }
}

/// The tokenizer that comes with a model.
fn own(reference: &str, data: &Data, hub: &Hub) -> Result<Tokenizer, LibraryError> {
    let from_json = |text: &str| Tokenizer::from_json(text).map_err(|error| refused(reference, error));
    match source(reference, hub, Parts::All)? {
        Source::Builtin(builtin) => from_json(builtin.tokenizer_json),
        Source::Folder(folder) => from_file(reference, &of_folder(reference, &folder, data)?),
        Source::Hub(HubModel { tokenizer: Some(tokenizer), .. }) => from_file(reference, &tokenizer),
        Source::Hub(HubModel { folder, .. }) => Err(none_in(reference, &folder)),
        Source::Random(_) => from_json(&random::tokenizer_json(reference, data, hub)?),
    }
}

/// A `tokenizer.json` with the `tokenizer_config.json` beside it, where there is one.
fn from_file(reference: &str, file: &Path) -> Result<Tokenizer, LibraryError> {
    let config = file.with_file_name("tokenizer_config.json");
    let tokenizer = Tokenizer::from_json(&read(file)?).map_err(|error| refused(reference, error))?;
    if !config.is_file() {
        return Ok(tokenizer);
    }
    tokenizer.with_config(&read(&config)?).map_err(|error| refused(reference, error))
}

/// The `tokenizer.json` of a model folder. The state-spaces repositories hold none: theirs is that of GPT-NeoX, from the data
/// directory.
fn of_folder(reference: &str, folder: &Path, data: &Data) -> Result<PathBuf, LibraryError> {
    let own = folder.join("tokenizer.json");
    if own.exists() {
        return Ok(own);
    }
    let neox = data.neox_tokenizer().filter(|path| path.is_file() && is_of_state_spaces(folder));
    neox.ok_or_else(|| none_in(reference, folder))
}

/// The file that `tokenizer` of a model means.
fn find(reference: &str, named: &str, hub: &Hub) -> Result<PathBuf, LibraryError> {
    let unknown =
        |hint: String| CatalogError { message: format!("no tokenizer `{named}`"), hint: Some(hint), label: UNKNOWN };
    if let Some(repository) = named.strip_prefix("hub:") {
        return of_hub(reference, repository, hub);
    }
    let path = home::expand(Path::new(named)).map_err(unknown)?;
    if path.is_dir() {
        let file = path.join("tokenizer.json");
        return if file.exists() {
            Ok(file)
        } else {
            let message = format!("{} holds no tokenizer.json", path.display());
            Err(CatalogError { message, hint: Some(TOKENIZER_FORMS.to_owned()), label: "without tokenizer" }.into())
        };
    }
    if path.exists() {
        return Ok(path);
    }
    if names_repository(named) {
        return of_hub(reference, named, hub);
    }
    Err(unknown(likely(named).unwrap_or_else(|| TOKENIZER_FORMS.to_owned())).into())
}

fn of_hub(reference: &str, repository: &str, hub: &Hub) -> Result<PathBuf, LibraryError> {
    let instead = "name a folder with tokenizer.json, or the file itself, as `tokenizer`";
    hub.tokenizer(reference, repository, instead).map_err(|error| {
        let hint = likely(repository).or(error.hint);
        CatalogError { hint, ..error }.into()
    })
}

/// Whether a text that is no path reads as `owner/name` or `owner/name@revision`.
fn names_repository(text: &str) -> bool {
    let name = text.split_once('@').map_or(text, |(name, _)| name);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let part = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(allowed);
    let is_file = Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    !is_file && name.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

/// The most used tokenizer, where what was written is nearly its name.
fn likely(named: &str) -> Option<String> {
    let short = GPT_NEOX.split('/').next_back();
    let near = nearest(named, std::iter::once(GPT_NEOX).chain(short)).filter(|_| named != GPT_NEOX);
    near.map(|_| format!("did you mean `{GPT_NEOX}`?"))
}

fn refused(reference: &str, error: TokenizerError) -> LibraryError {
    LibraryError::Tokenizer { reference: reference.to_owned(), error }
}

/// The error of a file that was named as tokenizer: not the one that a model folder should hold.
fn not_one(file: &Path, error: LibraryError) -> LibraryError {
    match error {
        LibraryError::Tokenizer { error: TokenizerError::Unreadable(problem), .. } => {
            LibraryError::NotATokenizer { file: file.display().to_string(), problem }
        }
        error => error,
    }
}

fn none_in(reference: &str, folder: &Path) -> LibraryError {
    LibraryError::NoTokenizer { reference: reference.to_owned(), folder: folder.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_paths() {
        for name in ["EleutherAI/gpt-neox-20b", "a/b.c@0123abc", "a/b@refs/pr/1"] {
            assert!(names_repository(name), "{name}");
        }
        for path in ["./a/b", "../b", "/a/b", "a", "a/b/c", "a/tokenizer.json", "builtin:a/b", "a/", "/a", ""] {
            assert!(!names_repository(path), "{path}");
        }
    }
}
