//! Whether a GPU still answers.

use candle_core::Device;
use ssm_kernels::device;

use super::RunError;
use super::recorder::GroupOutcome;

/// Refuses to go on where cells failed because the device did: most errors of a cell leave the device as it was; a few make
/// everything after them fail, and are not the cell's.
pub(super) fn check(device: &Device, outcomes: &[GroupOutcome]) -> Result<(), RunError> {
    if outcomes.iter().any(|outcome| outcome.result.is_err()) {
        device::synchronize(device).map_err(|error| RunError::Device { error: error.to_string() })?;
    }
    Ok(())
}
