//! Every operation on the CPU against its reference; `tests/gpu` runs the same comparisons on a GPU.

#[macro_use]
mod differential;

use std::path::Path;

use candle_core::{DType, Device};
use differential::Bench;

macro_rules! tests {
    ($($operation:ident: $group:ident::$compare:ident,)*) => {
        $(
            #[test]
            fn $operation() {
                differential::$group::$compare(&mut Bench::new(Device::Cpu, DType::F32));
            }
        )*
        const COMPARED: &[&str] = &[$(stringify!($operation)),*];
    };
}

for_every_operation!(tests);

/// Folders of `src/ops` that hold kernels are operations.
#[test]
fn every_operation_has_a_reference_and_is_compared_with_it() {
    let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let mut found = 0;
    for folder in std::fs::read_dir(&ops).unwrap().map(|entry| entry.unwrap().path()) {
        let has_kernels = folder.is_dir()
            && std::fs::read_dir(&folder)
                .unwrap()
                .any(|file| file.unwrap().path().extension().is_some_and(|e| e == "cu"));
        if !has_kernels {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(folder.join("reference.rs").is_file(), "{name} has no reference.rs");
        // What exists on a GPU alone is compared there: `tests/gpu`.
        let on_gpu_alone = ["decode", "reduction"].contains(&name);
        assert!(on_gpu_alone || COMPARED.contains(&name), "{name} is not compared: see tests/differential");
        found += 1;
    }
    assert!(found >= 17, "{found} operations");
}
