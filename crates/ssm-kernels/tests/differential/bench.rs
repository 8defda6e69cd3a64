use candle_core::{DType, Device, Tensor};
use ssm_kernels::{Segments, host};

/// A device, the dtype of its activations, and the source of all inputs.
pub(crate) struct Bench {
    pub(crate) device: Device,
    pub(crate) dtype: DType,
    state: u64,
}

/// A tensor as the reference reads it (float32 on the host), and the same values on the bench's device.
pub(crate) struct Pair {
    pub(crate) here: Tensor,
    pub(crate) there: Tensor,
}

impl Bench {
    pub(crate) fn new(device: Device, dtype: DType) -> Self {
        Self { device, dtype, state: 1 }
    }

    /// Numbers of a splitmix64 stream in `low..high`.
    pub(crate) fn numbers(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        let mut next = || {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 24) as f32
        };
        (0..len).map(|_| low + (high - low) * next()).collect()
    }

    /// Random activations, rounded to the dtype of the bench on both sides.
    pub(crate) fn activations(&mut self, shape: &[usize], low: f32, high: f32) -> Pair {
        let values = self.numbers(shape.iter().product(), low, high);
        self.activations_of(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    }

    /// These activations, rounded to the dtype of the bench on both sides.
    pub(crate) fn activations_of(&self, values: &Tensor) -> Pair {
        let rounded = values.to_dtype(self.dtype).unwrap();
        Pair { here: rounded.to_dtype(DType::F32).unwrap(), there: rounded.to_device(&self.device).unwrap() }
    }

    /// Random weights, states or residuals: float32 on both sides.
    pub(crate) fn parameters(&mut self, shape: &[usize], low: f32, high: f32) -> Pair {
        let values = self.numbers(shape.iter().product(), low, high);
        self.parameters_of(Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    }

    /// These weights, states or residuals: float32 on both sides.
    pub(crate) fn parameters_of(&self, here: Tensor) -> Pair {
        let there = here.to_device(&self.device).unwrap();
        Pair { here, there }
    }

    /// Every segment table with every width. On the CPU a long table comes with one width, in turn: the references of the
    /// recurrences and of attention take minutes for all of them.
    pub(crate) fn cases<W: Copy>(&self, widths: &[W]) -> Vec<(Segments, W)> {
        let mut cases = Vec::new();
        for (index, segments) in awkward_segments().into_iter().enumerate() {
            let long = segments.n_tokens() > 1000;
            for (turn, width) in widths.iter().enumerate() {
                if !(long && self.device.is_cpu()) || turn == index % widths.len() {
                    cases.push((segments.clone(), *width));
                }
            }
        }
        cases
    }

    /// Fails where a result is too far from the reference.
    ///
    /// On the CPU: where any value is further away than `tolerance` of the largest one (of 1 where all are smaller). Those
    /// are a few float32 roundings for an operation that sums along a row, and 0 for one that only copies or adds once.
    ///
    /// On a GPU: where the relative distance of the whole in the Euclidean norm exceeds 1e-5 in float32, whose sums run in
    /// another order and whose exponentials are the hardware's, or 6e-3 in bfloat16, of which a rounding is 4e-3.
    pub(crate) fn close(&self, what: &str, want: &Tensor, got: &Tensor, tolerance: f32) {
        let what = format!("{what} {:?} {:?}", want.dims(), self.dtype);
        assert_eq!(want.dims(), got.dims(), "{what}: shape");
        let (want, got) = (flat(want), flat(&host::copy(got).unwrap()));
        if self.device.is_cpu() {
            let scale = want.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
            for (index, (want, got)) in want.iter().zip(&got).enumerate() {
                assert!(
                    (want - got).abs() <= tolerance * scale,
                    "{what}[{index}]: {got}, reference {want} (of {scale})"
                );
            }
        } else {
            let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            let distance = norm(&mut want.iter().zip(&got).map(|(want, got)| want - got));
            let error = distance / norm(&mut want.iter().copied()).max(1e-20);
            let limit = if self.dtype == DType::BF16 { 6e-3 } else { 1e-5 };
            assert!(error <= limit, "{what}: relative error {error:.2e}");
        }
    }

    /// Fails where a result is not the reference to the bit: operations that copy or count.
    pub(crate) fn same(&self, what: &str, want: &Tensor, got: &Tensor) {
        let what = format!("{what} {:?} {:?}", want.dims(), self.dtype);
        assert_eq!(want.dims(), got.dims(), "{what}: shape");
        let bits = |x: &Tensor| flat(x).into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert!(bits(want) == bits(&host::copy(got).unwrap()), "{what}");
    }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Tables that break what is easy to get wrong: borders of chunks and tiles, single tokens, empty segments, children of
/// children, long segments.
pub(crate) fn awkward_segments() -> Vec<Segments> {
    vec![
        Segments::independent(&[1]),
        Segments::independent(&[2, 3, 1]),
        Segments::independent(&[63, 64, 65, 129]),
        Segments::independent(&[200, 1, 0, 7]),
        Segments::new(&[5, 1, 0, 70, 2, 66, 3], &[None, Some(0), Some(0), Some(1), None, Some(4), Some(5)]).unwrap(),
        Segments::new(&[0, 4, 2, 1], &[None, Some(0), Some(1), Some(1)]).unwrap(),
        Segments::new(&[70, 3, 0, 1, 5, 0, 2], &[None, Some(0), Some(0), Some(0), None, Some(4), Some(5)]).unwrap(),
        Segments::independent(&[1, 2, 3, 63, 64, 65, 1000, 2048]),
        Segments::new(&[2500, 1, 2100, 7], &[None, Some(0), Some(0), Some(2)]).unwrap(),
    ]
}
