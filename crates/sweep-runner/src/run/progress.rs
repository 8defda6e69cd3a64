//! Progress: a bar with an ETA on a terminal, plain lines elsewhere. Everything goes to stderr.
//!
//! Cells that share work end together, long after they began. What moves is therefore the share of the work done, in units
//! of cells.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use records::schema::{CellRecord, Status};
use report::text::{terminal, terminal_lines};

use crate::plan::{Cell, PlannedTrial};
use crate::say::say;

/// Least time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Progress {
    bar: ProgressBar,
    terminal: bool,
    /// Nothing is said.
    quiet: bool,
    started: Instant,
    last_line: Instant,
    /// Cells of this run.
    total: usize,
    /// Work of finished groups, in cells.
    position: f64,
    /// Work of begun groups, in cells.
    begun: f64,
    /// The last cell that ended.
    latest: String,
    /// Whether a line has said so.
    said: bool,
}

impl Progress {
    pub(super) fn start(missing: usize, reused: usize, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(missing as u64), target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} cells, ETA {eta}  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let now = Instant::now();
        let progress = Self {
            bar,
            terminal,
            quiet,
            started: now,
            last_line: now,
            total: missing,
            position: 0.0,
            begun: 0.0,
            latest: String::new(),
            said: false,
        };
        progress.say(&format!("{missing} cells to run, {reused} already there"));
        progress
    }

    /// One line that stays.
    pub(super) fn say(&self, text: &str) {
        let text = terminal_lines(text);
        if self.terminal {
            self.bar.println(text);
        } else if !self.quiet {
            say(&text);
        }
    }

    /// A group has ended, which was worth so many cells.
    pub(super) fn finished(&mut self, cells: f64) {
        self.position += cells;
        self.underway(0.0);
    }

    /// So much is done of the groups that have not ended, in cells.
    pub(super) fn underway(&mut self, cells: f64) {
        self.begun = cells;
        self.bar.set_position((self.position + cells) as u64);
        if self.last_line.elapsed() >= LINE_EVERY {
            self.line();
        }
    }

    /// A cell has ended. One that failed has a line of its own, unless what it failed of was `said` for all of its kind.
    pub(super) fn done(&mut self, trial: &PlannedTrial, cell: &Cell, record: &CellRecord, took: Duration, said: bool) {
        let outcome = match record.status {
            Status::Done => format!("{:.1} s", took.as_secs_f64()),
            Status::Failed => format!("FAILED: {}", record.failure()),
        };
        self.latest = terminal(&format!("{} · {} · {outcome}", trial.describe(), cell.task));
        self.bar.set_message(self.latest.clone());
        self.said = said;
        if record.status == Status::Failed && !said {
            self.line();
        }
    }

    fn line(&mut self) {
        self.last_line = Instant::now();
        if !self.terminal {
            let position = self.position + self.begun;
            let done = format!("{}/{} cells", position.round(), self.total);
            // Nothing done says nothing of what is left.
            let mut words = vec![if position > 0.0 {
                let rate = self.started.elapsed().as_secs_f64() / position;
                format!("{done}, about {:.0} s left", rate * (self.total as f64 - position).max(0.0))
            } else {
                done
            }];
            words.extend(Some(self.latest.clone()).filter(|latest| !latest.is_empty() && !self.said));
            self.said = true;
            self.say(&words.join(" · "));
        }
    }

    pub(super) fn finish(&mut self) {
        if self.total > 0 {
            self.line();
        }
        self.bar.finish_and_clear();
    }
}
