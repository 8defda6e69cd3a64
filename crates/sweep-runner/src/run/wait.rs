//! Waiting for what other processes run.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::RunError;
use super::groups::Group;
use super::guard::Guards;
use super::recorder::Recorder;
use crate::record::store::{StoreError, io};

/// Time between two looks at the folder.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What comes after a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Something is missing that nobody runs (any more).
    Turn,
    /// Nothing is missing.
    End,
}

/// Waits until nothing is missing of `mine`, or something could be run. Where everything is mine, the guards and records of other
/// processes are waited for too.
pub(super) fn wait(
    mine: &[Group],
    everything: bool,
    guards: &mut Guards<'_>,
    recorder: &Recorder<'_>,
) -> Result<Next, RunError> {
    let ledger = recorder.ledger;
    let leases = ledger.store.leases();
    let mut told = BTreeSet::new();
    loop {
        if let Some(interrupt) = recorder.options.stop.requested() {
            return Err(RunError::Interrupted(interrupt));
        }
        ledger.refresh()?;
        guards.refresh()?;
        let mut holders = BTreeSet::new();
        for group in mine.iter().filter(|group| !ledger.missing(**group).is_empty()) {
            let name = ledger.cohorts[group.cohort].lease(group.index);
            match leases.holder(&name).map_err(|error| io("read", leases.folder(), error))? {
                Some(holder) => holders.insert(holder.who()),
                None => return Ok(Next::Turn),
            };
        }
        let unguarded = everything && guards.missing_models().next().is_some();
        let unrecorded = (0..ledger.cohorts.len()).any(|cohort| !ledger.ready(cohort).is_empty());
        if holders.is_empty() && !unguarded && !unrecorded {
            return Ok(Next::End);
        }
        if holders.is_empty() && (unrecorded || guards_are_free(guards)?) {
            return Ok(Next::Turn);
        }
        for holder in holders.difference(&told) {
            recorder.progress.say(&format!("waiting for {holder}, which runs the rest; Ctrl-C is safe"));
        }
        told.extend(holders);
        thread::sleep(LOOK_EVERY);
    }
}

fn guards_are_free(guards: &Guards<'_>) -> Result<bool, StoreError> {
    for model in guards.missing_models() {
        if guards.are_free(model)? {
            return Ok(true);
        }
    }
    Ok(false)
}
