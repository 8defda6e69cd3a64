//! Child processes that run beside each other: their lines, their ends, and the signals meant for them.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::TEMPORARY;
use crate::run::{Interrupt, Taken};
use crate::say::say;

/// Time between two looks at the children.
const EVERY: Duration = Duration::from_millis(50);

/// Signals that are passed on. Ctrl-C is not among them: a terminal sends it to children by itself.
const PASSED_ON: [Signal; 2] = [Signal::SIGUSR1, Signal::SIGTERM];

/// Signals to this process, kept until they are passed on.
pub(super) struct Signals {
    arrived: [Arc<AtomicBool>; PASSED_ON.len()],
    /// Which ones ever arrived.
    seen: [AtomicBool; PASSED_ON.len()],
    _taken: Taken,
}

impl Signals {
    /// From now on these signals do not end this process.
    pub(super) fn listen() -> io::Result<Self> {
        let taken = Taken::take(&[Interrupt::Usr1, Interrupt::Term]);
        let signals = Self { arrived: Default::default(), seen: Default::default(), _taken: taken };
        for (signal, flag) in PASSED_ON.iter().zip(&signals.arrived) {
            signal_hook::flag::register(*signal as i32, Arc::clone(flag))?;
        }
        Ok(signals)
    }

    fn pass_on(&self, children: &[Running]) {
        for (index, signal) in PASSED_ON.into_iter().enumerate() {
            if self.arrived[index].swap(false, Ordering::SeqCst) {
                self.seen[index].store(true, Ordering::SeqCst);
                send(children, signal);
            }
        }
    }

    /// The signal that asked this process to end, where its children had done everything by then.
    pub(super) fn late(&self) -> Option<Interrupt> {
        let came = |index: usize| self.arrived[index].load(Ordering::SeqCst) || self.seen[index].load(Ordering::SeqCst);
        let [usr1, term] = [came(0), came(1)];
        usr1.then_some(Interrupt::Usr1).or(term.then_some(Interrupt::Term))
    }

    /// How this process ends where it was asked to stop and some child did not finish: as the children ended.
    pub(super) fn exit_code(&self, ended: &[Ended]) -> Option<u8> {
        if ended.iter().all(|ended| !ended.is_lost()) {
            return None;
        }
        let seen = PASSED_ON.iter().zip(&self.seen).find(|(_, seen)| seen.load(Ordering::SeqCst))?;
        let stopped = ended.iter().all(|ended| !ended.is_lost() || ended.code == Some(i32::from(TEMPORARY)));
        // As a shell says it: 128 and the number of the signal.
        Some(if stopped { TEMPORARY } else { 128 + *seen.0 as i32 as u8 })
    }
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Exit code; none if a signal ended it.
    pub(super) code: Option<i32>,
}

impl Ended {
    /// Neither done, nor failed in a way that it recorded, nor refused: killed, crashed, or told to come again.
    pub(super) fn is_lost(&self) -> bool {
        !matches!(self.code, Some(0..=2))
    }
}

struct Running {
    name: String,
    child: Child,
    lines: thread::JoinHandle<()>,
    ended: Option<Ended>,
}

impl Running {
    fn start(name: String, command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take();
        let prefix = name.clone();
        let lines = thread::spawn(move || {
            // A line that is no text is no reason to stop reading: the child would be held up.
            let lines = stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n').map_while(Result::ok));
            lines.for_each(|line| say(&format!("[{prefix}] {}", String::from_utf8_lossy(&line))));
        });
        Ok(Self { name, child, lines, ended: None })
    }

    /// A child that has ended meanwhile needs no signal.
    fn send(&self, signal: Signal) {
        if self.ended.is_none() {
            let _ = signal::kill(Pid::from_raw(self.child.id() as i32), signal);
        }
    }

    /// Looks whether the child has ended; true once, when it has failed.
    fn look(&mut self) -> io::Result<bool> {
        if self.ended.is_some() {
            return Ok(false);
        }
        let Some(status) = self.child.try_wait()? else { return Ok(false) };
        if !status.success() {
            say(&format!("[{}] ended: {status}", self.name));
        }
        self.ended = Some(Ended { code: status.code() });
        Ok(!status.success())
    }
}

fn send(children: &[Running], signal: Signal) {
    for child in children {
        child.send(signal);
    }
}

/// Runs the commands beside each other, each with a name for its lines, and waits for all; returns how each ended, in order.
/// With `fail_fast` the first one that fails ends the others.
///
/// # Errors
/// One cannot be started; those that were are ended.
pub(super) fn run(
    commands: impl Iterator<Item = (String, Command)>,
    signals: &Signals,
    fail_fast: bool,
) -> io::Result<Vec<Ended>> {
    let mut children: Vec<Running> = Vec::new();
    let mut trouble = None;
    for (name, mut command) in commands {
        match Running::start(name, &mut command) {
            Ok(child) => children.push(child),
            Err(error) => {
                send(&children, Signal::SIGTERM);
                trouble = Some(error);
                break;
            }
        }
    }
    while children.iter().any(|child| child.ended.is_none()) {
        signals.pass_on(&children);
        let mut failed = false;
        for child in &mut children {
            failed |= child.look()?;
        }
        if failed && fail_fast {
            send(&children, Signal::SIGTERM);
        }
        thread::sleep(EVERY);
    }
    let ended = children.into_iter().filter_map(|child| {
        // The reader ends with its pipe, and a panic in it has nothing more to say.
        let _ = child.lines.join();
        child.ended
    });
    let ended = ended.collect();
    trouble.map_or(Ok(ended), Err)
}
