//! Progress: a bar with an ETA on a terminal, plain lines elsewhere. Everything goes to stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::plan::{Cell, PlannedTrial};
use crate::record::schema::{CellRecord, Status};

/// Least time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    bar: ProgressBar,
    terminal: bool,
    /// Time of the last plain line, and cells done since the start.
    state: std::cell::Cell<(Instant, usize)>,
    started: Instant,
    total: usize,
}

impl Progress {
    pub(super) fn start(missing: &[&Cell], reused: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(missing.len() as u64), target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cells, ETA {eta}  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let progress = Self {
            bar,
            terminal,
            state: std::cell::Cell::new((Instant::now(), 0)),
            started: Instant::now(),
            total: missing.len(),
        };
        progress.say(&format!("{} cells to run, {reused} already there", missing.len()));
        progress
    }

    /// One line that stays.
    #[expect(clippy::print_stderr, reason = "progress belongs on stderr")]
    pub(super) fn say(&self, text: &str) {
        if self.terminal {
            self.bar.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    pub(super) fn done(&self, trial: &PlannedTrial, cell: &Cell, record: &CellRecord, took: Duration) {
        self.bar.inc(1);
        let outcome = match record.status {
            Status::Done => format!("{:.1} s", took.as_secs_f64()),
            Status::Failed => format!("FAILED: {}", record.error.as_deref().unwrap_or("unknown")),
        };
        let line = format!("{} · {} · {outcome}", trial.describe(), cell.task);
        self.bar.set_message(line.clone());
        let (last, before) = self.state.get();
        let done = before + 1;
        let due = last.elapsed() >= LINE_EVERY || done == self.total || record.status == Status::Failed;
        self.state.set((if due { Instant::now() } else { last }, done));
        if due && !self.terminal {
            let rate = self.started.elapsed().as_secs_f64() / done as f64;
            let left = rate * (self.total - done) as f64;
            self.say(&format!("{done}/{} cells, about {left:.0} s left · {line}", self.total));
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
