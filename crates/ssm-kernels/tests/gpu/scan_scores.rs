//! Importances that several tensors of a scan decide, against `src/ops/reduction/reference.rs`.

use candle_core::{DType, Tensor};
use ssm_kernels::Segments;
use ssm_kernels::ops::reduction::{self, ScanTensors};

use super::differential::reference::reduction as reference;
use super::differential::{Bench, Pair};
use super::{DTYPES, bits, on_gpu, part};

/// What float64 sums in two orders may differ by after they are rounded to float32.
const ONE_ROUNDING: f64 = 2e-7;

/// Heads (or channels), values of a head, groups, states, and whether every state decays by itself.
const SHAPES: [(usize, usize, usize, usize, bool); 9] = [
    (1, 1, 1, 1, false),
    (3, 4, 1, 2, false),
    (80, 8, 1, 128, false),
    (40, 2, 4, 20, false),
    (6, 5, 3, 33, false),
    (70, 1, 1, 16, true),
    (33, 1, 1, 5, true),
    (10, 1, 1, 40, true),
    (5, 1, 1, 100, true),
];

/// The tensors of a scan on both sides; `dt` and the rates are float32, the others of the dtype of the bench, as columns of wider matrices.
struct Case {
    dt: Pair,
    b: Pair,
    c: Pair,
    x: Pair,
    a: Pair,
    groups: usize,
}

impl Case {
    fn new(bench: &mut Bench, n: usize, shape: (usize, usize, usize, usize, bool)) -> Self {
        let (heads, headdim, groups, d_state, each_state) = shape;
        let mut columns = |width: usize| {
            let Pair { here, there } = bench.activations(&[n, width + 3], -1.0, 1.0);
            let cut = |x: Tensor| x.narrow(1, 3, width).unwrap();
            Pair { here: cut(here), there: cut(there) }
        };
        let (b, c, x) = (columns(groups * d_state), columns(groups * d_state), columns(heads * headdim));
        let rates = if each_state { vec![d_state, heads] } else { vec![heads] };
        let (dt, a) = (bench.parameters(&[n, heads], 0.0, 0.8), bench.parameters(&rates, -2.0, -0.01));
        Self { dt, b, c, x, a, groups }
    }

    fn there(&self) -> ScanTensors<'_> {
        ScanTensors { dt: &self.dt.there, b: &self.b.there, groups: self.groups }
    }
}

fn close(what: &str, want: &[f64], got: &[f32]) {
    assert_eq!(want.len(), got.len(), "{what}");
    for (row, (want, got)) in want.iter().zip(got).enumerate() {
        let apart = (want - f64::from(*got)).abs();
        assert!(apart <= ONE_ROUNDING * want.abs() + 1e-12, "{what}, row {row}: {got}, reference {want}");
    }
}

#[test]
#[ignore = "needs a GPU"]
fn scan_scores() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for lengths in [vec![1, 2, 3, 36, 0, 65], vec![31, 32, 33], vec![130]] {
            let segments = Segments::independent(&lengths);
            for shape in SHAPES {
                let case = Case::new(&mut bench, segments.n_tokens(), shape);
                let rows = |pair: &Pair| pair.here.to_vec2::<f32>().unwrap();
                let (dt, b, c, x) = (rows(&case.dt), rows(&case.b), rows(&case.c), rows(&case.x));
                let a = case.a.here.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let scan = case.there();
                let written = reduction::write_norm(&scan, &case.x.there).unwrap().to_vec1::<f32>().unwrap();
                let read = |a: Option<&Tensor>| {
                    let scores = reduction::hidden_attention(&scan, &case.c.there, a, &segments).unwrap();
                    scores.to_vec1::<f32>().unwrap()
                };
                let (decayed, lasting) = (read(Some(&case.a.there)), read(None));
                for index in 0..segments.len() {
                    let own = segments.rows(index);
                    let here = reference::Scan {
                        dt: &dt[own.clone()],
                        b: &b[own.clone()],
                        c: &c[own.clone()],
                        groups: case.groups,
                    };
                    let what = format!("segment {index} of {lengths:?}, {shape:?}, {dtype:?}");
                    if own.is_empty() {
                        continue;
                    }
                    close(&what, &reference::write_norm(&here, &x[own.clone()]), &written[own.clone()]);
                    close(&what, &reference::hidden_attention(&here, Some(&a)), &decayed[own.clone()]);
                    close(&what, &reference::hidden_attention(&here, None), &lasting[own]);
                }
            }
        }
    }
}

/// A segment has the same bits alone and between others.
#[test]
#[ignore = "needs a GPU"]
fn scan_scores_do_not_depend_on_neighbours() {
    let mut bench = on_gpu(DType::F32);
    let segments = Segments::independent(&[70, 300, 0, 500, 9]);
    for shape in [SHAPES[2], SHAPES[5]] {
        let case = Case::new(&mut bench, segments.n_tokens(), shape);
        let together =
            reduction::hidden_attention(&case.there(), &case.c.there, Some(&case.a.there), &segments).unwrap();
        for index in [0, 1, 3, 4] {
            let (start, n) = (segments.rows(index).start, segments.length(index));
            let [dt, b, c] = [&case.dt, &case.b, &case.c].map(|pair| part(&pair.there, start, n));
            let scan = ScanTensors { dt: &dt, b: &b, groups: case.groups };
            let alone =
                reduction::hidden_attention(&scan, &c, Some(&case.a.there), &Segments::independent(&[n])).unwrap();
            assert_eq!(bits(&part(&together, start, n)), bits(&alone), "segment {index}, {shape:?}");
        }
    }
}
