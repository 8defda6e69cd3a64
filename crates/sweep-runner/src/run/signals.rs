//! Signals: the first one asks the run to end in order, the second one ends it at once.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level};

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

    fn of(number: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|interrupt| interrupt.number() as usize == number)
    }

    fn taken(self) -> &'static AtomicUsize {
        let [int, term, usr1] = &TAKEN;
        match self {
            Self::Int => int,
            Self::Term => term,
            Self::Usr1 => usr1,
        }
    }

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

/// How many runs attend to each of [`Interrupt::ALL`] themselves, to end in order.
static TAKEN: [AtomicUsize; Interrupt::ALL.len()] = [const { AtomicUsize::new(0) }; Interrupt::ALL.len()];

/// From here on SIGINT, SIGTERM and SIGUSR1 end this program with their exit codes and a line that says so, except while somebody attends
/// to them in another way ([`Taken`]).
///
/// # Errors
/// The system refuses.
pub fn attend() -> io::Result<()> {
    let (mut arrivals, arrive) = UnixStream::pair()?;
    let latest: Arc<AtomicUsize> = Arc::default();
    for interrupt in Interrupt::ALL {
        let number = interrupt.number();
        flag::register_usize(number, Arc::clone(&latest), number as usize)?;
        low_level::pipe::register(number, arrive.try_clone()?)?;
    }
    let wait = move || {
        // The pipe lives as long as the process.
        while arrivals.read_exact(&mut [0]).is_ok() {
            let interrupt = Interrupt::of(latest.load(Ordering::SeqCst));
            if let Some(interrupt) = interrupt.filter(|interrupt| interrupt.taken().load(Ordering::SeqCst) == 0) {
                // Nobody may be listening any more.
                let _ = writeln!(
                    io::stderr(),
                    "stopped by {interrupt}; what is on disk is kept: run the same command again"
                );
                low_level::exit(interrupt.exit_code().into());
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// While it lives, [`attend`] does not care for some signals: its holder does.
#[derive(Debug)]
pub struct Taken(Vec<Interrupt>);

impl Taken {
    /// Takes them.
    #[must_use]
    pub fn take(interrupts: &[Interrupt]) -> Self {
        for interrupt in interrupts {
            interrupt.taken().fetch_add(1, Ordering::SeqCst);
        }
        Self(interrupts.to_vec())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for interrupt in &self.0 {
            interrupt.taken().fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Whether a run was asked to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Number of the signal; 0 before there is one.
    signal: Arc<AtomicUsize>,
    /// Whether the next signal ends the process at once, whatever it does.
    at_once: Arc<AtomicBool>,
}

impl Stop {
    /// Listens to SIGINT, SIGTERM and SIGUSR1 from here on, until the value returned by it is dropped.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> io::Result<(Self, Listening)> {
        let (stop, taken) = (Self::default(), Taken::take(&Interrupt::ALL));
        for interrupt in Interrupt::ALL {
            let number = interrupt.number();
            // In this order: what the second signal does must not be armed by the first one before it is asked.
            flag::register_conditional_shutdown(number, interrupt.exit_code().into(), Arc::clone(&stop.at_once))?;
            flag::register(number, Arc::clone(&stop.at_once))?;
            flag::register_usize(number, Arc::clone(&stop.signal), number as usize)?;
        }
        Ok((stop, Listening { _taken: taken }))
    }

    /// Asks the run to end, as the signal would.
    pub fn request(&self, interrupt: Interrupt) {
        self.signal.store(interrupt.number() as usize, Ordering::SeqCst);
    }

    /// The signal that asked the run to end.
    pub fn requested(&self) -> Option<Interrupt> {
        Interrupt::of(self.signal.load(Ordering::SeqCst))
    }
}

/// While it lives, the first signal is only noted.
#[derive(Debug)]
pub struct Listening {
    _taken: Taken,
}
