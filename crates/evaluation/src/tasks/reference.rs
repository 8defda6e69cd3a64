//! Which task is meant: a name or a file, and the stretch of its texts that is asked.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// How the name of a file of items ends: plain, or compressed by bzip2.
const ENDINGS: [&str; 2] = [".jsonl", ".jsonl.bz2"];

/// Whether a name is that of a file of items: `NAME.jsonl` or `NAME.jsonl.bz2`. Hidden files are none.
#[must_use]
pub fn is_file_of_items(name: &str) -> bool {
    !name.starts_with('.') && stem(name).is_some()
}

/// The name without its ending; none where it is no file of items.
fn stem(name: &str) -> Option<&str> {
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).filter(|stem| !stem.is_empty())
}

/// A task as an experiment names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct TaskRef {
    /// Name of a task that the program knows, or path of a file of items.
    pub source: String,
    /// The stretch of each running text that is asked; the whole text where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
}

/// A stretch of a running text: `context` tokens, and after them the `continuation` that is scored. It starts where it does whatever
/// the length of the context, so that the same tokens are scored after contexts of several lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Cut {
    /// Tokens of the context: those directly before the continuation.
    pub context: usize,
    /// Index of the first token of the continuation in the text; at least `context`.
    pub start: usize,
    /// Tokens of the continuation.
    pub continuation: usize,
}

impl Cut {
    /// Tokens of a continuation where an experiment does not say otherwise.
    pub const CONTINUATION: usize = 256;
}

impl From<&str> for TaskRef {
    fn from(source: &str) -> Self {
        Self { source: source.to_owned(), cut: None }
    }
}

impl From<&Self> for TaskRef {
    fn from(task: &Self) -> Self {
        task.clone()
    }
}

impl TaskRef {
    /// The file of items that is named; none for a task that the program knows.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let is_file = self.source.contains('/') || stem(&self.source).is_some();
        is_file.then(|| PathBuf::from(&self.source))
    }

    /// The name in records and figures: that of the task, or of the file without folder and extension, and the length of the context
    /// where one is cut.
    #[must_use]
    pub fn name(&self) -> String {
        let own = |file: PathBuf| {
            let name = file.file_name()?.to_string_lossy().into_owned();
            let other = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            stem(&name).map(str::to_owned).or(other)
        };
        let name = self.file().and_then(own).unwrap_or_else(|| self.source.clone());
        self.cut.map_or(name.clone(), |cut| format!("{name}@{}", cut.context))
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_are_no_tasks() {
        for (name, is_one) in [
            ("a.jsonl", true),
            ("a.b.jsonl.bz2", true),
            (".hidden.jsonl", false),
            // macOS keeps what a foreign disk cannot in such files.
            ("._a.jsonl", false),
            (".jsonl", false),
            ("a.json", false),
            ("a.bz2", false),
        ] {
            assert_eq!(is_file_of_items(name), is_one, "{name}");
        }
    }

    #[test]
    fn names_are_those_of_tasks_and_files() {
        assert_eq!(TaskRef::from("piqa").name(), "piqa");
        assert_eq!(TaskRef::from("piqa").file(), None);
        assert_eq!(TaskRef::from("./tasks/my-task.jsonl").name(), "my-task");
        assert_eq!(TaskRef::from("my-task.jsonl").name(), "my-task");
        for compressed in ["./tasks/my-task.jsonl.bz2", "my-task.jsonl.bz2"] {
            assert_eq!(TaskRef::from(compressed).name(), "my-task");
            assert_eq!(TaskRef::from(compressed).file(), Some(compressed.into()));
        }
        assert_eq!(TaskRef::from("./tasks/my.task.txt").name(), "my.task");
        let cut = Some(Cut { context: 1024, start: 4096, continuation: 256 });
        assert_eq!(TaskRef { cut, ..TaskRef::from("books_long") }.name(), "books_long@1024");
    }
}
