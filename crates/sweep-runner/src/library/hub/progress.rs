//! Progress of a download: a bar on a terminal, plain lines elsewhere. Everything goes to stderr.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use hub::Event;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::say::say;

/// Least time between two plain lines about one download.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The download of one model.
pub(super) struct Progress {
    reference: String,
    bar: ProgressBar,
    terminal: bool,
    last_line: Instant,
    /// Bytes that are there, of each file that was begun.
    present: BTreeMap<String, u64>,
    /// Bytes of all files that were announced.
    total: u64,
}

impl Progress {
    pub(super) fn start(reference: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let template = "{bar:30} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, ETA {eta}  {wide_msg}";
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self {
            reference: reference.to_owned(),
            bar,
            terminal,
            last_line: Instant::now(),
            present: BTreeMap::new(),
            total: 0,
        }
    }

    /// Says that a revision stands for what it stood for before, since the hub could not be asked.
    pub(super) fn not_asked(&self, revision: &str, why: &str) {
        self.say(&format!("{}: `{revision}` is what it was when it was downloaded: {why}", self.reference));
    }

    pub(super) fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Begin { files, bytes } => {
                self.total += bytes;
                self.bar.set_length(self.total);
                let files = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
                self.say(&format!("{}: downloading {files}, {}", self.reference, HumanBytes(*bytes)));
            }
            Event::At { file, bytes, .. } => {
                self.at(file, *bytes);
                if !self.terminal && self.last_line.elapsed() >= LINE_EVERY {
                    self.last_line = Instant::now();
                    let (present, total) = (HumanBytes(self.bar.position()), HumanBytes(self.total));
                    self.say(&format!("{}: {present} of {total}", self.reference));
                }
            }
            Event::Done { file, size } => self.at(file, *size),
            Event::Waiting { why, pause } => {
                self.say(&format!("{}: {why}; trying again in {:.0} s", self.reference, pause.as_secs_f64().ceil()));
            }
            Event::Damaged { why } => self.say(&format!("{}: {why}; downloading it again", self.reference)),
            Event::Locked { file } => {
                self.say(&format!("{}: another process is downloading {file}; waiting for it", self.reference));
            }
        }
    }

    fn at(&mut self, file: &str, bytes: u64) {
        self.bar.set_message(report::text::terminal(file));
        self.present.insert(file.to_owned(), bytes);
        self.bar.set_position(self.present.values().sum());
    }

    fn say(&self, text: &str) {
        let text = report::text::terminal_lines(text);
        if self.terminal {
            self.bar.println(text);
        } else {
            say(&text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
