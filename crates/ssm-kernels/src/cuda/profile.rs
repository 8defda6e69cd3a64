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
    /// Why something was not measured. What was to be measured goes on.
    failed: Option<KernelError>,
}

impl Profile {
    fn add(&mut self, kernel: String, before: Result<CudaEvent, KernelError>, after: Result<CudaEvent, KernelError>) {
        match (before, after) {
            (Ok(before), Ok(after)) => self.spans.push(Span { kernel, before, after }),
            (Err(error), _) | (_, Err(error)) => self.failed = Some(error),
        }
        if self.spans.len() >= KEPT {
            self.settle();
        }
    }

    /// Sums up the launches that have ended.
    fn settle(&mut self) {
        for span in std::mem::take(&mut self.spans) {
            match span.seconds() {
                Ok(Some(seconds)) => {
                    let total = self.totals.entry(span.kernel).or_default();
                    total.0 += 1;
                    total.1 += seconds;
                }
                Ok(None) => self.spans.push(span),
                Err(error) => self.failed = Some(error),
            }
        }
    }
}

impl Span {
    /// None while the kernel runs or waits.
    fn seconds(&self) -> Result<Option<f64>, KernelError> {
        if !self.after.try_is_complete().w()? {
            return Ok(None);
        }
        Ok(Some(f64::from(self.before.elapsed_ms(&self.after).w()?) * 1e-3))
    }
}

/// None while nobody measures.
static PROFILE: Mutex<Option<Profile>> = Mutex::new(None);

/// Measures every launch from now on.
pub(crate) fn start() {
    *PROFILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Profile::default());
}

/// Runs `launch`, between two events if somebody measures. Threads launch one after the other then: a kernel of another one would run
/// between the events, too.
pub(crate) fn around(
    stream: &CudaStream,
    kernel: impl FnOnce() -> String,
    launch: impl FnOnce() -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let mut measuring = PROFILE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(profile) = measuring.as_mut() else {
        drop(measuring);
        return launch();
    };
    let event = || Ok(stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).w()?);
    let before = event();
    launch()?;
    profile.add(kernel(), before, event());
    Ok(())
}

/// Stops measuring and sums up, the slowest kernel first.
pub(crate) fn finish(device: &CudaDevice) -> Result<Vec<KernelTime>, KernelError> {
    let profile = PROFILE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut profile = profile.unwrap_or_default();
    device.cuda_stream().context().synchronize().w()?;
    profile.settle();
    if let Some(error) = profile.failed {
        return Err(error);
    }
    let time = |(kernel, (launches, seconds))| KernelTime { kernel, launches, seconds };
    let mut times: Vec<KernelTime> = profile.totals.into_iter().map(time).collect();
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok(times)
}
