//! Peak resident memory of this process, as Linux counts it.

use std::fs;

/// Starts a new peak. Where the system does not offer it, the peak stays that of the whole process.
pub(super) fn reset_peak() {
    // 5 resets the high-water mark (proc(5)); a refusal only makes the figure an upper bound.
    let _ = fs::OpenOptions::new().write(true).open("/proc/self/clear_refs").and_then(|mut file| {
        use std::io::Write;
        file.write_all(b"5")
    });
}

/// Peak resident memory in bytes; 0 where the system does not tell.
pub(super) fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}
