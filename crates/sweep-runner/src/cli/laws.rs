//! The laws of strategies, tried on rules that were registered while the program ran: no test has seen them.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use ::reduction_strategies::laws;

use super::{Failure, hinted, refused};
use crate::config::Experiment;

/// Rules that passed, with their options and their source.
static PASSED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Tries the laws on each such rule of the experiment, once for each source and options.
///
/// # Errors
/// The first law that does not hold.
pub(super) fn try_added(experiment: &Experiment) -> Result<(), Failure> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    for variant in experiment.strategies.iter().filter(|variant| variant.strategy.registration.is_added()) {
        let rule = variant.strategy.rule().fingerprint();
        if !passed.contains(&rule) {
            laws::check(&variant.strategy).map_err(|breach| refused(hinted(&breach.to_string(), &breach)))?;
            passed.insert(rule);
        }
    }
    Ok(())
}
