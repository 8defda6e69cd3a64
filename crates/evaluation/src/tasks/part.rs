//! Where the rows of a benchmark are: files of the data directory, and a split of a data set on a hub.

use std::fmt;

/// Rows of a benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Paths below the data directory; the first that is there is read, plain or with `.bz2` behind its name.
    pub files: &'static [&'static str],
    /// Right answers, one a line, where the rows do not hold them.
    pub labels: &'static [&'static str],
    /// The same rows on the Hugging Face hub: the data set that lm-evaluation-harness 0.4.13 reads.
    pub hub: Option<HubSplit>,
}

/// A split of a data set on a hub. Displayed as `owner/name/config/split`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubSplit {
    /// `owner/name` of the data set.
    pub repository: &'static str,
    /// Configuration of the data set.
    pub config: &'static str,
    /// Split.
    pub split: &'static str,
}

impl fmt::Display for HubSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.repository, self.config, self.split)
    }
}

impl Part {
    /// No rows.
    pub const NONE: Self = Self { files: &[], labels: &[], hub: None };

    pub(super) const fn rows(files: &'static [&'static str]) -> Self {
        Self { files, ..Self::NONE }
    }

    pub(super) const fn labels(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }

    pub(super) const fn hub(self, repository: &'static str, config: &'static str, split: &'static str) -> Self {
        Self { hub: Some(HubSplit { repository, config, split }), ..self }
    }
}
