//! Which code made a result, as digests of its sources.

use serde::{Deserialize, Serialize};

/// The code of a result. An id names what was asked; the code says by what it was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Code {
    /// Digest of what the results of all rules depend on: operations, models, scores, the packages below them. Empty in records from
    /// before there were digests.
    pub shared: String,
    /// Digest of the rule; empty where there is none.
    pub rule: String,
}

impl Code {
    /// How results of this code differ from those of `now`, in words.
    pub fn against(&self, now: &Self) -> &'static str {
        if self.shared.is_empty() {
            "by a program that did not say which code made them"
        } else if self.shared == now.shared {
            "before the code of their rule changed"
        } else {
            "by other code of models, scores or what all rules share"
        }
    }
}
