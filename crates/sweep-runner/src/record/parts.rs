//! Parts: what a finished group of items gave its cells, until the cells are whole.
//!
//! `parts/<group>-<hash of the cells>.json` has two lines: a head, which says what is in the file, and the outcomes. Numbers
//! that enter results stand there as their bits.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use evaluation::Partial;
use serde::{Deserialize, Serialize};

use super::files::{self, Durability};
use super::regular;
use super::store::{StoreError, damaged, io};

/// First line of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartHead {
    /// Cells that share the group's items, model and protocol.
    pub family: String,
    /// 0-based number of the group in its family.
    pub group: usize,
    /// The cells, in the order of the outcomes.
    pub cells: Vec<String>,
    /// Errors of those that failed.
    pub errors: BTreeMap<String, String>,
    /// Peak memory while the group ran.
    pub peak_mem_bytes: u64,
}

/// What one cell got: its share of the time in seconds, and its outcome; none where it failed.
pub type Outcome = (f64, Option<Partial>);

/// The folder of parts.
#[derive(Debug)]
pub struct Parts {
    folder: PathBuf,
}

impl Parts {
    /// The parts below `folder`, which exists.
    pub fn open(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Keeps a part; returns its name. It lasts from here on, whatever happens.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, head: &PartHead, outcomes: &[Outcome]) -> Result<String, StoreError> {
        let cells = blake3::hash(head.cells.join("\n").as_bytes()).to_hex();
        let name = format!("{}-{:05}-{}.json", head.family, head.group, &cells[..16]);
        let path = self.folder.join(&name);
        let mut text = serde_json::to_vec(head).map_err(|error| damaged(&path, error))?;
        text.push(b'\n');
        serde_json::to_writer(&mut text, outcomes).map_err(|error| damaged(&path, error))?;
        text.push(b'\n');
        files::write(&path, &text, Durability::Synced).map_err(|error| io("write", &path, error))?;
        Ok(name)
    }

    /// Names of all parts.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(|error| io("read", &self.folder, error))? {
            let name = entry.map_err(|error| io("read", &self.folder, error))?.file_name();
            let is_whole = |name: &String| name.strip_suffix(".json").is_some_and(|name| !name.starts_with('.'));
            names.extend(name.into_string().ok().filter(is_whole));
        }
        names.sort();
        Ok(names)
    }

    /// Head of a part; none where it is gone or damaged.
    pub fn head(&self, name: &str) -> Option<PartHead> {
        let file = regular::open(&self.folder.join(name)).ok()?;
        let mut line = String::new();
        BufReader::new(file).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Outcomes of a part, in the order of its head's cells; none where it is gone or damaged.
    pub fn outcomes(&self, name: &str) -> Option<(PartHead, Vec<Outcome>)> {
        let text = regular::read_text(&self.folder.join(name), regular::MAX_BYTES).ok()?;
        let (head, outcomes) = text.split_once('\n')?;
        let head: PartHead = serde_json::from_str(head).ok()?;
        let outcomes: Vec<Outcome> = serde_json::from_str(outcomes).ok()?;
        (outcomes.len() == head.cells.len()).then_some((head, outcomes))
    }

    /// Removes a part; one that is gone already is fine.
    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.folder.join(name));
    }

    /// Takes the cells that failed out of a part, so that they run again; the other ones stay.
    ///
    /// # Errors
    /// The rest cannot be written.
    pub fn forget_failures(&self, name: &str) -> Result<(), StoreError> {
        let Some((head, outcomes)) = self.outcomes(name).filter(|(head, _)| !head.errors.is_empty()) else {
            return Ok(());
        };
        let pairs = head.cells.iter().cloned().zip(outcomes);
        let (cells, outcomes): (Vec<_>, Vec<_>) = pairs.filter(|(cell, _)| !head.errors.contains_key(cell)).unzip();
        if !cells.is_empty() {
            self.write(&PartHead { cells, errors: BTreeMap::new(), ..head }, &outcomes)?;
        }
        self.remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(errors: &[&str]) -> PartHead {
        let errors = errors.iter().map(|cell| ((*cell).to_owned(), "too short".to_owned())).collect();
        let cells = vec!["one".to_owned(), "two".to_owned()];
        PartHead { family: "f".to_owned(), group: 7, cells, errors, peak_mem_bytes: 5 }
    }

    #[test]
    fn a_part_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::open(folder.path());
        let outcomes = vec![(0.25, Some(Partial::default())), (0.5, None)];
        let name = parts.write(&head(&["two"]), &outcomes).unwrap();
        assert_eq!(parts.names().unwrap(), std::slice::from_ref(&name));
        assert_eq!(parts.head(&name), Some(head(&["two"])));
        assert_eq!(parts.outcomes(&name), Some((head(&["two"]), outcomes)));
        let path = folder.path().join(&name);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 4]).unwrap();
        assert_eq!(parts.outcomes(&name), None);
        parts.remove(&name);
        parts.remove(&name);
        assert_eq!(parts.head(&name), None);
    }

    #[test]
    fn failures_are_forgotten_alone() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::open(folder.path());
        let name = parts.write(&head(&["two"]), &[(0.25, Some(Partial::default())), (0.5, None)]).unwrap();
        parts.forget_failures(&name).unwrap();
        let names = parts.names().unwrap();
        assert!(names.len() == 1 && names[0] != name, "{names:?}");
        assert_eq!(parts.head(&names[0]).unwrap().cells, ["one"]);
        let all = parts.write(&head(&["one", "two"]), &[(0.5, None), (0.5, None)]).unwrap();
        parts.forget_failures(&all).unwrap();
        assert_eq!(parts.names().unwrap(), names);
    }
}
