//! Tasks in the tokens of a model.

use std::sync::Arc;

use evaluation::tasks::Task;

use crate::config::Experiment;
use crate::library::{Library, LibraryError};

/// Tasks that were loaded, by model and name: the tokens depend on the model's tokenizer.
#[derive(Default)]
pub(super) struct Tasks(Vec<((String, String), Arc<Task>)>);

impl Tasks {
    /// A task that was loaded before.
    pub(super) fn loaded(&self, model: &str, name: &str) -> Option<&Task> {
        self.0.iter().find(|((known_model, known), _)| known_model == model && known == name).map(|(_, task)| &**task)
    }

    pub(super) fn get(
        &mut self,
        library: &Library,
        model: &str,
        name: &str,
        experiment: &Experiment,
    ) -> Result<&Task, LibraryError> {
        let key = (model.to_owned(), name.to_owned());
        if let Some(index) = self.0.iter().position(|(known, _)| *known == key) {
            return Ok(&self.0[index].1);
        }
        let planned = experiment.tasks.iter().find(|planned| planned.name == name);
        let planned = planned.unwrap_or_else(|| unreachable!("cells are of the experiment's tasks"));
        let task = library.load_task(model, &planned.reference, experiment.items())?;
        self.0.push((key, task));
        Ok(&self.0[self.0.len() - 1].1)
    }
}
