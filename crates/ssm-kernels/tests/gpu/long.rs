//! Scans of sequences long enough to be cut into pieces, against the definition and alone as packed.

use candle_core::{DType, Device, Tensor};
use ssm_kernels::Segments;
use ssm_kernels::ops::{self, SsdInput, SsdOutput};

use super::differential::{Pair, reference};
use super::{Bench, bits, long_and_short, on_gpu, part};

const HEADDIM: usize = 64;

/// What a scan reads besides segments and states.
struct Scan {
    xbc: Pair,
    dt: Pair,
    a: Pair,
    d: Pair,
    ngroups: usize,
    d_state: usize,
}

impl Scan {
    /// Heads that forget within a chunk, within a piece, within some pieces, and hardly at all, in turn.
    fn new(bench: &mut Bench, rows: usize, nheads: usize, ngroups: usize, d_state: usize) -> Self {
        let rates = [-16.0_f32, -0.004, -1.0, -0.08, -60.0].into_iter().cycle().take(nheads).collect();
        Self {
            xbc: bench.activations(&[rows, nheads * HEADDIM + 2 * ngroups * d_state], -1.0, 1.0),
            dt: bench.parameters(&[rows, nheads], 0.001, 0.1),
            a: bench.parameters_of(Tensor::from_vec(rates, nheads, &Device::Cpu).unwrap()),
            d: bench.parameters(&[nheads], -1.0, 1.0),
            ngroups,
            d_state,
        }
    }

    fn states(&self, bench: &mut Bench, segments: usize) -> Pair {
        let nheads = self.a.here.elem_count();
        bench.parameters(&[segments, nheads, HEADDIM, self.d_state], -1.0, 1.0)
    }

    fn input<'a>(&'a self, here: bool, segments: &'a Segments, initial: Option<&'a Pair>) -> SsdInput<'a> {
        let side = |pair: &'a Pair| if here { &pair.here } else { &pair.there };
        SsdInput {
            xbc: side(&self.xbc),
            dt: side(&self.dt),
            a: side(&self.a),
            d: side(&self.d),
            headdim: HEADDIM,
            ngroups: self.ngroups,
            d_state: self.d_state,
            segments,
            initial: initial.map(side),
            want_states: true,
        }
    }

    /// The rows of one segment alone, from its initial state.
    fn alone(&self, start: usize, rows: usize, initial: Option<&Tensor>) -> SsdOutput {
        let (xbc, dt) = (part(&self.xbc.there, start, rows), part(&self.dt.there, start, rows));
        let segments = Segments::independent(&[rows]);
        let input = SsdInput { xbc: &xbc, dt: &dt, initial, ..self.input(false, &segments, None) };
        ops::ssd(&input).unwrap()
    }
}

/// Numbers of heads that leave blocks of three and of two half empty, one and several groups, both sizes of a state.
const SIZES: [(usize, usize, usize); 4] = [(5, 1, 128), (2, 1, 64), (4, 2, 128), (3, 3, 64)];

#[test]
#[ignore = "needs a GPU"]
fn a_long_scan_is_the_definition_and_has_the_same_bits_alone_and_packed() {
    for (nheads, ngroups, d_state) in SIZES {
        let bench = &mut on_gpu(DType::BF16);
        let segments = long_and_short();
        let scan = Scan::new(bench, segments.n_tokens(), nheads, ngroups, d_state);
        let states = scan.states(bench, segments.len());
        for initial in [None, Some(&states)] {
            let (want, want_states) = reference::ssd::ssd(&scan.input(true, &segments, initial));
            let got = ops::ssd(&scan.input(false, &segments, initial)).unwrap();
            let again = ops::ssd(&scan.input(false, &segments, initial)).unwrap();
            let got_states = got.states.unwrap();
            for segment in 0..segments.len() {
                let rows = segments.rows(segment);
                let what = format!("{nheads} heads, {} rows", rows.len());
                let own = |x: &Tensor| x.narrow(0, rows.start, rows.len()).unwrap();
                bench.close(&what, &own(&want), &own(&got.y), 0.0);
                let first = initial.map(|states| part(&states.there, segment, 1));
                let alone = scan.alone(rows.start, rows.len(), first.as_ref());
                assert!(bits(&own(&got.y)) == bits(&alone.y), "{what}: outputs alone and packed");
                let state = part(&got_states, segment, 1);
                assert!(bits(&state) == bits(&alone.states.unwrap()), "{what}: states alone and packed");
                bench.close(&what, &want_states.narrow(0, segment, 1).unwrap(), &state, 0.0);
            }
            assert!(bits(&got.y) == bits(&again.y), "{nheads} heads: the same twice");
            assert!(bits(&got_states) == bits(&again.states.unwrap()), "{nheads} heads: the same states twice");
        }
    }
}

/// A long child starts from its parent's state, and a short one after it from the child's.
#[test]
#[ignore = "needs a GPU"]
fn long_children_are_the_definition() {
    let segments =
        Segments::new(&[5000, 1, 4100, 7, 2049, 6000], &[None, Some(0), Some(0), Some(2), None, Some(4)]).unwrap();
    for (nheads, ngroups, d_state) in SIZES {
        let bench = &mut on_gpu(DType::BF16);
        let scan = Scan::new(bench, segments.n_tokens(), nheads, ngroups, d_state);
        let (want, want_states) = reference::ssd::ssd(&scan.input(true, &segments, None));
        let got = ops::ssd(&scan.input(false, &segments, None)).unwrap();
        bench.close("y", &want, &got.y, 0.0);
        bench.close("states", &want_states, &got.states.unwrap(), 0.0);
    }
}

/// What the decay leaves nothing of is not read: the second piece starts from the same state whatever the first one began with.
#[test]
#[ignore = "needs a GPU"]
fn a_state_does_not_depend_on_what_has_decayed() {
    let bench = &mut on_gpu(DType::BF16);
    let (rows, early) = (2 * 2048, 2048 - 128);
    let mut scan = Scan::new(bench, rows, 1, 1, 128);
    // At a rate of 16, 64 steps of 0.1 leave 2^-148.
    scan.dt = bench.parameters_of(Tensor::full(0.1_f32, (rows, 1), &Device::Cpu).unwrap());
    let second = |scan: &Scan| bits(&part(&scan.alone(0, rows, None).y, 2048, 2048));
    let want = second(&scan);
    let kept = scan.xbc.here.narrow(0, early, rows - early).unwrap();
    let other = Tensor::full(1e4_f32, (early, kept.dim(1).unwrap()), &Device::Cpu).unwrap();
    scan.xbc = bench.activations_of(&Tensor::cat(&[other, kept], 0).unwrap());
    assert!(want == second(&scan));
}
