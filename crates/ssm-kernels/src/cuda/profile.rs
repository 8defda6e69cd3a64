//! How long each kernel takes, on request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, sys};
use candle_core::cuda_backend::{CudaDevice, WrapErr};

use crate::error::KernelError;
use crate::kernel_time::KernelTime;

/// A launch between two events.
struct Span {
    kernel: String,
    before: CudaEvent,
    after: CudaEvent,
}

/// Launches whose events are kept before those that have ended are summed up.
const KEPT: usize = 4096;

/// The launches since [`start`]: those that may run still, and launches and seconds of the others by kernel.
#[derive(Default)]
struct Profile {
    spans: Vec<Span>,
    totals: BTreeMap<String, (usize, f64)>,
}

impl Profile {
    /// Sums up the launches that have ended.
    fn settle(&mut self) -> Result<(), KernelError> {
        for span in std::mem::take(&mut self.spans) {
            if !span.after.is_complete() {
                self.spans.push(span);
                continue;
            }
            let total = self.totals.entry(span.kernel).or_default();
            total.0 += 1;
            total.1 += f64::from(span.before.elapsed_ms(&span.after).w()?) * 1e-3;
        }
        Ok(())
    }
}

/// None while nobody measures.
static PROFILE: Mutex<Option<Profile>> = Mutex::new(None);

/// Measures every launch from now on.
pub(crate) fn start() {
    *PROFILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Profile::default());
}

/// Runs `launch`, between two events if somebody measures.
pub(crate) fn around(
    stream: &CudaStream,
    kernel: impl FnOnce() -> String,
    launch: impl FnOnce() -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let measures = PROFILE.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    if !measures {
        return launch();
    }
    let event = || stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).w();
    let before = event()?;
    launch()?;
    let span = Span { kernel: kernel(), before, after: event()? };
    if let Some(profile) = PROFILE.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        profile.spans.push(span);
        if profile.spans.len() >= KEPT {
            profile.settle()?;
        }
    }
    Ok(())
}

/// Stops measuring and sums up, the slowest kernel first.
pub(crate) fn finish(device: &CudaDevice) -> Result<Vec<KernelTime>, KernelError> {
    device.cuda_stream().context().synchronize().w()?;
    let mut profile = PROFILE.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    profile.settle()?;
    let mut times: Vec<KernelTime> = profile
        .totals
        .into_iter()
        .map(|(kernel, (launches, seconds))| KernelTime { kernel, launches, seconds })
        .collect();
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok(times)
}
