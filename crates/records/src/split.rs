//! Which items of a task an experiment may see: all, or one of two halves. The engine divides them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which items of a task an experiment may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Every item.
    #[default]
    All,
    /// The half for choosing rules and options.
    Tune,
    /// The other half, for judging what was chosen.
    HeldOut,
}

/// Every split that an experiment may name: the only list of their names.
pub const SPLITS: [(&str, Split); 3] = [("all", Split::All), ("tune", Split::Tune), ("held_out", Split::HeldOut)];

impl Split {
    /// Name in experiment files and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        SPLITS[self as usize].0
    }

    /// Whether every item is seen, as where no split is named.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_their_places() {
        for (name, split) in SPLITS {
            assert_eq!(split.name(), name);
            assert_eq!(serde_json::to_string(&split).unwrap(), format!("\"{name}\""));
        }
    }
}
