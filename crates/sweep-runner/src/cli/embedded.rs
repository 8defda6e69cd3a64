//! `plan` and `run` as functions, for a program that holds this one.

use std::path::PathBuf;
use std::sync::Once;

use miette::Diagnostic;
use records::schema;

use super::changes::Changes;
use super::data::DataArgs;
use super::device::DeviceArgs;
use super::sweep::{prepare_amended, results_folder, say_commits, stopped};
use super::{Failure, failed, hinted, log, threads};
use crate::config::Source;
use crate::library::{Downloads, Library};
use crate::plan::{self, ExperimentPlan, Setting};
use crate::record::status;
use crate::run::{self, RunError, RunOptions};

/// An experiment, and how to run it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The experiment.
    pub experiment: Source,
    /// A YAML list of strategies that are added to its own.
    pub strategies: Option<String>,
    /// Largest number of items per task, in place of the experiment's.
    pub limit: Option<usize>,
    /// Results folder, in place of `results/<experiment>`.
    pub out: Option<PathBuf>,
    /// `--device`.
    pub device: String,
    /// `--dtype`.
    pub dtype: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// The rest; where models compute is taken from `device` and `dtype`.
    pub options: RunOptions,
}

/// A planned experiment.
#[derive(Clone, Debug)]
pub struct Planned {
    /// As `sweep plan` prints it.
    pub table: String,
    /// As `sweep plan --json` prints it.
    pub json: String,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Results folder, with its report.
    pub folder: PathBuf,
    /// Cells recorded now.
    pub ran: usize,
    /// Cells that were already there.
    pub reused: usize,
    /// What went wrong, of each cell that has failed.
    pub failures: Vec<schema::Failure>,
}

/// Why it was not done.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What is wrong; a line each where several things are.
    pub message: String,
    /// Where, as `file:line:column`.
    pub place: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit code of the command line for it.
    pub code: u8,
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let report = failure.report;
        let diagnostic: &dyn Diagnostic = report.as_ref();
        let mut message = report.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        for other in diagnostic.related().into_iter().flatten() {
            let (place, help) = (place(other).unwrap_or_default(), other.help().map(|help| format!(" ({help})")));
            message += &["\n", &place, ": ", &other.to_string(), &help.unwrap_or_default()].concat();
        }
        Self {
            message,
            place: place(diagnostic),
            hint: diagnostic.help().map(|help| help.to_string()),
            code: failure.code,
        }
    }
}

/// Where a problem is, as `file:line:column`.
fn place(diagnostic: &dyn Diagnostic) -> Option<String> {
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    let (source, label) = diagnostic.source_code().zip(label)?;
    let contents = source.read_span(label.inner(), 0, 0).ok()?;
    Some(format!("{}:{}:{}", contents.name()?, contents.line() + 1, contents.column() + 1))
}

/// Plans an experiment; nothing is written.
///
/// # Errors
/// It is refused.
pub fn plan(request: &Request) -> Result<Planned, Problem> {
    begin()?;
    let (_, setting) = device(request).open()?;
    let (_, plan) = prepare(request, &setting, &DataArgs::at(request.data_dir.clone()).library(Downloads::Never)?)?;
    let json = plan::to_json(&plan).map_err(|error| failed(miette::miette!("cannot print the plan: {error}")))?;
    let mut table = Vec::new();
    plan::write_table(&plan, &mut table).map_err(|error| failed(miette::miette!("cannot print the plan: {error}")))?;
    Ok(Planned { table: String::from_utf8_lossy(&table).into_owned(), json })
}

/// Runs an experiment and reports it. Signals are the caller's: it asks the run to end through `options.stop`.
///
/// # Errors
/// It is refused, stopped, or cannot be reported. Cells that fail are no error: the outcome names them.
pub fn run(request: &Request) -> Result<Outcome, Problem> {
    begin()?;
    let library = DataArgs::at(request.data_dir.clone()).library(Downloads::Missing)?;
    let (placement, setting) = device(request).open()?;
    let (experiment, plan) = prepare(request, &setting, &library)?;
    let options = RunOptions { placement, ..request.options.clone() };
    if !options.quiet {
        say_commits(&library);
    }
    let folder = results_folder(request.out.clone(), &experiment);
    let summary = run::run(&experiment, &plan, &library, &folder, &options).map_err(stopped)?;
    if !plan.probes.is_empty() {
        run::probes(&experiment, &plan, &library, &folder, &options).map_err(stopped)?;
    }
    if let Some(interrupt) = options.stop.requested() {
        return Err(stopped(RunError::Interrupted(interrupt)).into());
    }
    ::report::run(&folder).map_err(|error| failed(hinted(&error.to_string(), &error)))?;
    let status = status::read(&folder).map_err(failed)?;
    let failures = status.map(|status| status.failures.into_values().collect()).unwrap_or_default();
    Ok(Outcome { folder, ran: summary.ran, reused: summary.reused, failures })
}

fn prepare(
    request: &Request,
    setting: &Setting,
    library: &Library,
) -> Result<(crate::config::Experiment, ExperimentPlan), Failure> {
    let changes = Changes { limit: request.limit, random: false };
    prepare_amended(&request.experiment, request.strategies.as_deref(), changes, setting, library)
}

fn device(request: &Request) -> DeviceArgs {
    DeviceArgs::named(&request.device, request.dtype.as_deref())
}

/// Threads and the log are started once in a process; a pool that somebody else started serves as well.
pub(super) fn begin() -> Result<(), Failure> {
    static LOG: Once = Once::new();
    LOG.call_once(log);
    threads::start_once()
}
