//! A run on a GPU that stops answering in the middle. Needs a GPU: `just test-gpu`.
//!
//! The only test of this program: what it does to the GPU ends every later use of it by the same process.
#![cfg(feature = "cuda")]
#![allow(unsafe_code, reason = "launches a kernel of its own")]

#[path = "command/desk.rs"]
mod desk;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use candle_core::cuda_backend::cudarc::driver::LaunchConfig;
use candle_core::{DType, Device};
use desk::{Desk, TINY, text};
use ssm_kernels::{Placement, device};
use sweep_runner::library::Library;
use sweep_runner::plan::{self, Setting};
use sweep_runner::run::{self, RunError, RunOptions};
use sweep_runner::{config, record::status};

/// A kernel that ends in a trap, after which the driver refuses everything that this process asks of the GPU.
const TRAP: &str = "
.version 7.0
.target sm_70
.address_size 64
.visible .entry fall() { trap; }
";

fn lose(gpu: &Device) {
    let kernel = gpu.as_cuda_device().unwrap().get_or_load_custom_func("fall", "trap", TRAP).unwrap();
    // SAFETY: the kernel takes no arguments and touches no memory.
    unsafe { kernel.builder().launch(LaunchConfig::for_num_elems(1)) }.unwrap();
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

#[test]
#[ignore = "needs a GPU"]
fn a_lost_gpu_ends_the_run_fails_no_cell_and_the_next_run_goes_on() {
    let experiment = TINY.replace("[0.8]", "[0.9, 0.8, 0.7]").replace("limit: 2", "limit: 500");
    let desk = Desk::new(&experiment);
    let on_gpu = |out: &str| {
        let output = desk.sweep(&["run", "tiny.yaml", "--out", out, "--device", "cuda", "--dtype", "f32"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    on_gpu("undisturbed");

    let library = Library::new();
    let experiment = config::load(&desk.path("tiny.yaml"), &library).unwrap();
    let plan =
        plan::build(&experiment, &Setting { device: "cuda".to_owned(), dtype: "f32".to_owned() }, &library).unwrap();
    let placement = Placement::new(device::open_cuda(0).unwrap(), DType::F32).unwrap();
    let options = RunOptions { placement: placement.clone(), ..RunOptions::default() };
    let folder = desk.path("lost");
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            while is_empty(&folder.join("parts")) && is_empty(&folder.join("cells")) {
                thread::sleep(Duration::from_millis(1));
            }
            lose(&placement.device);
        });
        run::run(&experiment, &plan, &library, &folder, &options).unwrap_err()
    });
    assert!(matches!(error, RunError::Device { .. }), "{error}");

    let after = status::read(&folder).unwrap().unwrap();
    assert_eq!(after.failures.len(), 0, "no cell is to blame");
    assert!(after.models[0].missing > 0, "the GPU was lost too late to show anything");
    assert_eq!(after.stopped.len(), 1, "{:?}", after.stopped);
    assert!(after.stopped[0].why.starts_with("the GPU was lost: "), "{:?}", after.stopped);
    let shown = text(&desk.sweep(&["status", "lost"]).stdout);
    assert!(shown.contains("stopped before the work was done"), "{shown}");

    // Another process finds the GPU as it was.
    on_gpu("lost");
    assert_eq!(desk.frames("lost"), desk.frames("undisturbed"));
}
