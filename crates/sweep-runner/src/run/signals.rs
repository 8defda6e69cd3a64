//! Signals: the first one asks the run to end in order, the second one ends it at once.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// A signal that ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C.
    Int,
    /// What `kill` sends, and batch systems at the end of a job.
    Term,
    /// What batch systems can be told to send before they take a job away; the job wants to be queued again.
    Usr1,
}

impl Interrupt {
    const ALL: [Self; 3] = [Self::Int, Self::Term, Self::Usr1];

    fn number(self) -> i32 {
        match self {
            Self::Int => SIGINT,
            Self::Term => SIGTERM,
            Self::Usr1 => SIGUSR1,
        }
    }

    /// Exit code of a process that it ended: 128 + signal as shells have it, and 75 (`EX_TEMPFAIL` of sysexits.h: try again) for
    /// the warning that a job is about to be taken away.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Int => 130,
            Self::Term => 143,
            Self::Usr1 => 75,
        }
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int => "SIGINT (Ctrl-C)",
            Self::Term => "SIGTERM",
            Self::Usr1 => "SIGUSR1",
        })
    }
}

/// Whether a run was asked to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Number of the signal; 0 before there is one.
    signal: Arc<AtomicUsize>,
    /// Whether the next signal does what it does by default: end the process.
    at_once: Arc<AtomicBool>,
}

impl Stop {
    /// Listens to SIGINT, SIGTERM and SIGUSR1 from here on, until the value returned by it is dropped.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> io::Result<(Self, Listening)> {
        let stop = Self::default();
        for interrupt in Interrupt::ALL {
            let number = interrupt.number();
            // In this order: what the second signal does must not be armed by the first one before it is asked.
            flag::register_conditional_default(number, Arc::clone(&stop.at_once))?;
            flag::register(number, Arc::clone(&stop.at_once))?;
            flag::register_usize(number, Arc::clone(&stop.signal), number as usize)?;
        }
        let listening = Listening(Arc::clone(&stop.at_once));
        Ok((stop, listening))
    }

    /// The signal that asked the run to end.
    pub fn requested(&self) -> Option<Interrupt> {
        let signal = self.signal.load(Ordering::Relaxed) as i32;
        Interrupt::ALL.into_iter().find(|interrupt| interrupt.number() == signal)
    }
}

/// While it lives, the first signal is only noted.
#[derive(Debug)]
pub struct Listening(Arc<AtomicBool>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
