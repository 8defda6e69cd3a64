//! A body that arrives fast enough to end some day.
//!
//! A limit on the time between two bytes is met by a server that sends one byte every two seconds, and a limit on the whole time
//! by nobody who downloads gigabytes. So a body must bring a number of bytes in every stretch of time.

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

/// How much must arrive in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The stretch of time.
    pub window: Duration,
    /// Bytes that arrive in it at the least.
    pub bytes: u64,
    /// The longest wait for a byte, also for the first one of an answer.
    pub silence: Duration,
}

impl Default for Pace {
    /// A kibibyte a second: below that nothing of the size of a model ever arrives. The silence is that of the hub's own tools.
    fn default() -> Self {
        Self { window: Duration::from_secs(6), bytes: 6 << 10, silence: Duration::from_secs(10) }
    }
}

/// Reads until the pace is not kept; then every read is an error of kind [`ErrorKind::TimedOut`].
pub(crate) struct Paced<R> {
    inner: R,
    pace: Pace,
    since: Instant,
    arrived: u64,
}

impl<R: Read> Paced<R> {
    pub(crate) fn new(inner: R, pace: Pace) -> Self {
        Self { inner, pace, since: Instant::now(), arrived: 0 }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|error| {
            let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<ureq::Error>());
            if matches!(inside, Some(ureq::Error::Timeout(_))) {
                let problem = format!("nothing in {} s", self.pace.silence.as_secs_f64());
                return io::Error::new(ErrorKind::TimedOut, problem);
            }
            error
        })?;
        self.arrived += count as u64;
        if count > 0 && self.since.elapsed() >= self.pace.window {
            if self.arrived < self.pace.bytes {
                return Err(self.pace.missed());
            }
            (self.since, self.arrived) = (Instant::now(), 0);
        }
        Ok(count)
    }
}

impl Pace {
    fn missed(self) -> io::Error {
        let problem = format!("less than {} bytes in {} s", self.bytes, self.window.as_secs_f64());
        io::Error::new(ErrorKind::TimedOut, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte after each pause.
    struct Drip(Duration);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(self.0);
            buffer[0] = 1;
            Ok(1)
        }
    }

    #[test]
    fn what_drips_is_given_up_and_what_flows_is_not() {
        let pace = Pace { window: Duration::from_millis(40), bytes: 1000, silence: Duration::from_secs(1) };
        let started = Instant::now();
        let error = Paced::new(Drip(Duration::from_millis(5)), pace).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "less than 1000 bytes in 0.04 s");
        assert!(started.elapsed() < Duration::from_secs(5));
        let mut kept = Paced::new(io::repeat(1), pace);
        let mut buffer = [0; 1000];
        for _ in 0..30 {
            kept.read_exact(&mut buffer).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
