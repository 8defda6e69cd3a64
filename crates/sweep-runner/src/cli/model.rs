//! One model with its tokenizer, for a program that holds this one.

use std::path::PathBuf;

use miette::miette;
use ssm_model::LanguageModel;

use super::data::DataArgs;
use super::device::DeviceArgs;
use super::embedded::{Problem, begin};
use super::refused;
use crate::config::Catalog;
use crate::library::{Downloads, Library};

/// A model that is loaded.
pub struct OpenModel {
    /// The model.
    pub model: LanguageModel,
    reference: String,
    library: Library,
}

/// Loads a model as experiments name it; `device` and `dtype` are what `--device` and `--dtype` may be.
///
/// # Errors
/// No such model or device, or files that are damaged.
pub fn open_model(
    reference: &str,
    device: &str,
    dtype: Option<&str>,
    data_dir: Option<PathBuf>,
) -> Result<OpenModel, Problem> {
    begin()?;
    let library = DataArgs::at(data_dir).library(Downloads::Missing)?;
    let (placement, _) = DeviceArgs::named(device, dtype).open()?;
    library.model(reference).map_err(|error| {
        refused(match error.hint {
            Some(hint) => miette!(help = hint, "{}", error.message),
            None => miette!("{}", error.message),
        })
    })?;
    let model = library.load_model(reference, &placement).map_err(refused)?;
    Ok(OpenModel { model, reference: reference.to_owned(), library })
}

impl OpenModel {
    /// Token ids of a text, as a task encodes it.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Problem> {
        Ok(self.library.encode(&self.reference, text).map_err(refused)?)
    }

    /// The text of token ids.
    ///
    /// # Errors
    /// An id that the tokenizer does not have.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Problem> {
        Ok(self.library.decode(&self.reference, ids).map_err(refused)?)
    }

    /// The text of one token, for people to read.
    pub fn token(&self, id: u32) -> String {
        self.library.token_texts(&self.reference, &[id]).concat()
    }
}
