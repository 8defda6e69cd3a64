//! How often and after which pause something is tried again.

use std::time::Duration;

/// Attempts and pauses; pauses double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in a row that may fail; at least one is made.
    pub attempts: u32,
    /// Pause after the first failure.
    pub first: Duration,
    /// Longest pause. A server that asks for a longer one is not waited for.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_secs(1), longest: Duration::from_mins(1) }
    }
}

impl Retry {
    /// The same for servers that keep their clients waiting: three attempts at the most, since each costs so much time.
    pub(crate) fn of_silence(self) -> Self {
        Self { attempts: self.attempts.min(3), ..self }
    }

    /// The pause after the `failed`-th failure in a row (from 1), at least what the server `asked` for; none to give up.
    pub(crate) fn pause(&self, failed: u32, asked: Option<Duration>) -> Option<Duration> {
        let own = self.first.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(self.longest);
        let pause = asked.map_or(own, |asked| asked.max(own));
        (failed < self.attempts && pause <= self.longest).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let retry = Retry { attempts: 5, first: Duration::from_secs(2), longest: Duration::from_secs(10) };
        let pauses: Vec<_> = (1..=5).map(|failed| retry.pause(failed, None).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(2), Some(4), Some(8), Some(10), None]);
    }

    #[test]
    fn a_server_is_waited_for_as_long_as_it_asks_within_reason() {
        let retry = Retry { attempts: 3, first: Duration::from_secs(2), longest: Duration::from_secs(10) };
        assert_eq!(retry.pause(1, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(retry.pause(1, Some(Duration::ZERO)), Some(Duration::from_secs(2)));
        assert_eq!(retry.pause(1, Some(Duration::from_secs(11))), None);
        assert_eq!(Retry::default().pause(1, Some(Duration::from_secs(u64::MAX))), None);
    }
}
