//! Whether a folder holds results, so that nothing of anybody else's is written over.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use records::files::{self, Durability};
use records::plan::PlanIndex;
use records::regular;

use super::store::{StoreError, io};

/// The file that marks a folder as one of ours. It is the first one in it.
const MARKER: &str = ".sweep-results";

const TEXT: &str = "This folder holds results of `sweep run`, which writes and replaces files in it.\n";

/// Foreign names that a refusal lists.
const SHOWN: usize = 5;

/// What a run and its report write at the top of a results folder; frames end in `.parquet` or are `trials.csv`.
const OWN: [&str; 22] = [
    "calibrations",
    "cells",
    "checklist.md",
    "experiment.yaml",
    "figures",
    "groups.json",
    "guards.json",
    "leases",
    "manifests",
    "parts",
    "plan.json",
    "probes",
    "probes.json",
    "references.bib",
    "report.html",
    "report.md",
    "slurm",
    "tables",
    "task-items",
    "trials.csv",
    "verdict.md",
    MARKER,
];

/// Frames are named after what they hold.
const FRAME: &str = ".parquet";

/// What is known of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Results, or a run that has not come so far yet.
    Results,
    /// Nothing, or there is no such folder.
    Nothing,
    /// Files of somebody else, by name.
    Others(Vec<OsString>),
}

/// Looks into a folder.
///
/// # Errors
/// It is no folder, or cannot be read.
pub(crate) fn look(folder: &Path) -> Result<Holds, StoreError> {
    let facts = match fs::metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Holds::Nothing),
        facts => facts.map_err(|error| unusable(folder, error))?,
    };
    if !facts.is_dir() {
        let kind = regular::kind(facts.file_type()).unwrap_or("a file");
        return Err(StoreError::NoFolder { path: folder.display().to_string(), kind });
    }
    let mut others = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| unusable(folder, error))? {
        let name = entry.map_err(|error| unusable(folder, error))?.file_name();
        if !files::is_aside(&name) {
            others.push(name);
        }
    }
    // Looked for after the listing: a process that begins at the same time makes it before anything else.
    if folder.join(MARKER).is_file() || is_plan(&folder.join("plan.json")) {
        return Ok(Holds::Results);
    }
    others.sort();
    Ok(if others.is_empty() { Holds::Nothing } else { Holds::Others(others) })
}

/// Makes the folder, or takes one that is empty, holds results already, or is to be taken by `force`. Then, whatever is in the way
/// of a file of ours gets another name.
///
/// # Errors
/// The folder holds files of somebody else and `force` is not given; it cannot be read or written.
pub(crate) fn claim(folder: &Path, force: bool) -> Result<(), StoreError> {
    match look(folder)? {
        Holds::Results => {}
        Holds::Nothing => fs::create_dir_all(folder).map_err(|error| unusable(folder, error))?,
        Holds::Others(names) if !force => {
            let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{}`", name.display())).collect();
            if names.len() > SHOWN {
                shown.push(format!("{} more", names.len() - SHOWN));
            }
            return Err(StoreError::Foreign { path: folder.display().to_string(), names: shown.join(", ") });
        }
        Holds::Others(names) => {
            for name in names.iter().filter(|name| is_own(&name.to_string_lossy())) {
                set_aside(&folder.join(name))?;
            }
        }
    }
    let marker = folder.join(MARKER);
    if marker.is_file() {
        return Ok(());
    }
    files::write(&marker, TEXT.as_bytes(), Durability::Plain).map_err(|error| io("write", &marker, error))
}

/// A folder that cannot be used is refused like one that may not be; a full disk is another matter.
fn unusable(folder: &Path, error: std::io::Error) -> StoreError {
    match io("create", folder, error) {
        StoreError::Io { path, error, .. } => StoreError::Unusable { path, error },
        full => full,
    }
}

fn is_own(name: &str) -> bool {
    OWN.contains(&name) || name.ends_with(FRAME)
}

/// Gives another name to a file of the user's that is in the place of one of ours.
fn set_aside(path: &Path) -> Result<(), StoreError> {
    let name = |number: u16| {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { ".before-sweep".to_owned() } else { format!(".before-sweep-{number}") });
        PathBuf::from(name)
    };
    let free = (0..u16::MAX).map(name).find(|path| fs::symlink_metadata(path).is_err());
    let free = free.ok_or_else(|| unusable(path, std::io::ErrorKind::AlreadyExists.into()))?;
    fs::rename(path, &free).map_err(|error| io("rename", path, error))?;
    tracing::warn!("{} was there before and is now {}", path.display(), free.display());
    Ok(())
}

/// Whether this is a `plan.json` as a run writes it; folders of earlier versions have no other mark.
fn is_plan(path: &Path) -> bool {
    regular::read(path, regular::MAX_BYTES).is_ok_and(|text| serde_json::from_slice::<PlanIndex>(&text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_empty_and_marked_folders_are_ours() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("a/b");
        claim(&new, false).unwrap();
        assert_eq!(look(&new).unwrap(), Holds::Results);
        fs::write(new.join("notes.txt"), "mine").unwrap();
        claim(&new, false).unwrap();
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        // Of a process that begins at the same time.
        fs::write(files::aside(&empty.join(MARKER)), "half").unwrap();
        assert_eq!(look(&empty).unwrap(), Holds::Nothing);
        claim(&empty, false).unwrap();
    }

    #[test]
    fn folders_of_earlier_versions_have_a_plan() {
        let folder = tempfile::tempdir().unwrap();
        let plan = folder.path().join("plan.json");
        fs::write(&plan, r#"{"format_version": "1.2", "planned_values": {}}"#).unwrap();
        assert!(matches!(look(folder.path()).unwrap(), Holds::Others(_)), "somebody else's plan");
        fs::write(&plan, r#"{"experiment": "x", "cells": ["a"]}"#).unwrap();
        assert_eq!(look(folder.path()).unwrap(), Holds::Results);
    }

    #[test]
    fn files_of_others_are_neither_written_over_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["report.md", "old.parquet", "notes.txt", "a", "b", "c"] {
            fs::write(path(name), "mine").unwrap();
        }
        fs::create_dir(path("figures")).unwrap();
        fs::write(path("figures/.draft.tmp"), "mine").unwrap();
        let error = claim(folder.path(), false).unwrap_err();
        assert!(error.is_refusal());
        assert!(
            error.to_string().ends_with("holds other files: `a`, `b`, `c`, `figures`, `notes.txt`, 2 more"),
            "{error}"
        );
        assert!(!path(MARKER).exists() && path("report.md").exists());
        claim(folder.path(), true).unwrap();
        for name in
            ["report.md.before-sweep", "old.parquet.before-sweep", "notes.txt", "figures.before-sweep/.draft.tmp"]
        {
            assert_eq!(fs::read_to_string(path(name)).unwrap(), "mine", "{name}");
        }
        // It is ours from now on.
        fs::write(path("report.md"), "ours").unwrap();
        claim(folder.path(), false).unwrap();
        assert_eq!(fs::read_to_string(path("report.md")).unwrap(), "ours");
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = claim(&file, true).unwrap_err();
        assert!(error.is_refusal() && error.to_string().ends_with("is a file, not a folder"), "{error}");
        let error = claim(&file.join("below"), false).unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("Not a directory"), "{error}");
    }
}
