//! `run`: in this process, or in several.

use std::path::PathBuf;

use miette::miette;

use super::changes::Changes;
use super::data::DataArgs;
use super::device::DeviceArgs;
use super::host::RulesArgs;
use super::run_args::RunArgs;
use super::shard::{self, Found, ShardArg, Written};
use super::sweep::{self, Work};
use super::{Failure, Host, refused, workers};
use crate::run::{RunOptions, Shard};

/// What to run, and how.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RunCommand {
    /// Experiment file
    #[arg(value_parser = crate::home::argument())]
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) changes: Changes,
    /// Results folder, in place of results/<experiment>
    #[arg(long, value_name = "DIR", value_parser = crate::home::argument())]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) how: RunArgs,
    #[command(flatten)]
    pub(super) rules: RulesArgs,
    /// Share of the work to run, COUNTED FROM 1: 1/4 to 4/4 are all of it; such a run does not report. `auto`: the share of
    /// this task of a SLURM array, HyperQueue array or Kubernetes Indexed Job (the last two with `SWEEP_SHARDS`), which is also
    /// the default inside one; `none`: everything
    #[arg(long, value_name = "I/N")]
    pub(super) shard: Option<ShardArg>,
    /// Processes to run on the CPU, each with its part of the threads and of the memory
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<usize>,
    /// Also write the results into this folder in the files of lm-evaluation-harness
    #[arg(long, value_name = "DIR", value_parser = crate::home::argument())]
    pub(super) lm_eval_output: Option<PathBuf>,
    /// Measure every kernel on a GPU and print where the time went after the run; cells take longer meanwhile, also in their records
    #[arg(long, conflicts_with_all = ["repeats", "workers"])]
    pub(super) profile_kernels: bool,
    #[command(flatten)]
    pub(super) data: DataArgs,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
}

pub(super) fn run(command: RunCommand, host: Option<&Host>) -> Result<u8, Failure> {
    let shard = shard_of(command.shard)?;
    command.rules.load(host)?;
    if shard.is_some() && command.lm_eval_output.is_some() {
        let help = "leave it out here, and write it when all shards are done: sweep report FOLDER --lm-eval-output DIR";
        return Err(refused(miette!(help = help, "--lm-eval-output needs all cells, and this run is a shard")));
    }
    if let Some(out) = &command.lm_eval_output {
        sweep::expect_folder_or_none(out)?;
    }
    if let Some(team) = workers::team(&command)? {
        if command.profile_kernels {
            let help = "name one GPU, for example --device cuda:0";
            return Err(refused(miette!(
                help = help,
                "--profile-kernels measures one GPU, and this run is on several"
            )));
        }
        return workers::run(&command, shard, team, host);
    }
    let options = RunOptions { shard, ..command.how.options() };
    let work = Work {
        file: &command.file,
        changes: command.changes,
        out: command.out,
        data: &command.data,
        device: &command.device,
        lm_eval_output: command.lm_eval_output.as_deref(),
        profile_kernels: command.profile_kernels,
    };
    sweep::run(work, options)
}

fn shard_of(asked: Option<ShardArg>) -> Result<Option<Shard>, Failure> {
    let found = shard::resolve(asked, |name| std::env::var(name).ok()).map_err(refused)?;
    if let Some(Found { shard, variables: Some(variables) }) = &found {
        sweep::say(&format!("shard {} of the work, from {variables}", Written(*shard)));
    }
    Ok(found.map(|found| found.shard))
}
