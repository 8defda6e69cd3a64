//! What algorithms of a product are tried on, against its definition.

use candle_core::{DType, Device, Tensor};
use half::bf16;
use ssm_kernels::device;
use ssm_kernels::ops::trial::{cancelling, have_the_same_bits};

/// PCG's output permutation (O'Neill 2014) of a counter.
fn hash(place: u32) -> u32 {
    let state = place.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// The definition of `cancelling`.
fn row(row: usize, k: usize, sign: f32, seed: u32) -> Vec<f32> {
    let half = (k / 2).max(1);
    let first = |place: usize| (hash(hash(seed) ^ (row * half + place) as u32) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let mut all: Vec<f32> = (0..half).map(first).collect();
    if k > 1 {
        all.resize(k - half, 0.0);
        all.extend((0..half).map(|place| sign * first(place)));
    }
    all
}

#[test]
#[ignore = "needs a GPU"]
fn numbers_that_cancel() {
    let device = device::open_cuda(0).unwrap();
    let cuda = device.as_cuda_device().unwrap();
    for (rows, k) in [(1, 1), (4, 1), (3, 2), (5, 7), (2, 33), (128, 64), (9, 2560)] {
        for (sign, seed) in [(-1.0, 0), (1.0, 1)] {
            let want: Vec<Vec<f32>> = (0..rows).map(|index| row(index, k, sign, seed)).collect();
            assert!(want.iter().flatten().all(|value| (-1.0..=1.0).contains(value)));
            let got = |dtype| cancelling(cuda, (rows, k), dtype, sign, seed as usize).unwrap();
            assert_eq!(got(DType::F32).to_vec2::<f32>().unwrap(), want, "{rows} x {k}");
            let rounded: Vec<Vec<bf16>> =
                want.iter().map(|row| row.iter().map(|value| bf16::from_f32(*value)).collect()).collect();
            assert_eq!(got(DType::BF16).to_vec2::<bf16>().unwrap(), rounded, "{rows} x {k}");
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn a_difference_in_any_place_is_found() {
    let device = device::open_cuda(0).unwrap();
    for dtype in [DType::F32, DType::BF16] {
        for n in [1, 2, 7, 1000, 400_001] {
            let on_gpu = |values: Vec<f32>| {
                Tensor::from_vec(values, n, &Device::Cpu).unwrap().to_dtype(dtype).unwrap().to_device(&device).unwrap()
            };
            let values: Vec<f32> = (0..n).map(|index| (index % 13) as f32).collect();
            assert!(have_the_same_bits(&on_gpu(values.clone()), &on_gpu(values.clone())).unwrap());
            for place in [0, n / 2, n - 1] {
                let mut other = values.clone();
                other[place] = if other[place] == 0.0 { -0.0 } else { -other[place] };
                assert!(!have_the_same_bits(&on_gpu(values.clone()), &on_gpu(other)).unwrap(), "{dtype:?} {n} {place}");
            }
        }
    }
}
