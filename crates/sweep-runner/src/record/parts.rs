//! Parts: what a finished group of items gave its cells, until the cells are whole.
//!
//! `parts/<group>-<hash of the cells>.json` has two lines: a head, which says what is in the file, and the outcomes. Numbers
//! that enter results stand there as their bits.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use evaluation::Partial;
use records::code::Code;
use records::files::{self, Durability};
use records::regular;
use records::schema::Failure;
use serde::{Deserialize, Serialize};

use super::aside::{self, Aside};
use super::store::{StoreError, damaged, io};

/// First line of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartHead {
    /// Cells that share the group's items, model and protocol.
    #[serde(rename = "family")]
    pub cohort: String,
    /// 0-based number of the group in its cohort.
    pub group: usize,
    /// The cells, in the order of the outcomes.
    pub cells: Vec<String>,
    /// The code that each was run with, in the same order; empty in files of before there were digests.
    #[serde(default)]
    pub code: Vec<Code>,
    /// Errors of those that failed.
    pub errors: BTreeMap<String, String>,
    /// What to do about them, where there is something to do.
    #[serde(default)]
    pub hints: BTreeMap<String, String>,
    /// Peak memory while the group ran.
    pub peak_mem_bytes: u64,
    /// Digest of the outcomes as they stand in the file.
    #[serde(default)]
    pub digest: String,
}

impl PartHead {
    /// Why a cell failed here; none where it did not.
    pub fn failure(&self, cell: &str) -> Option<Failure> {
        let error = self.errors.get(cell)?;
        Some(Failure { error: error.clone(), hint: self.hints.get(cell).cloned() })
    }

    /// The first of its cells that was run with another code than `now` says of it. Cells of which it says nothing do not count.
    pub fn other_code<'a>(&self, now: impl Fn(&str) -> Option<&'a Code>) -> Option<(Code, &'a Code)> {
        self.cells.iter().enumerate().find_map(|(index, cell)| {
            let code = self.code.get(index).cloned().unwrap_or_default();
            let now = now(cell)?;
            (code != *now).then_some((code, now))
        })
    }
}

/// What one cell got: the seconds of each time that it ran, or its share of them where cells ran together, and its outcome; none where
/// it failed.
pub type Outcome = (Vec<f64>, Option<Partial>);

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
        let code = head.code.iter().map(|code| format!("{}-{}", code.shared, code.rule));
        let identity: Vec<String> = head.cells.iter().cloned().chain(code).collect();
        let cells = blake3::hash(identity.join("\n").as_bytes()).to_hex();
        let name = format!("{}-{:05}-{}.json", head.cohort, head.group, &cells[..16]);
        let path = self.folder.join(&name);
        let outcomes = serde_json::to_vec(outcomes).map_err(|error| damaged(&path, error))?;
        let head = PartHead { digest: digest(&outcomes), ..head.clone() };
        let mut text = serde_json::to_vec(&head).map_err(|error| damaged(&path, error))?;
        text.push(b'\n');
        text.extend(outcomes);
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

    /// Head of a part, or why it is none; nothing where the part is gone.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn head(&self, name: &str) -> Result<Option<Result<PartHead, String>>, StoreError> {
        let path = self.folder.join(name);
        let mut line = Vec::new();
        let read = regular::open(&path).and_then(|file| BufReader::new(file).read_until(b'\n', &mut line));
        match read {
            Ok(_) => Ok(Some(serde_json::from_slice(&line).map_err(|error| error.to_string()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("read", &path, error)),
        }
    }

    /// Outcomes of a part, in the order of its head's cells, or why they are none; nothing where the part is gone.
    ///
    /// # Errors
    /// The file cannot be read.
    #[expect(clippy::type_complexity, reason = "there, whole, and what it is")]
    pub fn outcomes(&self, name: &str) -> Result<Option<Result<(PartHead, Vec<Outcome>), String>>, StoreError> {
        let Some(bytes) = aside::read_if_there(&self.folder.join(name))? else { return Ok(None) };
        Ok(Some(outcomes(&bytes)))
    }

    /// Moves a part out of the way and says why.
    ///
    /// # Errors
    /// It cannot be moved.
    pub fn move_away(&self, name: &str, aside: Aside, why: &str) -> Result<(), StoreError> {
        let dir = self.folder.parent().unwrap_or(&self.folder);
        aside::move_away(dir, &self.folder.join(name), aside, why)
    }

    /// Moves a part out of the way without a word, and keeps those of its cells as a part that were run with the code that `now` says.
    ///
    /// # Errors
    /// The rest cannot be written, or the part not moved.
    pub fn keep_code<'a>(&self, name: &str, now: impl Fn(&str) -> Option<&'a Code>) -> Result<(), StoreError> {
        if let Some(Ok((head, outcomes))) = self.outcomes(name)? {
            let same = |cell: &str, code: Option<&Code>| now(cell).is_none_or(|now| Some(now) == code);
            let keep: Vec<bool> =
                head.cells.iter().enumerate().map(|(index, cell)| same(cell, head.code.get(index))).collect();
            self.write_some(head, outcomes, &keep)?;
        }
        let dir = self.folder.parent().unwrap_or(&self.folder);
        aside::move_quietly(dir, &self.folder.join(name), Aside::OtherCode)?;
        Ok(())
    }

    /// Writes those cells of a part that are to be kept as a part of their own.
    fn write_some(&self, head: PartHead, outcomes: Vec<Outcome>, keep: &[bool]) -> Result<(), StoreError> {
        let mut rest = PartHead { cells: Vec::new(), code: Vec::new(), ..head };
        let mut kept = Vec::new();
        for (index, (cell, outcome)) in head.cells.into_iter().zip(outcomes).enumerate() {
            if keep[index] {
                rest.code.extend(head.code.get(index).cloned());
                rest.cells.push(cell);
                kept.push(outcome);
            }
        }
        rest.errors.retain(|cell, _| rest.cells.contains(cell));
        rest.hints.retain(|cell, _| rest.cells.contains(cell));
        if !rest.cells.is_empty() {
            self.write(&rest, &kept)?;
        }
        Ok(())
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
        // One that is damaged is found, and moved away, by who needs it.
        let Some(Ok((head, outcomes))) = self.outcomes(name)? else { return Ok(()) };
        if !head.errors.is_empty() {
            let keep: Vec<bool> = head.cells.iter().map(|cell| !head.errors.contains_key(cell)).collect();
            self.write_some(head, outcomes, &keep)?;
            self.remove(name);
        }
        Ok(())
    }
}

fn outcomes(bytes: &[u8]) -> Result<(PartHead, Vec<Outcome>), String> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("it ends in its first line")?;
    let (head, rest) = (&bytes[..end], bytes[end + 1..].strip_suffix(b"\n").ok_or("it is cut off")?);
    let head: PartHead = serde_json::from_slice(head).map_err(|error| error.to_string())?;
    if head.digest != digest(rest) {
        return Err("its outcomes are not those that were written".to_owned());
    }
    let outcomes: Vec<Outcome> = serde_json::from_slice(rest).map_err(|error| error.to_string())?;
    let (n, cells) = (outcomes.len(), head.cells.len());
    if n == cells { Ok((head, outcomes)) } else { Err(format!("{n} outcomes of {cells} cells")) }
}

fn digest(outcomes: &[u8]) -> String {
    blake3::hash(outcomes).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(rule: &str) -> Code {
        Code { shared: "s".to_owned(), rule: rule.to_owned() }
    }

    fn head(errors: &[&str]) -> PartHead {
        let errors = errors.iter().map(|cell| ((*cell).to_owned(), "too short".to_owned())).collect();
        let cells = vec!["one".to_owned(), "two".to_owned()];
        let code = vec![code("a"), code("b")];
        let (cohort, hints) = ("f".to_owned(), BTreeMap::new());
        PartHead { cohort, group: 7, cells, code, errors, hints, peak_mem_bytes: 5, digest: String::new() }
    }

    #[test]
    fn a_part_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::open(folder.path());
        let outcomes = vec![(vec![0.25], Some(Partial::default())), (vec![0.5], None)];
        let name = parts.write(&head(&["two"]), &outcomes).unwrap();
        assert_eq!(parts.names().unwrap(), std::slice::from_ref(&name));
        let (read, there) = parts.outcomes(&name).unwrap().unwrap().unwrap();
        assert_eq!((PartHead { digest: String::new(), ..read.clone() }, there), (head(&["two"]), outcomes));
        assert_eq!(parts.head(&name).unwrap().unwrap().unwrap(), read);
        let path = folder.path().join(&name);
        let text = fs::read_to_string(&path).unwrap();
        // Cut off; another number, which is still JSON; no text; nothing.
        let other = text.replace("0.25", "0.75");
        for damage in [&text.as_bytes()[..text.len() - 4], other.as_bytes(), &[0xff; 9], &[]] {
            fs::write(&path, damage).unwrap();
            parts.outcomes(&name).unwrap().unwrap().unwrap_err();
        }
        parts.remove(&name);
        parts.remove(&name);
        assert!(parts.head(&name).unwrap().is_none() && parts.outcomes(&name).unwrap().is_none());
    }

    #[test]
    fn failures_are_forgotten_alone() {
        let folder = tempfile::tempdir().unwrap();
        let parts = Parts::open(folder.path());
        let name = parts.write(&head(&["two"]), &[(vec![0.25], Some(Partial::default())), (vec![0.5], None)]).unwrap();
        parts.forget_failures(&name).unwrap();
        let names = parts.names().unwrap();
        assert!(names.len() == 1 && names[0] != name, "{names:?}");
        assert_eq!(parts.head(&names[0]).unwrap().unwrap().unwrap().cells, ["one"]);
        let all = parts.write(&head(&["one", "two"]), &[(vec![0.5], None), (vec![0.5], None)]).unwrap();
        parts.forget_failures(&all).unwrap();
        assert_eq!(parts.names().unwrap(), names);
    }

    #[test]
    fn cells_of_other_code_are_moved_away_and_the_others_stay() {
        let results = tempfile::tempdir().unwrap();
        let folder = results.path().join("parts");
        fs::create_dir(&folder).unwrap();
        let parts = Parts::open(&folder);
        let name = parts.write(&head(&[]), &[(vec![0.25], Some(Partial::default())), (vec![0.5], None)]).unwrap();
        let (same, other) = (code("a"), code("c"));
        let now = |cell: &str| Some(if cell == "one" { &same } else { &other });
        let head = parts.head(&name).unwrap().unwrap().unwrap();
        assert_eq!(head.other_code(now), Some((code("b"), &other)));
        parts.keep_code(&name, now).unwrap();
        let names = parts.names().unwrap();
        assert!(names.len() == 1 && names[0] != name, "{names:?}");
        let (head, outcomes) = parts.outcomes(&names[0]).unwrap().unwrap().unwrap();
        assert_eq!(
            (head.cells, head.code, outcomes[0].0.clone()),
            (vec!["one".to_owned()], vec![same.clone()], vec![0.25])
        );
        assert!(results.path().join("other-code/parts").join(&name).exists());
    }
}
