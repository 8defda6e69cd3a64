//! Where the numbers come from: the processes that ran, and digests of what they read.

use std::fs;
use std::path::{Path, PathBuf};

use records::regular;
use serde::Serialize;
use serde_json::Value;

use crate::text::terminal;

/// A name and a value.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fact {
    pub(crate) what: String,
    pub(crate) value: String,
}

/// One process that ran into the folder.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Process {
    pub(crate) title: String,
    pub(crate) rows: Vec<Fact>,
}

/// Manifests that are shown; a run on a cluster has thousands.
const MOST: usize = 20;

/// The processes, in the order in which they began. A manifest that cannot be read is left to `sweep status`.
pub(crate) fn processes(dir: &Path) -> Vec<Process> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir.join("manifests")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().take(MOST).filter_map(|path| process(path)).collect()
}

fn process(path: &Path) -> Option<Process> {
    let bytes = regular::read(path, regular::MAX_BYTES).ok()?;
    let manifest: Value = serde_json::from_slice(&bytes).ok()?;
    let text = |key: &str| manifest.get(key).and_then(shown);
    let keys = [
        ("version", "version"),
        ("git revision", "git_revision"),
        ("sources", "sources"),
        ("compiler", "rustc"),
        ("command line", "arguments"),
        ("keys that it set", "overrides"),
        ("processor", "cpu"),
        ("threads", "threads"),
        ("platform", "platform"),
        ("groups run", "groups"),
        ("stopped", "stopped"),
    ];
    let rows = keys.into_iter().filter_map(|(what, key)| Some(Fact { what: what.to_owned(), value: text(key)? }));
    let title = format!("Process {} on {}", text("pid").unwrap_or_default(), text("host").unwrap_or_default());
    Some(Process { title, rows: rows.collect() })
}

/// A value in words; none where there is nothing to say.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(terminal(text)),
        Value::Array(all) if all.is_empty() => None,
        Value::Array(all) if all.iter().all(Value::is_string) => {
            Some(terminal(&all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")))
        }
        other => Some(other.to_string()),
    }
}
