//! A SLURM array for the shares of an experiment, and a job behind it that reports.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use miette::Diagnostic;
use records::files::{self, Durability};
use thiserror::Error;

use super::shell::quote;
use super::template::{self, TemplateError, Value};

/// The script of the tasks, unless another one is given.
pub(crate) const ARRAY: (&str, &str) =
    ("experiments/templates/slurm.sbatch", include_str!("../../../../experiments/templates/slurm.sbatch"));

/// The script of the job behind them.
pub(crate) const REPORT: (&str, &str) = (
    "experiments/templates/slurm-report.sbatch",
    include_str!("../../../../experiments/templates/slurm-report.sbatch"),
);

/// Why an experiment was not submitted.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum SubmitError {
    /// A template that cannot be filled.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Template(#[from] TemplateError),
    /// A path that would end a `#SBATCH` line early.
    #[error("`{path}` cannot stand in a batch script")]
    #[diagnostic(help("choose folders whose names hold no quotes, backslashes and line breaks"))]
    Path { path: String },
    /// A script that cannot be written.
    #[error("cannot write {path}: {error}")]
    #[diagnostic(help("nothing was submitted"))]
    Write { path: String, error: io::Error },
    /// `sbatch` that cannot be started.
    #[error("cannot start sbatch: {error}")]
    #[diagnostic(help("submit where SLURM's clients are, usually a login node; --dry-run shows the scripts anywhere"))]
    NoSbatch { error: io::Error },
    /// `sbatch` that refuses.
    #[error("sbatch refused {script}: {reason}")]
    #[diagnostic(help("{hint}"))]
    Refused { script: String, reason: String, hint: String },
    /// `sbatch --parsable` that prints something else than an id.
    #[error("sbatch took {script} but printed no job id: `{printed}`")]
    #[diagnostic(help("look for the job with squeue; the report job was not submitted"))]
    NoId { script: String, printed: String },
}

/// What to submit, and where to.
pub(crate) struct Request<'a> {
    /// Name of the experiment.
    pub(crate) name: &'a str,
    /// Tasks of the array, at least 1.
    pub(crate) shards: usize,
    /// Words that start the program, the first one an absolute path.
    pub(crate) program: &'a [String],
    /// Folder in which the tasks start, absolute.
    pub(crate) cwd: &'a Path,
    /// Results folder, absolute.
    pub(crate) folder: &'a Path,
    /// What each task gives to the program: `run` with all its arguments.
    pub(crate) run: &'a [String],
    /// Name and text of the tasks' template.
    pub(crate) array: (&'a str, &'a str),
    /// Name and text of the template of the job behind them.
    pub(crate) report: (&'a str, &'a str),
}

/// Filled scripts with their places.
pub(crate) struct Scripts {
    /// The tasks.
    pub(crate) array: (PathBuf, String),
    /// The job behind them.
    pub(crate) report: (PathBuf, String),
}

/// Ids of the submitted jobs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Submitted {
    pub(crate) array: String,
    pub(crate) report: String,
}

/// Folder of scripts and logs below a results folder.
pub(crate) fn scripts_folder(results: &Path) -> PathBuf {
    results.join("slurm")
}

/// Fills both templates; writes nothing.
pub(crate) fn scripts(request: &Request<'_>) -> Result<Scripts, SubmitError> {
    let folder = scripts_folder(request.folder);
    let cwd = in_directive(request.cwd)?;
    // In the name of a log % introduces what SLURM fills in.
    let logs = in_directive(&folder)?.replace('%', "%%");
    let (shards, last) = (request.shards.to_string(), (request.shards - 1).to_string());
    let sweep = |arguments: &[String]| {
        let words: Vec<String> = request.program.iter().chain(arguments).map(|word| quote(word)).collect();
        words.join(" ")
    };
    let results = request.folder.to_string_lossy().into_owned();
    let run = sweep(request.run);
    let status = sweep(&["status".to_owned(), results.clone()]);
    let report = sweep(&["report".to_owned(), results, "--complete".to_owned()]);
    let values: [Value<'_>; 8] = [
        ("name", request.name),
        ("shards", &shards),
        ("last_shard", &last),
        ("cwd", &cwd),
        ("logs", &logs),
        ("run", &run),
        ("status", &status),
        ("report", &report),
    ];
    Ok(Scripts {
        array: (folder.join("array.sbatch"), template::fill(request.array.0, request.array.1, &values, "run")?),
        report: (folder.join("report.sbatch"), template::fill(request.report.0, request.report.1, &values, "report")?),
    })
}

/// A path between the double quotes of a `#SBATCH` line.
fn in_directive(path: &Path) -> Result<String, SubmitError> {
    match path.to_str() {
        Some(text) if !text.contains(['"', '\\', '\n']) => Ok(text.to_owned()),
        _ => Err(SubmitError::Path { path: path.display().to_string() }),
    }
}

/// The commands that [`submit`] runs, for people to read; the id of the array is not known before.
pub(crate) fn commands(scripts: &Scripts) -> [String; 2] {
    let path = |path: &Path| quote(&path.to_string_lossy());
    [
        format!("sbatch --parsable {}", path(&scripts.array.0)),
        format!("sbatch --parsable --dependency=afterany:ARRAY_JOB {}", path(&scripts.report.0)),
    ]
}

/// Writes the scripts and submits both, the report behind the array.
pub(crate) fn submit(scripts: &Scripts) -> Result<Submitted, SubmitError> {
    for (path, text) in [&scripts.array, &scripts.report] {
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| files::write(path, text.as_bytes(), Durability::Synced));
        written.map_err(|error| SubmitError::Write { path: path.display().to_string(), error })?;
    }
    let (array, cluster) = sbatch(&[], &scripts.array.0, "nothing was submitted; the script is yours to edit")?;
    let mut options = vec![format!("--dependency=afterany:{array}")];
    options.extend(cluster.map(|cluster| format!("--clusters={cluster}")));
    let hint = format!(
        "the array is submitted as job {array}: submit the report with `sbatch {} {}`, or scancel {array}",
        options.join(" "),
        quote(&scripts.report.0.to_string_lossy())
    );
    let (report, _) = sbatch(&options, &scripts.report.0, &hint)?;
    Ok(Submitted { array, report })
}

/// Submits a script; returns the job's id, and the cluster where SLURM names one.
fn sbatch(options: &[String], script: &Path, hint: &str) -> Result<(String, Option<String>), SubmitError> {
    let output = Command::new("sbatch")
        .arg("--parsable")
        .args(options)
        .arg(script)
        .output()
        .map_err(|error| SubmitError::NoSbatch { error })?;
    let script = script.display().to_string();
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !output.status.success() {
        let reason = if stderr.is_empty() { output.status.to_string() } else { stderr };
        return Err(SubmitError::Refused { script, reason, hint: hint.to_owned() });
    }
    if !stderr.is_empty() {
        tracing::warn!("sbatch: {stderr}");
    }
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (id, cluster) = match printed.split_once(';') {
        Some((id, cluster)) => (id, Some(cluster.to_owned())),
        None => (printed.as_str(), None),
    };
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SubmitError::NoId { script, printed });
    }
    Ok((id.to_owned(), cluster))
}
