//! Whether planning was asked to end: comparing all tokens of a very long sequence takes minutes.

use std::fmt;

use crate::error::PlanError;

/// Asked by loops whose time grows with the square of a sequence; never true where a driver does not say otherwise.
#[derive(Clone, Copy, Default)]
pub struct Stop<'a>(Option<&'a (dyn Fn() -> bool + Sync)>);

impl<'a> Stop<'a> {
    /// Once this returns true.
    #[must_use]
    pub fn when(stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self(Some(stop))
    }

    /// Ends the loop that asks.
    ///
    /// # Errors
    /// [`PlanError::Stopped`].
    pub fn check(self) -> Result<(), PlanError> {
        match self.0 {
            Some(stop) if stop() => Err(PlanError::Stopped),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Stop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}
