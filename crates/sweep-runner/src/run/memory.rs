//! Memory of this process and machine, as Linux counts it.

use std::fs;

use candle_core::Device;
use ssm_kernels::device;

/// Starts a new peak. Where the system does not offer it, the peak stays that of the whole process.
pub(super) fn reset_peak() {
    // 5 resets the high-water mark (proc(5)); a refusal only makes the figure an upper bound.
    let _ = fs::OpenOptions::new().write(true).open("/proc/self/clear_refs").and_then(|mut file| {
        use std::io::Write;
        file.write_all(b"5")
    });
}

/// Peak of the memory that computing took since [`reset_peak`]: a GPU's own, else what the process had resident.
pub(super) fn peak_bytes_of(device: &Device) -> u64 {
    match device::take_peak_memory(device) {
        Ok(Some(bytes)) => bytes as u64,
        _ => peak_bytes(),
    }
}

/// Peak resident memory in bytes; 0 where the system does not tell.
pub(super) fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}

/// Share of the available memory that activations may use where `--memory` does not say: the rest is for records, plots
/// and other programs.
const DEFAULT_SHARE: u64 = 2;

/// What activations may use where the system does not tell what is available.
const UNKNOWN: u64 = 1 << 30;

/// Bytes that activations may use by default: half of what is available now, on the device that computes.
pub fn default_budget(device: &Device) -> u64 {
    if let Ok(Some((free, _))) = device::memory(device) {
        return free as u64 / DEFAULT_SHARE;
    }
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.map_or(UNKNOWN, |kib| kib * 1024 / DEFAULT_SHARE)
}

/// Bytes from a number with a unit: `800M`, `4GiB`, `1.5G` (powers of 1024).
///
/// # Errors
/// Anything else, in words.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.to_ascii_uppercase().trim_end_matches("IB") {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("write a number and a unit, for example 800M or 4GiB".to_owned()),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok((number * f64::from(shift).exp2()) as u64),
        _ => Err(format!("`{number}` is no positive number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(parse_bytes("800M"), Ok(800 << 20));
        assert_eq!(parse_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("2g"), Ok(2 << 30));
        for wrong in ["", "5", "4GB", "-1G", "G", "0M"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
