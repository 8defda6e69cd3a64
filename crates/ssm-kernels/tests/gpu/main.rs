//! Every operation on a GPU: against its reference, over the cases of `tests/cpu.rs`, and the laws that its bits obey. Needs a
//! GPU: `just test-gpu`.
#![cfg(feature = "cuda")]

#[macro_use]
#[path = "../differential/mod.rs"]
mod differential;
mod decode;
mod laws;
mod long;
mod newness;
mod non_finite;
mod reduction;
mod rounds;
mod runs;
mod scan_scores;
mod split;
mod trial;

use candle_core::{DType, Tensor};
use differential::Bench;
use ssm_kernels::{Segments, device, host};

const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

fn on_gpu(dtype: DType) -> Bench {
    Bench::new(device::open_cuda(0).unwrap(), dtype)
}

macro_rules! tests {
    ($($operation:ident: $group:ident::$compare:ident,)*) => {
        $(
            #[test]
            #[ignore = "needs a GPU"]
            fn $operation() {
                for dtype in DTYPES {
                    differential::$group::$compare(&mut on_gpu(dtype));
                }
            }
        )*
    };
}

for_every_operation!(tests);

fn bits(x: &Tensor) -> Vec<u32> {
    host::copy(x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}

fn part(x: &Tensor, start: usize, rows: usize) -> Tensor {
    x.narrow(0, start, rows).unwrap().copy().unwrap()
}

/// Rows, counts and offsets of a plan.
fn numbers(tensor: &Tensor) -> Vec<usize> {
    tensor.to_vec1::<u32>().unwrap().into_iter().map(|number| number as usize).collect()
}

/// Sequences around the lengths at which scans are cut, in one packed batch: too long for the comparisons of every operation.
fn long_and_short() -> Segments {
    Segments::independent(&[1, 2047, 2048, 2049, 5000, 32_768])
}
