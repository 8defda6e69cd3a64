use candle_core::Device;
use ssm_kernels::device;

use super::BenchError;

/// Bytes of the device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In use before a case began: the weights.
    pub weights: usize,
    /// Most in use at once while it ran, besides.
    pub peak: usize,
}

impl Memory {
    /// What is in use before a case begins; none where nothing is known.
    pub(super) fn before(device: &Device) -> Result<Option<usize>, BenchError> {
        // Memory comes back in the order of the stream.
        device::synchronize(device)?;
        Ok(device::used_memory(device)?)
    }

    /// The peak since it was last taken, over what was in use before.
    pub(super) fn peak(device: &Device, before: Option<usize>) -> Result<Option<Self>, BenchError> {
        let peak = device::take_peak_memory(device)?;
        Ok(before.zip(peak).map(|(weights, peak)| Self { weights, peak: peak.saturating_sub(weights) }))
    }
}
