use std::time::Instant;

use analysis::median;
use candle_core::{Device, Tensor};
use ssm_kernels::{Placement, device, ops};

use super::BenchError;

/// What the device reaches in this run; every share is of these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// FLOPs per second of a large square product in the compute dtype.
    pub gemm_flops_per_s: f64,
    /// Bytes read and written per second by a copy.
    pub copy_bytes_per_s: f64,
}

const REPEATS: usize = 9;

impl Ceilings {
    /// Measures both: medians over random data.
    pub(super) fn measure(placement: &Placement) -> Result<Self, BenchError> {
        let on_cpu = placement.device.is_cpu();
        let size = if on_cpu { 1024 } else { 8192 };
        let x = random(size, size, placement)?;
        let gemm = time(placement, || Ok(ops::linear(&x, &x)?))?;
        let rows = if on_cpu { 8192 } else { 131_072 };
        let wide = random(rows, 8192, placement)?;
        let bytes = 2.0 * (rows * 8192 * placement.dtype.size_in_bytes()) as f64;
        let copy = time(placement, || Ok(wide.copy()?))?;
        Ok(Self { gemm_flops_per_s: 2.0 * (size as f64).powi(3) / gemm, copy_bytes_per_s: bytes / copy })
    }
}

fn random(rows: usize, columns: usize, placement: &Placement) -> Result<Tensor, BenchError> {
    Ok(Tensor::rand(-1.0_f32, 1.0, (rows, columns), &placement.device)?.to_dtype(placement.dtype)?)
}

/// Median seconds of one call, after two to warm up. On a GPU several calls are queued at once, so that launching costs
/// nothing.
fn time(placement: &Placement, call: impl Fn() -> Result<Tensor, BenchError>) -> Result<f64, BenchError> {
    let batch = if placement.device.is_cpu() { 1 } else { 5 };
    for _ in 0..2 {
        call()?;
    }
    let mut seconds = Vec::new();
    for _ in 0..REPEATS {
        device::synchronize(&placement.device)?;
        let start = Instant::now();
        for _ in 0..batch {
            call()?;
        }
        device::synchronize(&placement.device)?;
        seconds.push(start.elapsed().as_secs_f64() / f64::from(batch));
    }
    Ok(median(&seconds))
}

/// The device in words.
pub(super) fn device_name(placement: &Placement) -> String {
    match &placement.device {
        Device::Cpu => format!("CPU, {} threads", rayon::current_num_threads()),
        device => device::name(device).unwrap_or_else(|_| "GPU".to_owned()),
    }
}
