//! How to run: the options that `run` and `retry` have in common.

use crate::record::store::Consent;
use crate::run::{REPEATS, RunOptions, parse_bytes};

/// How to run.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct RunArgs {
    /// Stop as soon as N cells failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_failures: Option<u32>,
    /// Stop at the first cell that fails
    #[arg(long, conflicts_with = "max_failures")]
    pub(super) fail_fast: bool,
    /// Go on in a folder that was made with other weights or data; the cells that they touch run anew
    #[arg(long)]
    pub(super) accept_changes: bool,
    /// Take results that other code made (before a rule was edited, by another version) as they are, beside new ones; such cells run anew
    /// otherwise
    #[arg(long)]
    pub(super) keep_other_code: bool,
    /// Use a results folder that holds other files; what is in the way of results gets the ending .before-sweep
    #[arg(long)]
    pub(super) force: bool,
    /// Run cell by cell, without sharing work among them
    #[arg(long)]
    pub(super) no_sharing: bool,
    /// Time each cell: run cell by cell, each once untimed and then N times (2 or more); its time is the median
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(i64::from(*REPEATS.start())..=i64::from(*REPEATS.end())))]
    pub(super) repeats: Option<u32>,
    /// Memory that activations may use, for example 4GiB; half of what is available if left out
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, conflicts_with_all = ["no_sharing", "repeats"])]
    pub(super) memory: Option<u64>,
}

impl RunArgs {
    /// As the run takes them.
    pub(super) fn options(&self) -> RunOptions {
        let max_failures = if self.fail_fast { Some(1) } else { self.max_failures.map(|count| count as usize) };
        RunOptions {
            max_failures,
            no_sharing: self.no_sharing,
            repeats: self.repeats.map(|count| count as usize),
            memory_bytes: self.memory,
            consent: self.consent(),
            ..RunOptions::default()
        }
    }

    /// What it may do with a folder that holds something already.
    pub(super) fn consent(&self) -> Consent {
        Consent { accept_changes: self.accept_changes, keep_other_code: self.keep_other_code, force: self.force }
    }

    /// The same as words of a command line, for another process that may use `memory`.
    pub(super) fn words(&self, memory: Option<u64>) -> Vec<String> {
        let flags = [
            ("--fail-fast", self.fail_fast),
            ("--accept-changes", self.accept_changes),
            ("--keep-other-code", self.keep_other_code),
            ("--no-sharing", self.no_sharing),
        ];
        let values = [
            ("--max-failures", self.max_failures.map(|count| count.to_string())),
            ("--repeats", self.repeats.map(|count| count.to_string())),
            ("--memory", memory.map(|bytes| format!("{}K", (bytes / 1024).max(1)))),
        ];
        let flags = flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag.to_owned());
        let values = values.into_iter().filter_map(|(option, value)| Some([option.to_owned(), value?])).flatten();
        flags.chain(values).collect()
    }
}
