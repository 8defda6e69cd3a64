//! One id, one item: results are joined by them.

use std::collections::HashMap;

use super::TaskError;

/// Ids with the line on which each stands.
#[derive(Default)]
pub(super) struct Ids(HashMap<String, usize>);

impl Ids {
    /// Takes note of an id.
    ///
    /// # Errors
    /// It was there before.
    pub(super) fn add(&mut self, id: &str, file: &str, line: usize) -> Result<(), TaskError> {
        match self.0.insert(id.to_owned(), line) {
            None => Ok(()),
            Some(first) => Err(TaskError::Repeated { file: file.to_owned(), line, id: id.to_owned(), first }),
        }
    }
}
