//! A run in several processes on one results folder: one per GPU, or `--workers` on a CPU.
//!
//! Each process is a `sweep run` that takes what no other one has taken and does not report. The parent computes nothing: it
//! passes signals on, shows what the others say, goes on without those that are lost, and reports.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use miette::miette;

use super::children::{self, Ended, Signals};
use super::run::RunCommand;
use super::shard::Written;
use super::sweep::{ReportWishes, prepare, report, results_folder, say, stopped};
use super::{DONE, FAILED, Failure, Host, REFUSED, TEMPORARY, failed, host, refused, threads};
use crate::library::Downloads;
use crate::plan::Setting;
use crate::record::store::Store;
use crate::run::{RunError, Shard, default_budget};

/// Processes per core that are still started: more than one each only gets in the way, but is nobody's loss.
const WORKERS_PER_CORE: usize = 4;
/// Processes that are started on any machine.
const FEWEST_ALLOWED: usize = 8;

/// The processes of a run.
pub(super) struct Team {
    workers: Vec<Worker>,
    setting: Setting,
    /// Memory for the activations of each.
    memory: Option<u64>,
}

/// One process.
#[derive(Clone)]
struct Worker {
    /// What stands before its lines.
    name: String,
    /// Its `--device`.
    device: String,
}

/// The processes that the command line asks for; none where this one computes by itself.
pub(super) fn team(args: &RunCommand) -> Result<Option<Team>, Failure> {
    if let Some((ordinals, setting)) = args.device.several()? {
        if args.workers.is_some() {
            let help = "every GPU has one process; leave --workers out";
            return Err(refused(miette!(help = help, "--workers divides a CPU, not GPUs")));
        }
        let worker = |ordinal| Worker { name: format!("cuda:{ordinal}"), device: format!("cuda:{ordinal}") };
        let workers = ordinals.into_iter().map(worker).collect();
        return Ok(Some(Team { workers, setting, memory: args.how.memory }));
    }
    let count = match args.workers {
        None | Some(1) => return Ok(None),
        Some(0) => return Err(refused(miette!(help = "leave --workers out for one", "--workers must be at least 1"))),
        Some(count) => count,
    };
    if args.how.repeats.is_some() {
        let help = "leave --workers out: one process times one cell after the other";
        return Err(refused(miette!(help = help, "--repeats times cells, and workers would slow each other down")));
    }
    let cores = threads::cores();
    let most = (cores * WORKERS_PER_CORE).max(FEWEST_ALLOWED);
    if count > most {
        let help = format!("--workers {cores} uses all {cores} cores that this process may use; {most} are the most");
        return Err(refused(miette!(help = help, "--workers {count} is too many for this machine")));
    }
    let (placement, setting) = args.device.open()?;
    if !placement.device.is_cpu() {
        let help = "name several GPUs with --device cuda:0,1 or cuda:all, or add --device cpu";
        return Err(refused(miette!(help = help, "--workers divides a CPU, and this run is on a GPU")));
    }
    let worker = |index| Worker { name: format!("worker {index}"), device: "cpu".to_owned() };
    let memory = (!args.how.no_sharing)
        .then(|| args.how.memory.unwrap_or_else(|| default_budget(&placement.device)) / count as u64);
    Ok(Some(Team { workers: (1..=count).map(worker).collect(), setting, memory }))
}

/// Runs the team until nothing is left that one of it could do, then reports unless this run is a shard itself.
pub(super) fn run(args: &RunCommand, shard: Option<Shard>, team: Team, host: Option<&Host>) -> Result<u8, Failure> {
    // Downloads once what all of them need.
    let library = args.data.library(Downloads::Missing)?;
    let (experiment, plan) = prepare(&args.file, args.changes, &team.setting, &library)?;
    let folder = results_folder(args.out.clone(), &experiment);
    // Refused once here instead of once by each.
    Store::open(&folder, &plan, args.how.consent()).map_err(refused)?;
    let program = host::program(host)?;
    let threads = (rayon::current_num_threads() / team.workers.len()).max(1);
    let mut command = Command::new(&program[0]);
    command
        .args(&program[1..])
        .args(arguments(args, shard, &folder, team.memory))
        .env("RAYON_NUM_THREADS", threads.to_string());
    command.env("HF_HUB_OFFLINE", "1");
    say(&format!("{} processes with {threads} threads each", team.workers.len()));
    let signals = Signals::listen().map_err(|error| failed(miette!("cannot listen to signals: {error}")))?;
    let mut fit = team.workers;
    loop {
        let ended = round(&command, args, &fit, &signals)?;
        if let Some(code) = signals.exit_code(&ended) {
            return Ok(code);
        }
        if ended.iter().any(|ended| ended.code == Some(i32::from(REFUSED))) {
            return Ok(REFUSED);
        }
        let failures = ended.iter().any(|ended| ended.code == Some(1));
        if failures && args.how.fail_fast {
            return Ok(FAILED);
        }
        let lost: Vec<bool> = ended.iter().map(Ended::is_lost).collect();
        let mut is_lost = lost.iter();
        let before = fit.len();
        fit.retain(|_| is_lost.next() == Some(&false));
        if fit.is_empty() {
            let help = "finished work is kept; run again to go on";
            return Err(Failure { report: miette!(help = help, "every process was lost"), code: TEMPORARY });
        }
        if fit.len() < before {
            let names: Vec<&str> = fit.iter().map(|worker| worker.name.as_str()).collect();
            say(&format!("{} lost: {} look for what is left", before - fit.len(), names.join(", ")));
            continue;
        }
        // Drawing can be made again: from here on a signal ends the program, and so does one that came too late for the children.
        let late = signals.late();
        drop(signals);
        if let Some(interrupt) = late {
            return Err(stopped(RunError::Interrupted(interrupt)));
        }
        let wishes =
            ReportWishes { complete: true, lm_eval_output: args.lm_eval_output.as_deref(), ..ReportWishes::default() };
        let complete = if shard.is_none() { report(&folder, &wishes)? } else { DONE };
        return Ok(if failures { FAILED } else { complete });
    }
}

/// Starts all workers and waits for them; one that is lost does not end the others.
fn round(command: &Command, args: &RunCommand, workers: &[Worker], signals: &Signals) -> Result<Vec<Ended>, Failure> {
    let commands = workers.iter().map(|worker| {
        let mut own = Command::new(command.get_program());
        own.args(command.get_args()).args(["--device", &worker.device]);
        own.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        (worker.name.clone(), own)
    });
    children::run(commands, signals, args.how.fail_fast)
        .map_err(|error| failed(miette!("cannot start a process: {error}")))
}

/// Arguments of every process but its device.
fn arguments(args: &RunCommand, shard: Option<Shard>, folder: &Path, memory: Option<u64>) -> Vec<OsString> {
    // One share of one: everything, but without a report.
    let shard = shard.unwrap_or(Shard { index: 0, count: 1 });
    let mut words = vec!["run".into(), args.file.clone().into(), "--out".into(), folder.into()];
    words.extend(["--shard".into(), Written(shard).to_string().into()]);
    let mut option = |name: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|value| [name.into(), value.into()]));
    };
    option("--dtype", args.device.dtype().map(str::to_owned));
    words.extend(args.changes.words());
    words.extend(args.rules.words());
    words.extend(args.data.words());
    words.extend(args.how.words(memory).into_iter().map(OsString::from));
    words
}
