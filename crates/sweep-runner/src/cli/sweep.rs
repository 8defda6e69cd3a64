//! `plan`, `run`, `analyse` and `report`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use candle_core::Device;
use miette::miette;
use reduction_strategies::registry::Strategy;
use report::text::{terminal, terminal_lines};
use ssm_kernels::device::KernelTime;
use ssm_kernels::{Placement, device};

use super::changes::Changes;
use super::data::DataArgs;
use super::device::DeviceArgs;
use super::{DONE, FAILED, Failure, TEMPORARY, failed, fit, hinted, laws, refused, results};
use crate::config::{self, Amendments, Condition, Experiment, Source, Variant};
use crate::library::{Downloads, Library};
use crate::plan::{self, ExperimentPlan, Setting};
use crate::rates::{Rates, Took};
use crate::run::{self, RunError, RunOptions, RunSummary, Stop};
pub(super) use crate::say::say;

/// Reads and plans an experiment; nothing is written.
pub(super) fn prepare(
    file: &Path,
    changes: Changes,
    setting: &Setting,
    library: &Library,
) -> Result<(Experiment, ExperimentPlan), Failure> {
    prepare_amended(&Source::File(file.to_owned()), None, changes, setting, library)
}

/// As [`prepare`], with a YAML list of strategies that are added to those of the experiment.
pub(super) fn prepare_amended(
    source: &Source,
    strategies: Option<&str>,
    changes: Changes,
    setting: &Setting,
    library: &Library,
) -> Result<(Experiment, ExperimentPlan), Failure> {
    let amendments = Amendments { random: changes.random, strategies };
    let mut experiment = config::load_amended(source, amendments, library).map_err(refused)?;
    laws::try_added(&experiment)?;
    if changes.limit == Some(0) {
        return Err(refused(miette!(help = "leave --limit out to run all items", "--limit must be at least 1")));
    }
    if let Some(limit) = changes.limit {
        experiment.override_limit(limit);
    }
    let mut plan = plan::build(&experiment, setting, library).map_err(refused)?;
    fit::check(&experiment, &mut plan, library)?;
    Ok((experiment, plan))
}

pub(super) fn plan(
    file: &Path,
    changes: Changes,
    json: bool,
    measure: bool,
    data: &DataArgs,
    device: &DeviceArgs,
) -> Result<u8, Failure> {
    let (placement, setting) = device.open()?;
    let library = data.library(Downloads::Never)?;
    let (experiment, mut plan) = prepare(file, changes, &setting, &library)?;
    if measure {
        measure_rates(experiment, &plan, &library, placement)?;
    }
    plan.estimate_with(&Rates::read());
    let mut out = io::stdout().lock();
    let written = if json {
        let text = plan::to_json(&plan).map_err(|error| failed(miette!("cannot print the plan: {error}")))?;
        writeln!(out, "{text}")
    } else {
        let mut table = Vec::new();
        plan::write_table(&plan, &mut table)
            .and_then(|()| out.write_all(terminal_lines(&String::from_utf8_lossy(&table)).as_bytes()))
    };
    ignore_closed_pipe(written)?;
    Ok(DONE)
}

/// Items of each task over which a rate is measured at first.
const MEASURED_ITEMS: usize = 4;

/// Shorter measurements are repeated with more items.
const MEASURED_SECONDS: f64 = 0.5;

/// Measures the models whose rates on this machine are not known: `dense` on a few items of each task, in a folder that is removed.
fn measure_rates(
    mut experiment: Experiment,
    plan: &ExperimentPlan,
    library: &Library,
    placement: Placement,
) -> Result<(), Failure> {
    let rates = Rates::read();
    experiment.models.retain(|model| rates.of(model, &plan.setting).is_none());
    if experiment.models.is_empty() {
        return Ok(());
    }
    let dense = Strategy::new("dense", &BTreeMap::new()).map_err(|error| failed(hinted(&error.to_string(), &error)))?;
    experiment.strategies = vec![Variant { strategy: dense, seeds: Vec::new() }];
    "dense".clone_into(&mut experiment.baseline);
    (experiment.claim, experiment.sample) = (None, None);
    experiment.bridges.clear();
    experiment.probes.clear();
    experiment.schedules.clear();
    // What is excluded by model, task or protocol may not be possible at all.
    let concerns_dense =
        |condition: &Condition| matches!(condition, Condition::Model(_) | Condition::Task(_) | Condition::Protocol(_));
    experiment.exclude.retain(|selector| selector.conditions.iter().all(concerns_dense));
    experiment.zip.clear();
    let folder = std::env::temp_dir().join(format!("sweep-rates-{}", std::process::id()));
    let options = RunOptions { placement, quiet: true, ..RunOptions::default() };
    let most = experiment.limit.unwrap_or(usize::MAX);
    let mut items = MEASURED_ITEMS.min(most);
    loop {
        experiment.limit = Some(items);
        let plan = plan::build(&experiment, &plan.setting, library).map_err(refused)?;
        let measured = run::run(&experiment, &plan, library, &folder, &options);
        // What is left of a temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&folder);
        let took = measured.map_err(stopped)?.took;
        let is_all = plan.cells.iter().all(|cell| cell.items < items) || items == most;
        if is_all || took.iter().all(|took| took.seconds >= MEASURED_SECONDS) {
            learn_rates(&plan, &took);
            return Ok(());
        }
        items = (items * 8).min(most);
    }
}

/// Runs, and says where the time of a GPU went, however the run ended.
fn profiled(device: &Device, run: impl FnOnce() -> Result<RunSummary, Failure>) -> Result<RunSummary, Failure> {
    let (ended, times) = device::profile(device, run);
    match times {
        Ok(times) => say_times(&times),
        Err(error) => say(&format!("warning: the kernels were not measured: {error}")),
    }
    let summary = ended?;
    let cells: f64 = summary.took.iter().map(|took| took.seconds).sum();
    say(&format!("cells took {cells:.2} s by their own clocks"));
    Ok(summary)
}

fn say_times(times: &[KernelTime]) {
    let all: f64 = times.iter().map(|time| time.seconds).sum();
    say(&format!("kernels took {all:.2} s, those of guards included:"));
    for time in times {
        let share = 100.0 * time.seconds / all.max(f64::MIN_POSITIVE);
        say(&format!("{:>9.3} s {share:>5.1} % {:>8} launches  {}", time.seconds, time.launches, time.kernel));
    }
}

/// Keeps the rates that a run measured. Without them plans are less exact, and nothing else.
fn learn_rates(plan: &ExperimentPlan, took: &[Took]) {
    if let Err(error) = Rates::learn(plan, took) {
        say(&format!("warning: the measured rates could not be kept: {error}"));
    }
}

/// `--out`, or the experiment's own folder.
pub(super) fn results_folder(out: Option<PathBuf>, experiment: &Experiment) -> PathBuf {
    out.unwrap_or_else(|| Path::new("results").join(&experiment.name))
}

/// What a run computes where, and where its results go.
pub(super) struct Work<'a> {
    pub(super) file: &'a Path,
    pub(super) changes: Changes,
    /// Results folder, in place of the experiment's own.
    pub(super) out: Option<PathBuf>,
    pub(super) data: &'a DataArgs,
    pub(super) device: &'a DeviceArgs,
    /// A folder for the files of lm-evaluation-harness.
    pub(super) lm_eval_output: Option<&'a Path>,
    /// Whether to say how long each kernel took.
    pub(super) profile_kernels: bool,
}

pub(super) fn run(work: Work<'_>, mut options: RunOptions) -> Result<u8, Failure> {
    let Work { file, changes, out, data, device, lm_eval_output, profile_kernels } = work;
    let library = data.library(Downloads::Missing)?;
    let (placement, setting) = device.open()?;
    if profile_kernels && placement.device.is_cpu() {
        return Err(refused(miette!(
            help = "add --device cuda",
            "--profile-kernels measures a GPU, and this run is on the CPU"
        )));
    }
    let (experiment, plan) = prepare(file, changes, &setting, &library)?;
    say_commits(&library);
    warn_of_random_weights(&experiment);
    let folder = results_folder(out, &experiment);
    options.placement = placement;
    let (stop, listening) = Stop::listen().map_err(|error| failed(miette!("cannot listen to signals: {error}")))?;
    options.stop = stop;
    let plan = calibrated(&experiment, plan, &library, &folder, &options)?;
    let run = || run::run(&experiment, &plan, &library, &folder, &options).map_err(stopped);
    let summary = if profile_kernels {
        // Cells take longer meanwhile: their rates are not kept.
        profiled(&options.placement.device, run)?
    } else {
        let summary = run()?;
        learn_rates(&plan, &summary.took);
        summary
    };
    say(&format!("{} cells run, {} already there, {} failed", summary.ran, summary.reused, summary.failed));
    if summary.left_failed > 0 {
        say(&format!(
            "{} cells failed in an earlier run and were left alone; `sweep retry --failed {}` runs them again",
            summary.left_failed,
            folder.display()
        ));
    }
    if let Some(sharing) = summary.sharing {
        let executed = sharing.token_layers_executed as f64;
        let share = |of: u64| 100.0 * executed / (of as f64).max(1.0);
        say(&format!(
            "sharing: {:.2} million token-layers executed, {:.1} % of cell by cell, {:.1} % of request by request",
            executed / 1e6,
            share(sharing.token_layers_asked),
            share(sharing.token_layers_by_request)
        ));
    }
    let failed_probes = run_probes(&experiment, &plan, &library, &folder, &options)?;
    // Drawing is quick and can be made again: from here on a signal ends the program, and so does one that came too late for the cells.
    drop(listening);
    let mut whole = true;
    if let Some(interrupt) = options.stop.requested() {
        return Err(stopped(RunError::Interrupted(interrupt)));
    }
    if options.shard.is_some() {
        say(&format!(
            "this shard is done; {} cells lack groups of other shards; `sweep report {}` merges when all are done",
            summary.unfinished,
            folder.display()
        ));
    } else {
        whole = report_whole(&folder, &ReportWishes { lm_eval_output, ..ReportWishes::default() })?;
    }
    Ok(if whole && summary.failed + summary.left_failed + failed_probes == 0 { DONE } else { FAILED })
}

/// The plan with the thresholds that a run must find first.
fn calibrated(
    experiment: &Experiment,
    plan: ExperimentPlan,
    library: &Library,
    folder: &Path,
    options: &RunOptions,
) -> Result<ExperimentPlan, Failure> {
    if plan.trials.iter().all(|trial| trial.uncalibrated().is_none()) {
        return Ok(plan);
    }
    run::calibrate(experiment, &plan, library, folder, options).map_err(stopped)?;
    let mut plan = plan::build(experiment, &plan.setting, library).map_err(refused)?;
    fit::check(experiment, &mut plan, library)?;
    Ok(plan)
}

/// How the program ends where a run does not.
pub(super) fn stopped(error: RunError) -> Failure {
    match error {
        RunError::Store(refusal) if refusal.is_refusal() => refused(refusal),
        unreached @ RunError::Unreached(_) => refused(unreached),
        RunError::Interrupted(interrupt) => Failure { report: error.into(), code: interrupt.exit_code() },
        // Another one may be there where the run is started again.
        RunError::Device { .. } => Failure { report: error.into(), code: TEMPORARY },
        other => failed(other),
    }
}

/// Says what branches and tags of a hub stand for: a later run may find that they moved.
pub(super) fn say_commits(library: &Library) {
    for used in library.hub_commits().iter().filter(|used| used.revision != used.commit) {
        say(&format!("{}: `{}` of {} is commit {}", used.reference, used.revision, used.repository, used.commit));
    }
}

/// Says which models were never trained, before time is spent on them.
fn warn_of_random_weights(experiment: &Experiment) {
    let models: Vec<&str> = experiment.models.iter().filter(|m| m.is_random()).map(|m| m.reference.as_str()).collect();
    if !models.is_empty() {
        say(&format!("RANDOM WEIGHTS in {}: times and memory mean something, scores do not", models.join(", ")));
    }
}

/// Runs the probes; returns how many failed.
fn run_probes(
    experiment: &Experiment,
    plan: &ExperimentPlan,
    library: &Library,
    folder: &Path,
    options: &RunOptions,
) -> Result<usize, Failure> {
    if plan.probes.is_empty() {
        return Ok(0);
    }
    let probes = run::probes(experiment, plan, library, folder, options).map_err(stopped)?;
    say(&format!("{} probes run, {} already there, {} failed", probes.ran, probes.reused, probes.failed));
    Ok(probes.failed)
}

pub(super) fn retry(
    target: &Path,
    out: Option<PathBuf>,
    options: RunOptions,
    data: &DataArgs,
    device: &DeviceArgs,
) -> Result<u8, Failure> {
    let work = |file, out| Work {
        file,
        changes: Changes::default(),
        out,
        data,
        device,
        lm_eval_output: None,
        profile_kernels: false,
    };
    if !target.is_dir() {
        return run(work(target, out), options);
    }
    if out.is_some() {
        let help = "name the experiment file to choose a folder, or the folder alone";
        return Err(refused(miette!(help = help, "{} is a results folder; --out names another one", target.display())));
    }
    results::expect(target)?;
    // What was run, with the limit that it was run with.
    run(work(&target.join("experiment.yaml"), Some(target.to_owned())), options)
}

pub(super) fn analyse(folder: &Path) -> Result<u8, Failure> {
    results::expect(folder)?;
    let analysis = analysis::run(folder).map_err(|error| failed(hinted(&error.to_string(), &error)))?;
    list(&analysis.files)?;
    Ok(DONE)
}

/// What a report writes beside itself, and what it demands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReportWishes<'a> {
    /// A document whose marked blocks are filled.
    pub(super) splice: Option<&'a Path>,
    /// What figures are printed in.
    pub(super) paper: Option<::report::Paper>,
    /// What LaTeX tables show.
    pub(super) select: Option<&'a ::report::Select>,
    /// Missing and failed cells are a failure.
    pub(super) complete: bool,
    /// Folder for the files of lm-evaluation-harness.
    pub(super) lm_eval_output: Option<&'a Path>,
}

/// Analyses and reports.
pub(super) fn report(folder: &Path, wishes: &ReportWishes<'_>) -> Result<u8, Failure> {
    let whole = report_whole(folder, wishes)?;
    Ok(if whole { DONE } else { FAILED })
}

/// Analyses and reports; says whether the report is all that it was asked to be.
fn report_whole(folder: &Path, wishes: &ReportWishes<'_>) -> Result<bool, Failure> {
    results::expect(folder)?;
    if let Some(file) = wishes.splice {
        // A document that cannot be filled is refused before the report is made, not after.
        ::report::check_document(file).map_err(|error| refused(hinted(&error.to_string(), &error)))?;
    }
    if let Some(out) = wishes.lm_eval_output {
        expect_folder_or_none(out)?;
    }
    let how = ::report::Wishes { paper: wishes.paper, select: wishes.select.cloned().unwrap_or_default() };
    let summary = ::report::run_as(folder, &how).map_err(|error| failed(hinted(&error.to_string(), &error)))?;
    if let Some(file) = wishes.splice {
        ::report::splice(folder, &summary.experiment, file)
            .map_err(|error| failed(hinted(&error.to_string(), &error)))?;
    }
    for (figure, reason) in &summary.failed_figures {
        say(&format!("warning: the figure {} could not be drawn: {}", terminal(figure), terminal(reason)));
    }
    if !summary.removed.is_empty() {
        say(&format!(
            "{} files of an earlier report, which this one does not make, were removed",
            summary.removed.len()
        ));
    }
    say(&format!(
        "{} cells done, {} failed, {} unfinished; {} figures in {}, {} tables in {}",
        summary.done,
        summary.failed,
        summary.unfinished,
        summary.figures.iter().filter(|path| path.extension().is_some_and(|extension| extension == "pdf")).count(),
        folder.join("figures").display(),
        summary.tables.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")).count(),
        folder.join("tables").display(),
    ));
    list(&[summary.report, summary.html])?;
    if let Some(out) = wishes.lm_eval_output {
        export(folder, out)?;
    }
    let lacks = summary.unfinished + summary.failed > 0;
    Ok(!(wishes.complete && lacks) && summary.failed_figures.is_empty())
}

/// Writes the files of lm-evaluation-harness.
fn export(folder: &Path, out: &Path) -> Result<(), Failure> {
    let export = analysis::lm_eval::write(folder, out).map_err(|error| failed(hinted(&error.to_string(), &error)))?;
    let without = match export.left_out {
        0 => String::new(),
        cells => format!("; {cells} failed or unfinished cells are in none"),
    };
    say(&format!("{} trials in {} as lm-evaluation-harness writes them{without}", export.results.len(), out.display()));
    Ok(())
}

/// Refuses a folder to write into that is something else.
pub(super) fn expect_folder_or_none(path: &Path) -> Result<(), Failure> {
    match std::fs::metadata(path) {
        Ok(facts) if !facts.is_dir() => {
            Err(refused(miette!(help = "choose a new folder, or one that is there", "{} is no folder", path.display())))
        }
        _ => Ok(()),
    }
}

fn list(files: &[PathBuf]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    ignore_closed_pipe(files.iter().try_for_each(|file| writeln!(out, "{}", terminal(&file.display().to_string()))))
}

/// Whether nobody reads stdout any more: the other end of a pipe was closed, or the terminal.
pub(super) fn has_no_reader(error: &io::Error) -> bool {
    let is_terminal = || {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        stdout.and_then(|stdout| File::from(stdout).metadata()).is_ok_and(|facts| facts.file_type().is_char_device())
    };
    // A terminal that is gone answers no question but what kind of file it was.
    error.kind() == io::ErrorKind::BrokenPipe || error.raw_os_error() == Some(nix::libc::EIO) && is_terminal()
}

/// Ends writing data to stdout. A reader that has seen enough (`sweep plan | head`) is no failure.
pub(super) fn ignore_closed_pipe(written: io::Result<()>) -> Result<(), Failure> {
    // What is still buffered may not fit either.
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if !has_no_reader(&error) => {
            let help = "what was computed is kept; make room where the output goes, or send it elsewhere";
            Err(failed(miette!(help = help, "cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
