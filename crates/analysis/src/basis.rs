//! What a cell cost: its own time where it ran alone, otherwise its FLOPs.

use std::fs;
use std::path::Path;

use records::regular;
use serde::{Deserialize, Serialize};

/// What the costs of rules are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// Measured wall time: every cell ran alone.
    Time,
    /// FLOPs executed: cells shared work, so that the time of a cell is a share which depends on what ran beside it.
    Flops,
}

/// Of a manifest, what says how cells ran.
#[derive(Deserialize)]
struct Ran {
    #[serde(default)]
    groups: usize,
    #[serde(default)]
    sharing: Option<serde_json::Value>,
}

impl Basis {
    /// Time, if every process that ran cells into this results folder ran them one by one, as its manifests say.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        let entries = fs::read_dir(dir.join("manifests")).into_iter().flatten().flatten();
        let read = |path: &Path| {
            let text = regular::read(path, regular::MAX_BYTES).ok()?;
            serde_json::from_slice::<Ran>(&text).ok()
        };
        let ran: Option<Vec<Ran>> = entries.map(|entry| read(&entry.path())).collect();
        let ran: Vec<Ran> = ran.unwrap_or_default().into_iter().filter(|ran| ran.groups > 0).collect();
        let alone = !ran.is_empty() && ran.iter().all(|ran| ran.sharing.is_none());
        if alone { Self::Time } else { Self::Flops }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_where_nothing_was_shared() {
        let of = |manifests: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("manifests")).unwrap();
            for (index, text) in manifests.iter().enumerate() {
                fs::write(dir.path().join(format!("manifests/{index}.json")), text).unwrap();
            }
            Basis::of(dir.path())
        };
        let (alone, shared) =
            (r#"{"groups": 4, "sharing": null}"#, r#"{"groups": 4, "sharing": {"head_rows_asked": 1}}"#);
        assert_eq!(of(&[alone, alone, r#"{"groups": 0, "sharing": null}"#]), Basis::Time);
        assert_eq!(of(&[alone, shared]), Basis::Flops);
        // Nothing says how they ran.
        assert_eq!(of(&[]), Basis::Flops);
        assert_eq!(of(&[alone, "{"]), Basis::Flops);
        assert_eq!(Basis::of(Path::new("nowhere")), Basis::Flops);
    }
}
