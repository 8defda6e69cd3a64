//! What one finished probe leaves on disk.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::schema::{Failure, Status, TrialKey};

/// Version of this layout and of what its numbers count; part of every probe's id.
pub const PROBE_SCHEMA_VERSION: u32 = 1;

/// One value of a key column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// The column has no value in this row.
    None,
    /// A whole number: a layer, a distance.
    Whole(u64),
    /// A share or another number.
    Number(f64),
    /// A word.
    Text(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::Whole(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

impl From<usize> for Key {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<f64> for Key {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Key {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// What one item adds to a row: `(item, sum of its observations, their number)`. The value of the row is the sum of the sums over the
/// sum of the numbers.
pub type Contribution = (u32, f64, f64);

/// One row of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeRow {
    /// One per column of the probe.
    pub keys: Vec<Key>,
    /// Name of what is measured.
    pub measure: String,
    /// By item, ascending; items that observed nothing are absent.
    pub contributions: Vec<Contribution>,
}

impl ProbeRow {
    /// Mean over all observations; none without any.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        let (sum, weight) = self.contributions.iter().fold((0.0, 0.0), |(a, b), (_, sum, n)| (a + sum, b + n));
        (weight > 0.0).then(|| sum / weight)
    }
}

/// A probe on one model and task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// [`PROBE_SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// Stable hash of everything that can change the rows.
    pub probe_id: String,
    /// The code that made it; a record of other code is not reused.
    #[serde(default)]
    pub code: Code,
    /// Name of the probe.
    pub probe: String,
    /// Resolved options as compact JSON with sorted keys.
    pub options: String,
    /// Model reference as written in the experiment.
    pub model: String,
    /// Task name.
    pub task: String,
    /// The trial, where the probe looks at a strategy.
    pub trial: Option<TrialKey>,
    /// Items looked at.
    pub items: usize,
    /// How it ended.
    pub status: Status,
    /// Why it failed.
    pub error: Option<String>,
    /// What to do about that, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Seconds that it took.
    pub wall_s: f64,
    /// Names of the key columns of the rows.
    pub columns: Vec<String>,
    /// The rows, with what each item adds.
    pub rows: Vec<ProbeRow>,
}

impl ProbeRecord {
    /// Why it failed, where it did.
    pub fn failure(&self) -> Failure {
        Failure::of_record(self.error.as_deref(), self.hint.as_deref())
    }
}

/// The file of the results folder `dir` that lists the ids of all planned probes, in order.
pub fn index_path(dir: &Path) -> PathBuf {
    dir.join("probes.json")
}

/// The file of a probe's record in the results folder `dir`.
pub fn record_path(dir: &Path, probe_id: &str) -> PathBuf {
    dir.join("probes").join(format!("{probe_id}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_type_through_json() {
        let keys = vec![Key::None, Key::Whole(3), Key::Number(0.5), Key::Text("a".to_owned())];
        let text = serde_json::to_string(&keys).unwrap();
        assert_eq!(text, r#"[null,3,0.5,"a"]"#);
        assert_eq!(serde_json::from_str::<Vec<Key>>(&text).unwrap(), keys);
    }
}
