//! The command line: one sub-command per stage. Data goes to stdout, everything else to stderr.

mod bench;
mod changes;
mod children;
mod claims;
mod compare;
mod completions;
mod data;
mod device;
mod embedded;
mod fetch;
mod fit;
mod host;
mod items;
mod laws;
mod list;
mod logits;
mod model;
mod new;
mod rank;
mod results;
mod run;
mod run_args;
mod schema;
mod shard;
mod status;
mod submit;
mod sweep;
mod threads;
mod workers;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory, Parser, Subcommand};
use hint::Hint;
use tracing_subscriber::EnvFilter;

use crate::run::{Interrupt, RunOptions};
use crate::say::{say_coloured, say_text};
use bench::BenchArgs;
use changes::Changes;
use claims::ClaimsArgs;
use compare::CompareArgs;
use data::DataArgs;
use device::DeviceArgs;
pub use embedded::{Outcome, Planned, Problem, Request, plan, run};
use host::RulesArgs;
pub use host::{Host, WordsAndHint};
use items::ItemsArgs;
pub use model::{OpenModel, open_model};
use new::NewArgs;
use rank::RankArgs;
use run::RunCommand;
use run_args::RunArgs;
use submit::SubmitCommand;
use sweep::ReportWishes;

/// Ablations of token reduction on state space models.
#[derive(Parser)]
#[command(name = "sweep", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the grid of an experiment with exclusions and estimates; loads no model
    Plan {
        /// Experiment file
        #[arg(value_parser = crate::home::argument())]
        file: PathBuf,
        #[command(flatten)]
        changes: Changes,
        #[command(flatten)]
        rules: RulesArgs,
        /// Print the whole plan as JSON
        #[arg(long)]
        json: bool,
        /// Measure the rates of models that were not measured on this machine, over a few items; loads these models
        #[arg(long)]
        measure: bool,
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Download what experiments name and the cache lacks, and do nothing else; asks what branches and tags stand for now
    Fetch {
        /// Experiment files, references such as `hub:state-spaces/mamba2-130m`, or benchmarks such as `hellaswag`
        #[arg(required = true, value_name = "WHAT")]
        wanted: Vec<String>,
        /// Tokenizer of the references, in place of their own: what `tokenizer` of a model may be in an experiment
        #[arg(long, value_name = "TOKENIZER")]
        tokenizer: Option<String>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Run an experiment, then analyse and report it; cells that are recorded are not run again
    Run(RunCommand),
    /// Run the failed cells of an experiment again, and whatever is missing
    Retry {
        /// Results folder, or experiment file
        #[arg(value_parser = crate::home::argument())]
        target: PathBuf,
        /// Run the failed cells again; nothing else is retried
        #[arg(long, required = true)]
        failed: bool,
        /// Results folder, in place of results/<experiment>; where TARGET is a file
        #[arg(long, value_name = "DIR", value_parser = crate::home::argument())]
        out: Option<PathBuf>,
        #[command(flatten)]
        how: RunArgs,
        #[command(flatten)]
        rules: RulesArgs,
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        device: DeviceArgs,
    },
    /// Show what of an experiment is done, failed, missing and running; loads no model
    Status {
        /// Results folder
        #[arg(value_parser = crate::home::argument())]
        folder: PathBuf,
        /// Print everything as JSON
        #[arg(long)]
        json: bool,
    },
    /// Hand an experiment to a cluster
    #[command(subcommand)]
    Submit(SubmitCommand),
    /// Turn recorded cells into frames with statistics (Parquet)
    Analyse {
        /// Results folder
        #[arg(value_parser = crate::home::argument())]
        folder: PathBuf,
    },
    /// Analyse, then draw figures and write tables, report.md and report.html
    Report {
        /// Results folder
        #[arg(value_parser = crate::home::argument())]
        folder: PathBuf,
        /// Also fill the blocks `<!-- BEGIN: tables/NAME.md -->` ... `<!-- END -->` of this Markdown file
        #[arg(long, value_name = "FILE", value_parser = crate::home::argument())]
        splice: Option<PathBuf>,
        /// Draw figures for print: in the width, font and weight of lines of this paper, with text of 7 and 8 points
        #[arg(long, value_name = "PAPER", value_parser = paper_argument())]
        paper: Option<::report::Paper>,
        /// Show these rules, and after `@` these reductions in percent, in LaTeX tables: `dense,random,utrc@10,20`
        #[arg(long, value_name = "RULES@PERCENT", value_parser = ::report::Select::parse)]
        select: Option<::report::Select>,
        /// End with exit code 1 if cells are missing or failed
        #[arg(long)]
        complete: bool,
        /// Also write the results into this folder in the files of lm-evaluation-harness
        #[arg(long, value_name = "DIR", value_parser = crate::home::argument())]
        lm_eval_output: Option<PathBuf>,
    },
    /// Compare rules item by item: two results folders, or strategies of one
    Compare(CompareArgs),
    /// Write a first experiment about a rule (`--template`): compare, layers, protocols, books or long-context
    New(NewArgs),
    /// Rank the rules of a results folder over models, tasks and reductions, and show one against each other
    Rank(RankArgs),
    /// Put the claims of several results folders into one table: effects over models and on each
    Claims(ClaimsArgs),
    /// Show items under two arms: text with its removed tokens struck out, and the log-likelihood of every choice
    Items(ItemsArgs),
    /// Print the JSON Schema of experiment files, by which editors complete and check them
    Schema {
        #[command(flatten)]
        rules: RulesArgs,
    },
    /// Print a script that completes commands and flags of `sweep` in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: completions::Shell,
    },
    /// List the strategies with source, formula and options
    Strategies,
    /// List the probes with what they ask, measure and cost
    Probes,
    /// List the models that experiments can name
    Models,
    /// List the tasks that experiments can name
    Tasks {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Measure speed and memory of prefill and generation with random weights, against ceilings of the same run
    Bench(BenchArgs),
    /// Write the logits of given token ids, for comparison with other implementations
    Logits {
        /// Model reference, as in an experiment
        #[arg(long)]
        model: String,
        /// One JSON list of token ids a line
        #[arg(long, value_name = "FILE.jsonl", value_parser = crate::home::argument())]
        tokens: PathBuf,
        /// Tensors `logits.0`, `logits.1`, ...: float32 `[tokens, vocabulary]`, one per line
        #[arg(long, value_name = "FILE.safetensors", value_parser = crate::home::argument())]
        out: PathBuf,
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        device: DeviceArgs,
    },
}

/// The definition of the command line, to which pages are held.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Exit code of work that is done.
const DONE: u8 = 0;

/// Exit code where something failed while running.
const FAILED: u8 = 1;

/// Exit code where nothing was done because the input was refused.
const REFUSED: u8 = 2;

/// Exit code of a run that goes on where it is started again: it was told that its time is up, or its GPU was lost. Batch scripts
/// queue it again.
const TEMPORARY: u8 = Interrupt::Usr1.exit_code();

/// The binary `sweep`: [`main_in`] with the arguments of this process.
pub fn main() -> ExitCode {
    ExitCode::from(main_in(std::env::args_os(), None))
}

/// Runs the command line `args`, the name of the program first; `host` is the program that holds it, where that is not the binary
/// `sweep`. Not more than once in a process: it starts the threads and sees to the signals. Exit codes: 0 done, 1 something failed while running, 2 refused before work started; 130, 143 and 75
/// where a run was ended by SIGINT, SIGTERM or SIGUSR1 ([`crate::run::Interrupt::exit_code`]), 75 also where the GPU was lost.
pub fn main_in(args: impl Iterator<Item = OsString>, host: Option<&Host>) -> u8 {
    log();
    let command = match Cli::try_parse_from(args) {
        Ok(cli) => cli.command,
        Err(words) => return answer(&words),
    };
    match begin().and_then(|()| run_command(command, host)) {
        Ok(code) => code,
        Err(failure) => {
            show(&failure.report);
            failure.code
        }
    }
}

/// Starts the log on stderr; one that runs already stays.
fn log() {
    let filter = EnvFilter::try_from_env("SWEEP_LOG").unwrap_or_else(|_| {
        EnvFilter::new("warn,usvg=error,resvg=error,tiny_skia=error,krilla=error,krilla_svg=error")
    });
    // One that was set before stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would report on stderr that stderr cannot be written, and panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .try_init();
}

/// What every command needs: threads, and signals that end it with their own exit codes.
fn begin() -> Result<(), Failure> {
    threads::start()?;
    crate::run::attend().map_err(|error| failed(miette::miette!("cannot listen to signals: {error}")))
}

fn run_command(command: Command, host: Option<&Host>) -> Result<u8, Failure> {
    match command {
        Command::Plan { file, changes, rules, json, measure, data, device } => {
            rules.load(host)?;
            sweep::plan(&file, changes, json, measure, &data, &device)
        }
        Command::Fetch { wanted, tokenizer, data } => fetch::run(&wanted, tokenizer.as_deref(), &data),
        Command::Run(command) => run::run(command, host),
        Command::Retry { target, failed, out, how, rules, data, device } => {
            rules.load(host)?;
            let options = RunOptions { retry_failed: failed, ..how.options() };
            sweep::retry(&target, out, options, &data, &device)
        }
        Command::Status { folder, json } => status::show(&folder, json),
        Command::Submit(SubmitCommand::Slurm(args)) => submit::slurm(args, host),
        Command::Analyse { folder } => sweep::analyse(&folder),
        Command::Report { folder, splice, paper, select, complete, lm_eval_output } => {
            let (splice, lm_eval_output) = (splice.as_deref(), lm_eval_output.as_deref());
            sweep::report(&folder, &ReportWishes { splice, paper, select: select.as_ref(), complete, lm_eval_output })
        }
        Command::Compare(args) => compare::run(&args),
        Command::New(args) => new::run(&args, host),
        Command::Rank(args) => rank::run(&args),
        Command::Claims(args) => claims::run(&args),
        Command::Items(args) => items::run(args),
        Command::Schema { rules } => {
            rules.load(host)?;
            schema::print()
        }
        Command::Completions { shell } => completions::print(shell),
        Command::Strategies => list::strategies(),
        Command::Probes => list::probes(),
        Command::Models => list::models(),
        Command::Tasks { data } => list::tasks(&data),
        Command::Bench(args) => bench::run(args),
        Command::Logits { model, tokens, out, data, device } => logits::write(&model, &tokens, &out, &data, &device),
    }
}

/// An error at the edge, with the exit code it deserves.
struct Failure {
    report: miette::Report,
    code: u8,
}

/// The names of papers, and the paper of a name.
fn paper_argument() -> impl TypedValueParser<Value = ::report::Paper> {
    let names = ::report::Paper::ALL.map(|(name, _)| name);
    PossibleValuesParser::new(names).try_map(|name| ::report::Paper::named(&name).ok_or("no paper has this name"))
}

/// Before anything was written: exit code 2.
fn refused(error: impl Into<miette::Report>) -> Failure {
    Failure { report: error.into(), code: REFUSED }
}

/// While working: exit code 1.
fn failed(error: impl Into<miette::Report>) -> Failure {
    Failure { report: error.into(), code: 1 }
}

/// The words for an error with its hint.
fn hinted(words: &str, error: &dyn Hint) -> miette::Report {
    match error.hint() {
        Some(hint) => miette::miette!(help = hint, "{words}"),
        None => miette::miette!("{words}"),
    }
}

/// Help and versions are data; anything else in the place of a command is a mistake.
fn answer(words: &clap::Error) -> u8 {
    let written = words.print().and_then(|()| std::io::stdout().flush());
    let lost = written.is_err_and(|error| !sweep::has_no_reader(&error));
    if lost && !words.use_stderr() { FAILED } else { words.exit_code() as u8 }
}

fn show(report: &miette::Report) {
    // The graphical form is for people at a terminal; logs and tests get plain text.
    if std::io::stderr().is_terminal() {
        say_coloured(&format!("{}{report:?}", crate::config::heading(report.as_ref())));
    } else {
        say_text(&crate::config::render_plain(report.as_ref()));
    }
}
