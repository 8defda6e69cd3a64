//! The files that the report made in a results folder: what it makes no more, it removes.
//!
//! `report-files.json` lists them with the digests of what was written. A file that is not in the list, or that is no longer what the
//! report wrote, is somebody's and stays.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::claim;

/// Name of the list.
pub(super) const LIST: &str = "report-files.json";

/// Names below the results folder, with digests.
pub(super) type Made = BTreeMap<String, String>;

/// Digest of a file's content.
pub(super) fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// What the last report made; nothing where there is no list that can be read, and then nothing is removed.
pub(super) fn read(folder: &Path) -> Made {
    let text = match fs::read_to_string(folder.join(LIST)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Made::new(),
        Err(error) => {
            tracing::warn!("{LIST} cannot be read ({error}): files of earlier reports stay");
            return Made::new();
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|error| {
        tracing::warn!("{LIST} is damaged ({error}): files of earlier reports stay");
        Made::new()
    })
}

/// Removes what `earlier` lists and `now` does not; the only place of the report that removes a file. Returns what it removed.
///
/// # Errors
/// A file of ours that cannot be removed.
pub(super) fn remove_stale(folder: &Path, earlier: &Made, now: &Made) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let mut removed = Vec::new();
    for (name, known) in earlier.iter().filter(|(name, _)| !now.contains_key(*name)) {
        let path = folder.join(name);
        if is_ours(name) && is_unchanged(&path, known) {
            fs::remove_file(&path).map_err(|error| (path.clone(), error))?;
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Whether a report writes files of this name; a list that was edited must not lead anywhere else.
fn is_ours(name: &str) -> bool {
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    match name.split_once('/') {
        Some(("figures" | "tables", name)) => plain(name),
        Some(_) => false,
        None => plain(name) && may_go_stale(name),
    }
}

/// Files of the results folder itself that not every report makes.
pub(super) fn may_go_stale(name: &str) -> bool {
    let frame = name
        .strip_suffix(".parquet")
        .is_some_and(|frame| frame == "claims" || frame == "bridges" || frame.starts_with("probe_"));
    frame || name == "verdict.md" || name == claim::SUMMARY
}

/// Whether a regular file still holds what was written.
fn is_unchanged(path: &Path, known: &str) -> bool {
    let regular = fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file());
    regular && fs::read(path).is_ok_and(|bytes| digest(&bytes) == known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("figures")).unwrap();
        folder
    }

    fn entry(name: &str, content: &str) -> (String, String) {
        (name.to_owned(), digest(content.as_bytes()))
    }

    #[test]
    fn what_was_made_before_and_is_not_now_goes() {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        for name in ["figures/old.svg", "figures/new.svg", "figures/edited.svg", "figures/foreign.svg", "verdict.md"] {
            fs::write(at(name), "x").unwrap();
        }
        let earlier = Made::from([
            entry("figures/old.svg", "x"),
            entry("figures/new.svg", "x"),
            entry("figures/edited.svg", "as it was written"),
            entry("figures/gone.svg", "x"),
            entry("verdict.md", "x"),
        ]);
        let now = Made::from([entry("figures/new.svg", "x")]);
        let removed = remove_stale(folder.path(), &earlier, &now).unwrap();
        assert_eq!(removed, [at("figures/old.svg"), at("verdict.md")]);
        assert!(
            at("figures/new.svg").exists() && at("figures/edited.svg").exists() && at("figures/foreign.svg").exists()
        );
    }

    #[test]
    fn a_list_leads_nowhere_else() {
        let outer = folder();
        let folder = outer.path().join("results");
        fs::create_dir_all(folder.join("figures")).unwrap();
        fs::write(outer.path().join("mine.txt"), "x").unwrap();
        fs::write(folder.join("plan.json"), "x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(outer.path().join("mine.txt"), folder.join("figures/link.svg")).unwrap();
        let absolute = outer.path().join("mine.txt").to_string_lossy().into_owned();
        let names = ["../mine.txt", "figures/../../mine.txt", "figures/..", &absolute, "plan.json", "figures/link.svg"];
        let earlier: Made = names.into_iter().map(|name| entry(name, "x")).collect();
        assert!(remove_stale(&folder, &earlier, &Made::new()).unwrap().is_empty());
        assert!(outer.path().join("mine.txt").exists() && folder.join("plan.json").exists());
    }

    #[test]
    fn without_a_list_nothing_is_known() {
        let folder = folder();
        assert!(read(folder.path()).is_empty());
        fs::write(folder.path().join(LIST), "{").unwrap();
        assert!(read(folder.path()).is_empty());
    }
}
