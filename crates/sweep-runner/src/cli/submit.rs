//! `submit`: an experiment as jobs of a cluster.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use miette::miette;
use records::files::{self, Durability};
use records::regular;

use super::changes::Changes;
use super::data::DataArgs;
use super::run_args::RunArgs;
use super::sweep::{ignore_closed_pipe, prepare, results_folder, say};
use super::{Cli, Command, DONE, Failure, Host, failed, host, refused};
use crate::library::Downloads;
use crate::plan::Setting;
use crate::record::store::Store;
use crate::submit::slurm::{self, Request, SubmitError};

/// Largest script of a user.
const MAX_TEMPLATE: u64 = 1 << 20;

/// Whom to hand it to.
#[derive(Subcommand)]
pub(super) enum SubmitCommand {
    /// Write the scripts of a SLURM array and of a report job behind it, and submit them
    Slurm(SlurmArgs),
}

/// What to submit.
///
/// Partition, account, time and GPUs are the template's, or sbatch's own variables (`SBATCH_PARTITION=gpu sweep submit ...`).
#[derive(clap::Args)]
pub(super) struct SlurmArgs {
    /// Experiment file
    #[arg(value_parser = crate::home::argument())]
    file: PathBuf,
    /// Tasks of the array; if left out, one per model and task of the experiment
    #[arg(long, value_name = "N")]
    shards: Option<usize>,
    #[command(flatten)]
    changes: Changes,
    /// Results folder, in place of results/<experiment>; scripts and logs go to its folder slurm/
    #[arg(long, value_name = "DIR", value_parser = crate::home::argument())]
    out: Option<PathBuf>,
    /// Script of the tasks, in place of experiments/templates/slurm.sbatch (which is part of this program)
    #[arg(long, value_name = "FILE", value_parser = crate::home::argument())]
    template: Option<PathBuf>,
    /// Script of the report job, in place of experiments/templates/slurm-report.sbatch
    #[arg(long, value_name = "FILE", value_parser = crate::home::argument())]
    report_template: Option<PathBuf>,
    /// Print the scripts and commands; write and submit nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    data: DataArgs,
    /// Further options of `sweep run`, after `--`: for example -- --device cuda --memory 8GiB
    #[arg(last = true, value_name = "RUN OPTION")]
    run: Vec<String>,
}

pub(super) fn slurm(args: SlurmArgs, host: Option<&Host>) -> Result<u8, Failure> {
    // The nodes may have other devices than this machine; models, tasks and refusals are the same on all.
    // What they lack is downloaded here, once: nodes often have no network.
    let library = args.data.library(if args.dry_run { Downloads::Never } else { Downloads::Missing })?;
    let (experiment, plan) = prepare(&args.file, args.changes, &Setting::default(), &library)?;
    if args.shards == Some(0) {
        return Err(refused(miette!(help = "leave --shards out for a default", "--shards must be at least 1")));
    }
    let shards = args.shards.unwrap_or_else(|| {
        let shards = (plan.models.len() * plan.tasks.len()).max(1);
        say(&format!(
            "{shards} tasks: one per model ({}) and task ({}), so that each loads one model; --shards changes that",
            plan.models.len(),
            plan.tasks.len()
        ));
        shards
    });
    let here = |path: &Path| {
        std::path::absolute(path).map_err(|error| refused(miette!("cannot find {}: {error}", path.display())))
    };
    let folder = here(&results_folder(args.out, &experiment))?;
    // Tasks start hours from now: they run the experiment as it is today.
    let frozen = slurm::scripts_folder(&folder).join("experiment.yaml");
    let (run, how) = run_arguments(&frozen, &folder, &args.data, args.run)?;
    let program = host::program(host)?;
    let array = template(args.template, slurm::ARRAY)?;
    let report = template(args.report_template, slurm::REPORT)?;
    let request = Request {
        name: &experiment.name,
        shards,
        program: &program,
        cwd: &here(Path::new("."))?,
        folder: &folder,
        run: &run,
        array: (&array.0, &array.1),
        report: (&report.0, &report.1),
    };
    let scripts = slurm::scripts(&request).map_err(refused)?;
    let mut out = io::stdout().lock();
    if args.dry_run {
        let [first, second] = slurm::commands(&scripts);
        let ((array, array_text), (report, report_text)) = (&scripts.array, &scripts.report);
        let written = write!(
            out,
            "==> {} <==\n{array_text}\n==> {} <==\n{report_text}\n==> commands <==\n{first}\n{second}\n",
            array.display(),
            report.display()
        );
        ignore_closed_pipe(written)?;
        return Ok(DONE);
    }
    Store::open(&folder, &plan, how.consent()).map_err(refused)?;
    let written = fs::create_dir_all(slurm::scripts_folder(&folder))
        .and_then(|()| files::write(&frozen, experiment.to_yaml().as_bytes(), Durability::Synced));
    written.map_err(|error| refused(SubmitError::Write { path: frozen.display().to_string(), error }))?;
    let submitted = slurm::submit(&scripts).map_err(failed)?;
    ignore_closed_pipe(writeln!(
        out,
        "array job {} ({shards} tasks), report job {}\nscripts and logs: {}",
        submitted.array,
        submitted.report,
        slurm::scripts_folder(&folder).display()
    ))?;
    Ok(DONE)
}

/// `run FILE --out FOLDER` with the options given, refused here where each task would refuse them.
fn run_arguments(
    file: &Path,
    folder: &Path,
    data: &DataArgs,
    options: Vec<String>,
) -> Result<(Vec<String>, RunArgs), Failure> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut arguments = vec!["run".to_owned(), text(file), "--out".to_owned(), text(folder)];
    // Where it was found here; nodes do not inherit every variable.
    if let Some(data) = data.folder()? {
        let data =
            std::path::absolute(&data).map_err(|error| refused(miette!("cannot find {}: {error}", data.display())))?;
        arguments.extend(["--data-dir".to_owned(), text(&data)]);
    }
    arguments.extend(options);
    let parsed = Cli::try_parse_from(std::iter::once("sweep".to_owned()).chain(arguments.iter().cloned()));
    match parsed {
        Ok(Cli { command: Command::Run(run) }) if run.shard.is_none() && run.changes.words().is_empty() => {
            Ok((arguments, run.how))
        }
        Ok(_) => Err(refused(miette!(
            help = "the array gives each task its share, and --limit and --random stand before `--`",
            "--shard, --limit and --random cannot be options of the tasks' `sweep run`"
        ))),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(refused(miette!(
                help = "what stands behind `--` goes to `sweep run`, which has its file and --out already; see `sweep run --help`",
                "{first}"
            )))
        }
    }
}

/// Name and text of a template.
fn template(path: Option<PathBuf>, default: (&str, &str)) -> Result<(String, String), Failure> {
    let Some(path) = path else { return Ok((default.0.to_owned(), default.1.to_owned())) };
    let text = regular::read_text(&path, MAX_TEMPLATE)
        .map_err(|error| refused(miette!("cannot read template {}: {error}", path.display())))?;
    Ok((path.display().to_string(), text))
}
