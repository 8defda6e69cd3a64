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

/// The launches since [`start`]; none while nobody measures.
static SPANS: Mutex<Option<Vec<Span>>> = Mutex::new(None);

/// Measures every launch from now on.
pub(crate) fn start() {
    *SPANS.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
}

/// Runs `launch`, between two events if somebody measures.
pub(crate) fn around(
    stream: &CudaStream,
    kernel: impl FnOnce() -> String,
    launch: impl FnOnce() -> Result<(), KernelError>,
) -> Result<(), KernelError> {
    let measures = SPANS.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    if !measures {
        return launch();
    }
    let event = || stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).w();
    let before = event()?;
    launch()?;
    let span = Span { kernel: kernel(), before, after: event()? };
    if let Some(spans) = SPANS.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        spans.push(span);
    }
    Ok(())
}

/// Stops measuring and sums up, the slowest kernel first.
pub(crate) fn finish(device: &CudaDevice) -> Result<Vec<KernelTime>, KernelError> {
    device.cuda_stream().synchronize().w()?;
    let spans = SPANS.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    let mut totals: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for span in spans {
        let total = totals.entry(span.kernel).or_default();
        total.0 += 1;
        total.1 += f64::from(span.before.elapsed_ms(&span.after).w()?) * 1e-3;
    }
    let mut times: Vec<KernelTime> =
        totals.into_iter().map(|(kernel, (launches, seconds))| KernelTime { kernel, launches, seconds }).collect();
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok(times)
}
