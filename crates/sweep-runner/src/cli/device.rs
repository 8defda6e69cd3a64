//! `--device` and `--dtype`: where a run computes. Nothing falls back in silence.

use candle_core::{DType, Device};
use miette::miette;
use ssm_kernels::{Placement, device};

use super::{Failure, refused};
use crate::plan::Setting;

/// Where to compute.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DeviceArgs {
    /// `cpu`, `cuda`, `cuda:N`, or `auto`: the first GPU if this program can use one
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Dtype of activations: `f32` or `bf16`; float32 on the CPU, bfloat16 on a GPU unless said otherwise
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<String>,
}

impl DeviceArgs {
    /// Opens the device.
    pub(super) fn open(&self) -> Result<(Placement, Setting), Failure> {
        let device = match self.device.as_str() {
            "cpu" => Device::Cpu,
            "auto" => auto(),
            "cuda" => cuda(0)?,
            other => {
                let Some(ordinal) = other.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()) else {
                    let help = "write cpu, cuda, cuda:1 (the second GPU) or auto";
                    return Err(refused(miette!(help = help, "unknown device `{other}`")));
                };
                cuda(ordinal)?
            }
        };
        let class = if device.is_cpu() { "cpu" } else { "cuda" };
        let (dtype, name) = match self.dtype.as_deref() {
            None if class == "cpu" => (DType::F32, "f32"),
            None | Some("bf16") => (DType::BF16, "bf16"),
            Some("f32") => (DType::F32, "f32"),
            Some(other) => {
                return Err(refused(miette!(help = "write f32 or bf16", "unknown dtype `{other}`")));
            }
        };
        let placement = Placement::new(device, dtype)
            .map_err(|error| refused(miette!(help = "leave --dtype out, or add --device cuda", "{error}")))?;
        Ok((placement, Setting { device: class.to_owned(), dtype: name.to_owned() }))
    }
}

fn cuda(ordinal: usize) -> Result<Device, Failure> {
    device::open_cuda(ordinal)
        .map_err(|error| refused(miette!(help = "leave --device out to compute on what is there", "{error}")))
}

#[expect(clippy::print_stderr, reason = "which device was taken is not data")]
fn auto() -> Device {
    match device::open_cuda(0) {
        Ok(device) => {
            eprintln!("computing on GPU 0");
            device
        }
        Err(error) => {
            // A program built without CUDA had no choice to make.
            if cfg!(feature = "cuda") {
                eprintln!("computing on the CPU: {error}");
            }
            Device::Cpu
        }
    }
}
