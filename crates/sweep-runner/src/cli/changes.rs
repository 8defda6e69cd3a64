//! What the command line changes in an experiment file.

use std::ffi::OsString;

/// Changes of an experiment.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct Changes {
    /// Largest number of items per task, in place of the file's
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Random weights of the same sizes in place of all models of the hub, to prove a path and measure its cost without a
    /// download. The scores say nothing; the name of the experiment and of its results folder gets `-random`
    #[arg(long)]
    pub(super) random: bool,
}

impl Changes {
    /// The same as words of a command line.
    pub(super) fn words(self) -> Vec<OsString> {
        let limit = self.limit.into_iter().flat_map(|limit| ["--limit".into(), limit.to_string().into()]);
        limit.chain(self.random.then(|| "--random".into())).collect()
    }
}
