//! `plan` and `run`: the engine works in a thread of its own, without Python's lock, while the caller's thread looks for Ctrl-C.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use sweep_runner::cli::{self, Outcome, Problem, Request};
use sweep_runner::config::Source;
use sweep_runner::record::store::Consent;
use sweep_runner::run::{Interrupt, REPEATS, RunOptions, Stop, parse_bytes};

use crate::error::{problem, refused};

/// Time between two looks at signals.
const EVERY: Duration = Duration::from_millis(50);

/// Longest time between Ctrl-C and its exception. Most runs end sooner. One that is in a long download or layer ends by itself after that.
const PATIENCE: Duration = Duration::from_millis(900);

/// An experiment and how to run it, as Python hands it over.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
#[expect(clippy::struct_excessive_bools, reason = "each is an argument of its own")]
pub(crate) struct Asked {
    file: Option<PathBuf>,
    text: Option<String>,
    strategies: Option<String>,
    limit: Option<usize>,
    out: Option<PathBuf>,
    device: String,
    dtype: Option<String>,
    data_dir: Option<PathBuf>,
    memory: Option<String>,
    max_failures: Option<usize>,
    sharing: bool,
    repeats: Option<u32>,
    retry_failed: bool,
    accept_changes: bool,
    keep_other_code: bool,
    force: bool,
    progress: bool,
}

impl Asked {
    fn request(self, py: Python<'_>) -> PyResult<Request> {
        let memory_bytes = self.memory.as_deref().map(parse_bytes).transpose();
        let memory_bytes = memory_bytes.map_err(|words| refused(py, &words, Some("for example memory=\"4GiB\"")))?;
        if self.repeats.is_some_and(|repeats| !REPEATS.contains(&repeats)) {
            let words = format!("repeats is {} to {}", REPEATS.start(), REPEATS.end());
            return Err(refused(py, &words, Some("leave it out to run each cell once")));
        }
        if self.repeats.is_some() && memory_bytes.is_some() {
            let hint = "leave memory out: a cell that is timed runs alone";
            return Err(refused(py, "repeats and memory exclude each other", Some(hint)));
        }
        if !self.sharing && memory_bytes.is_some() {
            let hint = "leave memory out: it bounds what cells share";
            return Err(refused(py, "sharing=False and memory exclude each other", Some(hint)));
        }
        let Self { accept_changes, keep_other_code, force, .. } = self;
        let options = RunOptions {
            max_failures: self.max_failures,
            no_sharing: !self.sharing,
            repeats: self.repeats.map(|count| count as usize),
            memory_bytes,
            consent: Consent { accept_changes, keep_other_code, force },
            retry_failed: self.retry_failed,
            quiet: !self.progress,
            stop: Stop::default(),
            ..RunOptions::default()
        };
        let experiment = match (self.file, self.text) {
            (Some(file), _) => Source::File(file),
            (None, text) => Source::Text { name: "the experiment".to_owned(), text: text.unwrap_or_default() },
        };
        Ok(Request {
            experiment,
            strategies: self.strategies,
            limit: self.limit,
            out: self.out,
            device: self.device,
            dtype: self.dtype,
            data_dir: self.data_dir,
            options,
        })
    }
}

/// Does `work` in another thread. The first signal of Python (Ctrl-C) asks `stop` to end it, and is raised when it has ended.
fn away<T: Send + 'static>(
    py: Python<'_>,
    stop: &Stop,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> PyResult<T> {
    let (sender, mut receiver) = mpsc::channel();
    let worker = thread::Builder::new().name("sweep".to_owned()).spawn(move || sender.send(work()));
    worker.map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
    let mut interrupted: Option<(PyErr, Instant)> = None;
    loop {
        let heard;
        (receiver, heard) = py.detach(move || {
            let heard = receiver.recv_timeout(EVERY);
            (receiver, heard)
        });
        match heard {
            Ok(done) => {
                return interrupted
                    .map_or_else(|| done.map_err(|error| problem(py, &error)), |(signal, _)| Err(signal));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("the engine panicked: the message is on stderr"));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Err(signal) = py.check_signals() {
                    stop.request(Interrupt::Int);
                    interrupted = Some((signal, Instant::now()));
                }
                if let Some((signal, _)) = interrupted.take_if(|(_, since)| since.elapsed() > PATIENCE) {
                    return Err(signal);
                }
            }
        }
    }
}

/// Plans: the table as text, and everything as JSON.
#[pyfunction]
pub(crate) fn plan(py: Python<'_>, asked: Asked) -> PyResult<(String, String)> {
    let request = asked.request(py)?;
    let planned = away(py, &Stop::default(), move || cli::plan(&request))?;
    Ok((planned.table, planned.json))
}

/// Runs: the results folder, cells run and already there, and the failures with their hints.
#[pyfunction]
#[expect(clippy::type_complexity, reason = "a tuple of Python")]
pub(crate) fn run(py: Python<'_>, asked: Asked) -> PyResult<(PathBuf, usize, usize, Vec<(String, Option<String>)>)> {
    let request = asked.request(py)?;
    let stop = request.options.stop.clone();
    let Outcome { folder, ran, reused, failures } = away(py, &stop, move || cli::run(&request))?;
    Ok((folder, ran, reused, failures.into_iter().map(|failure| (failure.error, failure.hint)).collect()))
}
