//! Rows that replace runs of tokens in a scan, against `src/ops/reduction/reference.rs`.

use candle_core::{DType, Device, Tensor};
use ssm_kernels::Segments;
use ssm_kernels::ops::reduction::{
    self, Carry, NO_FAULT, Pairing, Reduced, RowNorm, RunMerge, RunScan, Sides, Similarity, TokenState,
};

use super::differential::reference::reduction as reference;
use super::differential::{Bench, Pair};
use super::{DTYPES, bits, numbers, on_gpu, part};

/// Heads (or channels), and states that decay by themselves.
const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 1), (80, 1), (129, 16), (40, 5), (5120, 2)];
const BOTH: RunMerge = RunMerge { decay: true, write: true, merge: true };

/// Rows in pairs of neighbours, and what a scan did with them.
struct Case {
    x: Tensor,
    norms: Tensor,
    dt: Pair,
    a: Pair,
    times: Vec<f32>,
    there: Tensor,
    protected: Vec<bool>,
}

impl Case {
    fn new(bench: &mut Bench, n: usize, (heads, own): (usize, usize)) -> Self {
        let x = bench.parameters(&[n, 16], -1.0, 1.0).there;
        let (_, norms) = reduction::token_scores(&x, None, Some(RowNorm::Plain)).unwrap();
        let rates = if own == 1 { vec![heads] } else { vec![own, heads] };
        let (dt, a) = (bench.activations(&[n, heads], 0.0, 0.8), bench.parameters(&rates, -2.0, -0.01));
        let times: Vec<f32> = (0..n).flat_map(|row| [1.0 + (row % 3) as f32, 0.5 + (row % 4) as f32]).collect();
        let there = Tensor::from_slice(&times, (n, 2), &bench.device).unwrap();
        let protected = (0..n).map(|row| row % 7 == 0).collect();
        Self { x, norms: norms.unwrap(), dt, a, times, there, protected }
    }

    /// The rows of a segment alone.
    fn alone(&self, start: usize, n: usize) -> Self {
        let cut = |tensor: &Tensor| part(tensor, start, n);
        Self {
            x: cut(&self.x),
            norms: cut(&self.norms),
            dt: Pair { here: cut(&self.dt.here), there: cut(&self.dt.there) },
            a: Pair { here: self.a.here.clone(), there: self.a.there.clone() },
            times: self.times[2 * start..2 * (start + n)].to_vec(),
            there: cut(&self.there),
            protected: self.protected[start..start + n].to_vec(),
        }
    }

    /// Every segment loses a share of its unprotected rows; of the last one none is removed, where there are several.
    fn reduce(&self, segments: &Segments, share: f64, timed: bool, merge: RunMerge) -> Reduced {
        let gpu = self.x.device();
        let flags: Vec<u8> = self.protected.iter().map(|protected| u8::from(*protected)).collect();
        let n = flags.len();
        let tokens = TokenState {
            sizes: Tensor::ones(n, DType::F32, gpu).unwrap(),
            protected: Tensor::from_vec(flags, n, gpu).unwrap(),
        };
        let free = |index: usize| self.protected[segments.rows(index)].iter().filter(|flag| !**flag).count();
        let candidates: Vec<usize> = (0..segments.len()).map(free).collect();
        let loses = |index: usize| {
            let untouched = index > 0 && index + 1 == segments.len();
            if untouched { 0 } else { (share * candidates[index].saturating_sub(1) as f64) as usize }
        };
        let lengths: Vec<usize> = (0..segments.len()).map(|index| segments.length(index) - loses(index)).collect();
        let carry = if merge.merge { Carry::Mean } else { Carry::Drop };
        let paired = reduction::pair_tokens(&Pairing {
            similarity: Similarity { x: &self.x, inverse_norms: &self.norms, clip: false, window: Some(1) },
            sides: Sides::EvenOdd,
            prune_scores: None,
            hidden: carry,
            residual: carry,
            tokens: &tokens,
            segments,
            candidates: &candidates,
            lengths: &lengths,
        })
        .unwrap();
        let scan = RunScan { dt: &self.dt.there, a: &self.a.there, times: timed.then_some(&self.there) };
        reduction::merge_runs(paired, &scan, merge, segments).unwrap()
    }
}

/// Float64 sums in two orders, rounded to float32.
fn close(want: f64, got: f32, what: &str) {
    assert!((want - f64::from(got)).abs() <= 2e-7 * want.abs(), "{what}: {got}, reference {want}");
}

#[test]
#[ignore = "needs a GPU"]
fn runs_of_tokens() {
    let merges = [
        BOTH,
        RunMerge { decay: false, ..BOTH },
        RunMerge { write: false, ..BOTH },
        RunMerge { merge: false, ..BOTH },
        RunMerge { decay: false, write: false, merge: false },
    ];
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for lengths in [vec![1, 2, 3, 36, 0, 65, 12], vec![130]] {
            let segments = Segments::independent(&lengths);
            for (turn, shape) in SHAPES.into_iter().enumerate() {
                let case = Case::new(&mut bench, segments.n_tokens(), shape);
                let dt = case.dt.here.to_vec2::<f32>().unwrap();
                let a = case.a.here.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                // In one round, and in several until one row of a segment is kept.
                for (share, timed) in [(0.3, true), (0.4, false), (0.8, true), (1.0, true)] {
                    let merge = merges[(turn + usize::from(share > 0.5)) % merges.len()];
                    let got = case.reduce(&segments, share, timed, merge);
                    let what = format!("{lengths:?} {shape:?} {share} {timed} {merge:?} {dtype:?}");
                    assert!(numbers(&got.faults).iter().all(|fault| *fault == NO_FAULT as usize), "{what}");
                    let (keep, offsets, sources) =
                        (numbers(&got.rows.keep), numbers(&got.rows.edge_off), numbers(&got.rows.edge_src));
                    let list = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    let times = list(got.times.as_ref().unwrap());
                    let (edge, own) = (list(&got.rows.hidden.edge), list(&got.rows.hidden.own));
                    assert_eq!(
                        (&edge, &own),
                        (&list(&got.rows.residual.edge), &list(&got.rows.residual.own)),
                        "{what}"
                    );
                    for (kept, row) in keep.iter().enumerate() {
                        let edges = offsets[kept]..offsets[kept + 1];
                        let tokens: Vec<usize> = edges.clone().map(|place| sources[place]).chain([*row]).collect();
                        let factors = |token: usize| {
                            if timed { [case.times[2 * token], case.times[2 * token + 1]] } else { [1.0; 2] }
                        };
                        let before = factors(*row).map(f64::from);
                        let steps: Vec<Vec<f32>> = tokens.iter().map(|token| dt[*token].clone()).collect();
                        let known: Vec<[f32; 2]> = tokens.iter().map(|token| factors(*token)).collect();
                        let run = reference::merge_run(&steps, &a, &known);
                        let single = edges.is_empty();
                        let carries = [merge.decay, merge.write];
                        for role in 0..2 {
                            let want = if single || !carries[role] { before[role] } else { run.time[role] };
                            close(want, times[2 * kept + role], &format!("{what}: factor {role} of row {row}"));
                        }
                        for (place, weight) in edges.clone().zip(&run.weights) {
                            let want = if merge.merge { *weight } else { 0.0 };
                            close(want, edge[place], &format!("{what}: weight of row {}", sources[place]));
                        }
                        if merge.merge {
                            let want = if single { 1.0 } else { run.weights[tokens.len() - 1] };
                            close(want, own[kept], &format!("{what}: own weight of row {row}"));
                        }
                    }
                    let again = case.reduce(&segments, share, timed, merge);
                    assert_eq!(bits(got.times.as_ref().unwrap()), bits(again.times.as_ref().unwrap()), "{what}");
                    assert_eq!(bits(&got.rows.hidden.edge), bits(&again.rows.hidden.edge), "{what}");
                }
            }
        }
    }
}

/// A segment has the same bits alone and between others.
#[test]
#[ignore = "needs a GPU"]
fn runs_do_not_depend_on_neighbours() {
    let mut bench = on_gpu(DType::F32);
    let segments = Segments::independent(&[70, 300, 0, 9]);
    for shape in [SHAPES[2], SHAPES[3]] {
        let case = Case::new(&mut bench, segments.n_tokens(), shape);
        let together = case.reduce(&segments, 0.8, true, BOTH);
        let mut rows = 0;
        let mut edges = 0;
        for index in [0, 1] {
            let (start, n) = (segments.rows(index).start, segments.length(index));
            let alone = case.alone(start, n).reduce(&Segments::independent(&[n]), 0.8, true, BOTH);
            let (own_rows, own_edges) = (alone.rows.rows_out(), n - alone.rows.rows_out());
            let what = format!("segment {index}, {shape:?}");
            let times = |reduced: &Reduced| reduced.times.clone().unwrap();
            assert_eq!(bits(&part(&times(&together), rows, own_rows)), bits(&times(&alone)), "{what}");
            let weights = part(&together.rows.hidden.edge, edges, own_edges);
            assert_eq!(bits(&weights), bits(&alone.rows.hidden.edge), "{what}");
            let own = part(&together.rows.hidden.own, rows, own_rows);
            assert_eq!(bits(&own), bits(&alone.rows.hidden.own), "{what}");
            rows += own_rows;
            edges += own_edges;
        }
    }
}

/// Steps of no length have no weights, and a step that is no finite number is noted with its segment and row.
#[test]
#[ignore = "needs a GPU"]
fn steps_of_no_length_and_steps_that_are_no_number() {
    let mut bench = on_gpu(DType::F32);
    let segments = Segments::independent(&[20, 30, 5]);
    let mut case = Case::new(&mut bench, 55, (3, 1));
    let there = |values: Vec<f32>| Tensor::from_vec(values, (55, 3), &Device::Cpu).unwrap().to_device(&bench.device);
    case.dt.there = there(vec![0.0; 165]).unwrap();
    let reduced = case.reduce(&segments, 1.0, false, BOTH);
    assert!(numbers(&reduced.faults).iter().all(|fault| *fault == NO_FAULT as usize));
    let (offsets, times) = (numbers(&reduced.rows.edge_off), reduced.times.unwrap().to_vec2::<f32>().unwrap());
    for (row, times) in times.iter().enumerate() {
        let tokens = (offsets[row + 1] - offsets[row] + 1) as f32;
        assert_eq!(times[..], [tokens; 2], "row {row} lasts as long as its tokens");
    }
    assert!(
        reduced.rows.hidden.edge.to_vec1::<f32>().unwrap().iter().all(|weight| weight.to_bits() == 1.0_f32.to_bits())
    );
    // All unprotected rows of the second segment are of one run.
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = vec![0.25; 165];
        (values[3 * 31 + 2], values[3 * 40]) = (bad, bad);
        case.dt.there = there(values).unwrap();
        let reduced = case.reduce(&segments, 1.0, false, BOTH);
        assert_eq!(numbers(&reduced.faults), [NO_FAULT as usize, 11, NO_FAULT as usize], "{bad}");
    }
}
