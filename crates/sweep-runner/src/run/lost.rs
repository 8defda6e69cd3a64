//! Whether a GPU still answers.

use candle_core::Device;
use ssm_kernels::device;

use super::RunError;

/// Refuses to go on where something failed because the device did: most errors of a cell or a probe leave the device as it was; a
/// few make everything after them fail, and are not the cell's.
pub(super) fn check(device: &Device, mut failed: impl Iterator<Item = bool>) -> Result<(), RunError> {
    if failed.any(|failed| failed) {
        device::synchronize(device).map_err(|error| RunError::Device { error: error.to_string() })?;
    }
    Ok(())
}

/// What stopped a run: the device, where it does not answer any more, whatever failed first because of it.
pub(super) fn cause(device: &Device, error: RunError) -> RunError {
    match error {
        RunError::Library(_) | RunError::Executor { .. } => match device::synchronize(device) {
            Ok(()) => error,
            Err(lost) => RunError::Device { error: lost.to_string() },
        },
        RunError::Store(_)
        | RunError::Device { .. }
        | RunError::Failures { .. }
        | RunError::Unreached(_)
        | RunError::Uncalibrated { .. }
        | RunError::Interrupted(_) => error,
    }
}
