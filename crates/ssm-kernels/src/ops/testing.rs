//! Seeded inputs and comparisons for the unit tests of the operations.

use candle_core::{Device, Tensor};

/// Deterministic values in (-1, 1): a splitmix64 stream, so that the crate needs no random-number dependency.
pub(super) struct Values(pub u64);

impl Values {
    pub(super) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }

    pub(super) fn tensor(&mut self, shape: &[usize], low: f32, high: f32) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| low + (high - low) * f32::midpoint(self.next(), 1.0)).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }
}

/// Fails with the tensor's name if any value is further from the reference than `tolerance` (relative to its largest).
pub(super) fn assert_close(name: &str, reference: &Tensor, got: &Tensor, tolerance: f32) {
    assert_eq!(reference.dims(), got.dims(), "{name}: shape");
    let reference = reference.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let scale = reference.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    for (index, (want, have)) in reference.iter().zip(&got).enumerate() {
        assert!((want - have).abs() <= tolerance * scale, "{name}[{index}]: {have}, reference {want} (scale {scale})");
    }
}

/// The bits of a tensor, for comparisons that allow no difference at all.
pub(super) fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|value| value.to_bits()).collect()
}
