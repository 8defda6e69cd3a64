//! `--device` and `--dtype`: where a run computes. Nothing falls back in silence.

use candle_core::{DType, Device};
use miette::miette;
use ssm_kernels::{Placement, device};

use super::{Failure, refused};
use crate::plan::Setting;
use crate::say::say;

/// Where to compute.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DeviceArgs {
    /// `cpu`, `cuda`, `cuda:N`, or `auto`: the first GPU if this program can use one. `sweep run` also knows several GPUs:
    /// `cuda:0,2`, or `cuda:all`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Dtype of activations: `f32` or `bf16`; float32 on the CPU, bfloat16 on a GPU unless said otherwise
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<String>,
}

/// What `--device` says.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Cpu,
    /// GPUs by number, at least one, none twice.
    Cuda(Vec<usize>),
    EveryCuda,
    Auto,
}

impl DeviceArgs {
    /// As `--device` and `--dtype` would name them.
    pub(super) fn named(device: &str, dtype: Option<&str>) -> Self {
        Self { device: device.to_owned(), dtype: dtype.map(str::to_owned) }
    }

    /// Opens the device.
    pub(super) fn open(&self) -> Result<(Placement, Setting), Failure> {
        let device = match parse(&self.device)? {
            Choice::Cpu => Device::Cpu,
            Choice::Auto => auto(),
            Choice::Cuda(ordinals) if ordinals.len() == 1 => cuda(ordinals[0])?,
            Choice::Cuda(_) | Choice::EveryCuda => {
                let help = "several GPUs serve `sweep run`, one process each; name one here, for example cuda:0";
                return Err(refused(miette!(help = help, "--device {} names several GPUs", self.device)));
            }
        };
        let class = if device.is_cpu() { "cpu" } else { "cuda" };
        let (dtype, setting) = self.setting(class)?;
        let placement = Placement::new(device, dtype)
            .map_err(|error| refused(miette!(help = "leave --dtype out, or add --device cuda", "{error}")))?;
        Ok((placement, setting))
    }

    /// The GPUs that a run is spread over, and its setting; none where this process computes by itself. Opens none of them.
    pub(super) fn several(&self) -> Result<Option<(Vec<usize>, Setting)>, Failure> {
        let ordinals = match parse(&self.device)? {
            Choice::Cuda(ordinals) if ordinals.len() > 1 => ordinals,
            Choice::EveryCuda => match device::count_cuda().map_err(|error| unusable(&error))? {
                0 => return Err(refused(miette!("--device cuda:all: the driver sees no GPU"))),
                count => (0..count).collect(),
            },
            Choice::Cuda(_) | Choice::Cpu | Choice::Auto => return Ok(None),
        };
        Ok(Some((ordinals, self.setting("cuda")?.1)))
    }

    /// The name of `--dtype`, if it was given.
    pub(super) fn dtype(&self) -> Option<&str> {
        self.dtype.as_deref()
    }

    fn setting(&self, class: &str) -> Result<(DType, Setting), Failure> {
        let (dtype, name) = match self.dtype.as_deref() {
            None if class == "cpu" => (DType::F32, "f32"),
            None | Some("bf16") => (DType::BF16, "bf16"),
            Some("f32") => (DType::F32, "f32"),
            Some(other) => {
                return Err(refused(miette!(help = "write f32 or bf16", "unknown dtype `{other}`")));
            }
        };
        Ok((dtype, Setting { device: class.to_owned(), dtype: name.to_owned() }))
    }
}

fn parse(text: &str) -> Result<Choice, Failure> {
    let ordinals = match text {
        "cpu" => return Ok(Choice::Cpu),
        "auto" => return Ok(Choice::Auto),
        "cuda" => return Ok(Choice::Cuda(vec![0])),
        "cuda:all" => return Ok(Choice::EveryCuda),
        other => other
            .strip_prefix("cuda:")
            .and_then(|list| list.split(',').map(|ordinal| ordinal.parse().ok()).collect::<Option<Vec<usize>>>()),
    };
    let Some(ordinals) = ordinals else {
        let help = "write cpu, cuda, cuda:1 (the second GPU), cuda:0,1 (both), cuda:all or auto";
        return Err(refused(miette!(help = help, "unknown device `{text}`")));
    };
    match ordinals.iter().enumerate().find(|(index, ordinal)| ordinals[..*index].contains(ordinal)) {
        Some((_, twice)) => {
            let help = "one process per GPU: a second one would share its memory and gain nothing";
            Err(refused(miette!(help = help, "--device {text} names GPU {twice} twice")))
        }
        None => Ok(Choice::Cuda(ordinals)),
    }
}

fn cuda(ordinal: usize) -> Result<Device, Failure> {
    device::open_cuda(ordinal).map_err(|error| unusable(&error))
}

fn unusable(error: &ssm_kernels::KernelError) -> Failure {
    refused(miette!(help = "leave --device out to compute on what is there", "{error}"))
}

fn auto() -> Device {
    match device::open_cuda(0) {
        Ok(device) => {
            say("computing on GPU 0");
            device
        }
        Err(error) => {
            // A program built without CUDA had no choice to make.
            if cfg!(feature = "cuda") {
                say(&format!("computing on the CPU: {error}"));
            }
            Device::Cpu
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<Choice, String> {
        parse(text).map_err(|failure| crate::config::render_plain(failure.report.as_ref()))
    }

    #[test]
    fn devices_are_one_or_several() {
        assert_eq!(said("cpu"), Ok(Choice::Cpu));
        assert_eq!(said("cuda"), Ok(Choice::Cuda(vec![0])));
        assert_eq!(said("cuda:3"), Ok(Choice::Cuda(vec![3])));
        assert_eq!(said("cuda:2,0"), Ok(Choice::Cuda(vec![2, 0])));
        assert_eq!(said("cuda:all"), Ok(Choice::EveryCuda));
        for wrong in ["gpu", "cuda:", "cuda:0,", "cuda:x", "cuda:-1"] {
            let error = said(wrong).unwrap_err();
            assert!(error.contains(&format!("unknown device `{wrong}`")) && error.contains("cuda:all"), "{error}");
        }
        assert!(said("cuda:1,0,1").unwrap_err().contains("names GPU 1 twice"));
    }
}
