//! How to run: the options that `run` and `retry` have in common.

use crate::run::{RunOptions, parse_bytes};

/// How to run.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Stop as soon as N cells failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_failures: Option<u32>,
    /// Stop at the first cell that fails
    #[arg(long, conflicts_with = "max_failures")]
    fail_fast: bool,
    /// Go on in a folder that was made with other weights or data; the cells that they touch run anew
    #[arg(long)]
    accept_changes: bool,
    /// Run cell by cell, without sharing work among them
    #[arg(long)]
    no_sharing: bool,
    /// Memory that activations may use, for example 4GiB; half of what is available if left out
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, conflicts_with = "no_sharing")]
    memory: Option<u64>,
}

impl RunArgs {
    /// As the run takes them.
    pub(super) fn options(&self) -> RunOptions {
        let max_failures = if self.fail_fast { Some(1) } else { self.max_failures.map(|count| count as usize) };
        RunOptions {
            max_failures,
            no_sharing: self.no_sharing,
            memory_bytes: self.memory,
            accept_changes: self.accept_changes,
            ..RunOptions::default()
        }
    }
}
