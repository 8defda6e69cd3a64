//! Scores, selection, pairing and edge similarity against `src/ops/reduction/reference.rs`.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use ssm_kernels::Segments;
use ssm_kernels::ops::reduction::{
    self, Carry, NO_FAULT, Pairing, PruneOrder, Reduced, RowNorm, ScoreMetric, Sides, Similarity, TokenState,
};
use ssm_kernels::ops::{BranchWeights, MergeGroup, MergeRule, RowMerges, RowPlan};

use super::differential::reference::reduction as reference;
use super::differential::{Bench, awkward_segments};
use super::{DTYPES, on_gpu};

/// A score of a row by its definition.
type RowScore = fn(&[f32]) -> f64;

/// What a float64 sum may differ by after it is rounded to float32: the neighbouring number.
const ONE_ROUNDING: f64 = 2e-7;
/// Similarities closer than this are equal on one side: float32 sums over up to 768 products of numbers below 1.
const RESOLUTION: f64 = 2e-5;

/// Every metric and norm, over columns of a wider matrix.
#[test]
#[ignore = "needs a GPU"]
fn token_scores() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for (rows, width, start) in
            [(1, 1, 0), (9, 5, 3), (70, 64, 8), (33, 20, 0), (300, 2560, 8), (300, 2560, 3), (5, 9000, 0)]
        {
            let x = bench.activations(&[rows, width + 16], -2.0, 2.0);
            let (here, there) = (x.here.narrow(1, start, width).unwrap(), x.there.narrow(1, start, width).unwrap());
            let here = here.to_vec2::<f32>().unwrap();
            let compare = |what: &str, want: &dyn Fn(&[f32]) -> f64, got: Option<Tensor>| {
                for (row, got) in here.iter().zip(got.unwrap().to_vec1::<f32>().unwrap()) {
                    let (want, got) = (want(row), f64::from(got));
                    let close = (want - got).abs() <= ONE_ROUNDING * want.abs() + 1e-12;
                    assert!(close, "{what} {rows}x{width}+{start} {dtype:?}: {got}, reference {want}");
                }
            };
            let metrics: [(ScoreMetric, RowScore); 6] = [
                (ScoreMetric::Clip, reference::clip),
                (ScoreMetric::L1, reference::l1),
                (ScoreMetric::L2, reference::l2),
                (ScoreMetric::Mean, reference::mean),
                (ScoreMetric::LInf, reference::l_inf),
                (ScoreMetric::ReleasedMean, reference::released_mean),
            ];
            for (metric, want) in metrics {
                let (scores, none) = reduction::token_scores(&there, Some(metric), None).unwrap();
                assert!(none.is_none());
                compare(&format!("{metric:?}"), &want, scores);
                for (norm, clipped) in [(RowNorm::Plain, false), (RowNorm::Clipped, true)] {
                    let (scores, norms) = reduction::token_scores(&there, Some(metric), Some(norm)).unwrap();
                    compare(&format!("{metric:?} with {norm:?}"), &want, scores);
                    compare(&format!("{norm:?}"), &|row| reference::inverse_norm(row, clipped), norms);
                }
            }
        }
    }
}

/// Sizes and protection of a stream, on both sides.
struct State {
    sizes: Vec<f32>,
    protected: Vec<bool>,
    tokens: TokenState,
}

impl State {
    /// Every `protect`-th row is protected; none where it is 0.
    fn new(bench: &Bench, n: usize, protect: usize) -> Self {
        let sizes: Vec<f32> = (0..n).map(|row| 1.0 + (row % 4) as f32).collect();
        let protected: Vec<bool> = (0..n).map(|row| protect > 0 && row % protect == 0).collect();
        let flags: Vec<u8> = protected.iter().map(|protected| u8::from(*protected)).collect();
        let tokens = TokenState {
            sizes: Tensor::from_slice(&sizes, n, &bench.device).unwrap(),
            protected: Tensor::from_vec(flags, n, &bench.device).unwrap(),
        };
        Self { sizes, protected, tokens }
    }

    /// Unprotected rows of every segment.
    fn candidates(&self, segments: &Segments) -> Vec<usize> {
        let count = |rows: Range<usize>| self.protected[rows].iter().filter(|protected| !**protected).count();
        (0..segments.len()).map(|index| count(segments.rows(index))).collect()
    }
}

/// Scores with ties, of both zeros too, and without; segments that lose nothing, some, and all that is not protected.
#[test]
#[ignore = "needs a GPU"]
fn select_tokens() {
    let mut bench = on_gpu(DType::F32);
    for segments in awkward_segments() {
        let n = segments.n_tokens();
        let apart = bench.numbers(n, -1.0, 1.0);
        let tied: Vec<f32> = bench.numbers(n, -2.0, 2.0).into_iter().map(f32::round).collect();
        for (scores, protect) in [(&apart, 0), (&apart, 5), (&tied, 0), (&tied, 3)] {
            let state = State::new(&bench, n, protect);
            let exact: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
            let there = Tensor::from_slice(scores, n, &bench.device).unwrap();
            for (turn, keep_highest) in [true, false].into_iter().enumerate() {
                let kept = |(index, candidates): (usize, usize)| {
                    let length = segments.length(index);
                    length - candidates
                        + [candidates, candidates * 3 / 5, 0, candidates.div_ceil(2)][(index + turn) % 4]
                };
                let lengths: Vec<usize> = state.candidates(&segments).into_iter().enumerate().map(kept).collect();
                // No kernel has an empty result to write.
                if lengths.iter().sum::<usize>() == 0 {
                    continue;
                }
                let got = reduction::select_tokens(&there, &state.tokens, &segments, &lengths, keep_highest).unwrap();
                let want: Vec<usize> = (0..segments.len())
                    .flat_map(|index| {
                        let rows = segments.rows(index);
                        let (scores, protected) = (&exact[rows.clone()], &state.protected[rows.clone()]);
                        reference::select_tokens(scores, protected, lengths[index], keep_highest)
                            .into_iter()
                            .map(move |row| rows.start + row)
                    })
                    .collect();
                let what = format!("{segments:?} {protect} {keep_highest}");
                assert_eq!(keep(&got), want, "{what}");
                assert_eq!(got.segments, segments.with_lengths(&lengths), "{what}");
                assert!(got.faults.to_vec1::<u32>().unwrap().iter().all(|fault| *fault == NO_FAULT), "{what}");
                let sizes: Vec<f32> = want.iter().map(|row| state.sizes[*row]).collect();
                assert_eq!(got.tokens.sizes.to_vec1::<f32>().unwrap(), sizes, "{what}");
                assert_eq!(got.tokens.protected.to_vec1::<u8>().unwrap(), flags(&state, &want), "{what}");
            }
        }
    }
}

fn keep(reduced: &Reduced) -> Vec<usize> {
    reduced.rows.keep.to_vec1::<u32>().unwrap().into_iter().map(|row| row as usize).collect()
}

fn flags(state: &State, rows: &[usize]) -> Vec<u8> {
    rows.iter().map(|row| u8::from(state.protected[*row])).collect()
}

/// One case of pairing.
struct Case<'a> {
    features: &'a [Vec<f32>],
    /// Similarities are exact in float32, so that equal ones are equal on both sides and nothing is a matter of rounding.
    exact: bool,
    clip: bool,
    window: Option<usize>,
    scores: &'a [f32],
    by_scores: bool,
    carry: [Carry; 2],
    state: &'a State,
    segments: &'a Segments,
    lengths: &'a [usize],
}

#[test]
#[ignore = "needs a GPU"]
fn pair_tokens() {
    let tables = [vec![1, 2, 3, 36, 0, 65, 130], vec![300], vec![1000; 8]];
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for lengths in &tables {
            let segments = Segments::independent(lengths);
            let n = segments.n_tokens();
            for width in [64, 768, 20] {
                // The reference of long segments takes a while.
                if n > 1000 && width > 64 {
                    continue;
                }
                let random = bench.activations(&[n, width + 8], -1.0, 1.0);
                let exact = bench.activations_of(&one_hot(n, width + 8));
                let scores = bench.numbers(n, -1.0, 1.0);
                for (features, exact) in [(&random, false), (&exact, true)] {
                    for (turn, clip) in [false, true].into_iter().enumerate() {
                        let state = State::new(&bench, n, [0, 7][turn]);
                        let here = features.here.narrow(1, 8, width).unwrap().to_vec2::<f32>().unwrap();
                        let there = features.there.narrow(1, 8, width).unwrap();
                        for (index, carry) in carries().into_iter().enumerate() {
                            let by_scores = index % 2 == turn;
                            // Windows smaller and larger than a tile of targets.
                            let window = [None, Some(1), Some(40), Some(300), None][index];
                            let loses = |(segment, candidates): (usize, usize)| match (by_scores, segment % 3) {
                                (_, 2) if segments.len() > 1 => 0,
                                (true, _) => candidates / 2 * 4 / 5,
                                (false, _) => candidates.div_ceil(2) * 4 / 5,
                            };
                            let lengths: Vec<usize> = (state.candidates(&segments).into_iter().enumerate())
                                .map(|(segment, count)| segments.length(segment) - loses((segment, count)))
                                .collect();
                            Case {
                                features: &here,
                                exact,
                                clip,
                                window,
                                scores: &scores,
                                by_scores,
                                carry,
                                state: &state,
                                segments: &segments,
                                lengths: &lengths,
                            }
                            .check(&there);
                        }
                    }
                }
            }
        }
    }
}

/// Rows with one value, a power of two; every eleventh row is zero.
fn one_hot(rows: usize, width: usize) -> Tensor {
    let mut values = vec![0.0_f32; rows * width];
    for row in (0..rows).filter(|row| row % 11 != 0) {
        let sign = if row % 5 == 0 { -1.0 } else { 1.0 };
        values[row * width + 8 + row * 7 % 6] = sign * [0.5, 1.0, 2.0][row % 3];
    }
    Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
}

/// Rules of the hidden and the residual branch.
fn carries() -> Vec<[Carry; 2]> {
    let hybrid = |q, order| Carry::Hybrid { q, order };
    vec![
        [Carry::Drop, Carry::Mean],
        [Carry::SizeWeightedMean, Carry::Drop],
        [hybrid(0.5, PruneOrder::MostSimilar), hybrid(0.3, PruneOrder::LeastSimilar)],
        [hybrid(0.4, PruneOrder::LeastImportant), Carry::SizeWeightedMean],
        [hybrid(0.0, PruneOrder::LeastSimilar), hybrid(1.0, PruneOrder::MostSimilar)],
    ]
}

impl Case<'_> {
    fn check(&self, features: &Tensor) {
        let device = features.device();
        let norm = if self.clip { RowNorm::Clipped } else { RowNorm::Plain };
        let (_, norms) = reduction::token_scores(features, None, Some(norm)).unwrap();
        let scores = Tensor::from_slice(self.scores, self.scores.len(), device).unwrap();
        let got = reduction::pair_tokens(&Pairing {
            similarity: Similarity {
                x: features,
                inverse_norms: norms.as_ref().unwrap(),
                clip: self.clip,
                window: self.window,
            },
            sides: if self.by_scores { Sides::Halves(&scores) } else { Sides::EvenOdd },
            prune_scores: Some(&scores),
            hidden: self.carry[0],
            residual: self.carry[1],
            tokens: &self.state.tokens,
            segments: self.segments,
            candidates: &self.state.candidates(self.segments),
            lengths: self.lengths,
        })
        .unwrap();
        assert!(got.faults.to_vec1::<u32>().unwrap().iter().all(|fault| *fault == NO_FAULT));
        assert_eq!(got.segments, self.segments.with_lengths(self.lengths));
        let kept = keep(&got);
        assert_eq!(got.tokens.protected.to_vec1::<u8>().unwrap(), flags(self.state, &kept));
        let edges = edges_of(&got.rows);
        let branches = [weights_of(&got.rows.hidden), weights_of(&got.rows.residual)];
        for index in 0..self.segments.len() {
            self.check_segment(index, &kept[got.segments.rows(index)], &edges, &branches);
        }
        self.check_rows(&kept, &edges, &branches, &got.tokens.sizes.to_vec1::<f32>().unwrap());
    }

    /// Which rows a segment removes, into which they point, and which edges merge.
    fn check_segment(&self, index: usize, kept: &[usize], edges: &[(usize, usize)], branches: &[Weights; 2]) {
        let rows = self.segments.rows(index);
        let what = format!("segment {index} of {:?}, width {}", self.segments, self.features[0].len());
        let own: Vec<(usize, &(usize, usize))> =
            edges.iter().enumerate().filter(|(_, (source, _))| rows.contains(source)).collect();
        let mut all: Vec<usize> = own.iter().map(|(_, (source, _))| *source).chain(kept.iter().copied()).collect();
        all.sort_unstable();
        assert_eq!(all, rows.clone().collect::<Vec<_>>(), "{what}: every row is kept or removed once");
        let removed = own.len();
        assert_eq!(removed, rows.len() - self.lengths[index], "{what}");
        if removed == 0 {
            return;
        }
        let (features, protected) = (&self.features[rows.clone()], &self.state.protected[rows.clone()]);
        let scores: Vec<f64> = self.scores[rows.clone()].iter().map(|score| f64::from(*score)).collect();
        let (sources, targets) = reference::partition(self.by_scores.then_some(scores.as_slice()), protected);
        let best = reference::match_sources(features, self.clip, &sources, &targets, self.window);
        let of = |source: usize| best.iter().find(|edge| edge.source == source);
        let mut found: Vec<(usize, reference::Edge)> = own
            .iter()
            .map(|(edge, (source, into))| {
                let (source, target) = (source - rows.start, into - rows.start);
                let best = of(source).unwrap_or_else(|| panic!("{what}: {source} is no source"));
                assert!(targets.contains(&target), "{what}: {target} is no target");
                let similarity = reference::cosine(&features[source], &features[target], self.clip);
                assert!(similarity >= best.similarity - RESOLUTION, "{what}: {source} -> {target}, reference {best:?}");
                (*edge, reference::Edge { source, target, similarity })
            })
            .collect();
        found.sort_by_key(|(_, edge)| edge.source);
        let (places, found): (Vec<usize>, Vec<reference::Edge>) = found.into_iter().unzip();
        let is_removed = |edge: &&reference::Edge| found.iter().any(|found| found.source == edge.source);
        self.ranked_first(&what, &best, &best.iter().filter(is_removed).copied().collect::<Vec<_>>(), |edge| {
            edge.similarity
        });
        if self.exact {
            assert_eq!(found, reference::strongest(&best, removed, |edge| edge.similarity), "{what}");
        }
        for (carry, weights) in self.carry.iter().zip(branches) {
            let merges = |place: &usize| weights.edge[*place] != 0.0;
            let pruned: Vec<reference::Edge> =
                places.iter().zip(&found).filter(|(place, _)| !merges(place)).map(|(_, edge)| *edge).collect();
            let what = format!("{what}: {carry:?}");
            match *carry {
                Carry::Drop => assert_eq!(pruned.len(), removed, "{what}"),
                Carry::Mean | Carry::SizeWeightedMean => assert!(pruned.is_empty(), "{what}"),
                Carry::Hybrid { q, order } => {
                    assert_eq!(pruned.len(), reference::n_pruned(q, removed), "{what}");
                    self.ranked_first(&what, &found, &pruned, |edge| match order {
                        PruneOrder::MostSimilar => edge.similarity,
                        PruneOrder::LeastSimilar => -edge.similarity,
                        PruneOrder::LeastImportant => -scores[edge.source],
                    });
                }
            }
        }
    }

    /// `chosen` are those of `all` with the highest rank; exactly, or as far as float32 tells them apart.
    fn ranked_first(
        &self,
        what: &str,
        all: &[reference::Edge],
        chosen: &[reference::Edge],
        rank: impl Fn(&reference::Edge) -> f64,
    ) {
        if self.exact {
            assert_eq!(chosen, reference::strongest(all, chosen.len(), rank), "{what}");
            return;
        }
        let lowest = chosen.iter().map(&rank).fold(f64::INFINITY, f64::min);
        let others = all.iter().filter(|edge| !chosen.contains(edge));
        let highest = others.map(&rank).fold(f64::NEG_INFINITY, f64::max);
        assert!(lowest >= highest - RESOLUTION, "{what}: {lowest} was chosen before {highest}");
    }

    /// Weights, and the sizes of the rows that come out: summed in order of rows, as far as either branch takes them in.
    #[expect(clippy::float_cmp, reason = "sums of whole numbers, in the same order")]
    fn check_rows(&self, kept: &[usize], edges: &[(usize, usize)], branches: &[Weights; 2], sizes: &[f32]) {
        let sizes_in = &self.state.sizes;
        for (carry, weights) in self.carry.iter().zip(branches) {
            let weight = |row: usize| if *carry == Carry::SizeWeightedMean { sizes_in[row] } else { 1.0 };
            let own: Vec<f32> = kept.iter().map(|row| weight(*row)).collect();
            assert_eq!(weights.own, own, "{carry:?}");
            for ((source, _), edge) in edges.iter().zip(&weights.edge) {
                assert!(*edge == 0.0 || *edge == weight(*source), "{carry:?}: {edge} for row {source}");
            }
        }
        for (row, got) in kept.iter().zip(sizes) {
            let merged = |(place, (_, into)): &(usize, &(usize, usize))| {
                into == row && branches.iter().any(|weights| weights.edge[*place] != 0.0)
            };
            let mut rows: Vec<usize> =
                edges.iter().enumerate().filter(merged).map(|(_, (source, _))| *source).chain([*row]).collect();
            rows.sort_unstable();
            let want = rows.iter().fold(0.0, |sum, row| sum + sizes_in[*row]);
            assert_eq!(*got, want, "size of row {row}");
        }
    }
}

/// The edges of a plan, `(source, kept row)` in arriving rows.
fn edges_of(plan: &RowPlan) -> Vec<(usize, usize)> {
    let indices = |tensor: &Tensor| -> Vec<usize> {
        tensor.to_vec1::<u32>().unwrap().into_iter().map(|index| index as usize).collect()
    };
    let (keep, offsets, sources) = (indices(&plan.keep), indices(&plan.edge_off), indices(&plan.edge_src));
    let of = |(row, kept): (usize, &usize)| {
        sources[offsets[row]..offsets[row + 1]].iter().map(|source| (*source, *kept)).collect::<Vec<_>>()
    };
    keep.iter().enumerate().flat_map(of).collect()
}

/// Weights of one branch, on the host.
struct Weights {
    edge: Vec<f32>,
    own: Vec<f32>,
}

fn weights_of(weights: &BranchWeights) -> Weights {
    let host = |tensor: &Tensor| tensor.to_vec1::<f32>().unwrap();
    Weights { edge: host(&weights.edge), own: host(&weights.own) }
}

/// Edges into the first row and the last, several into one row, and zero rows, whose similarity is 0.
#[test]
#[ignore = "needs a GPU"]
fn edge_similarity() {
    let group = |into, sources: &[u32]| MergeGroup {
        into,
        own_weight: 1.0,
        sources: sources.iter().map(|source| (*source, 1.0)).collect(),
    };
    let groups = [group(0, &[1, 2]), group(5, &[3, 4, 6, 7]), group(9, &[8])];
    let merges = [
        RowMerges { first_row: 0, keep: &[0, 5, 9], groups: &groups, rule: MergeRule::WeightedMean },
        RowMerges { first_row: 10, keep: &[0, 1], groups: &[], rule: MergeRule::WeightedMean },
    ];
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        let plan = RowPlan::from_merges(12, &merges, &merges, &bench.device).unwrap();
        for width in [1, 5, 64, 2560] {
            let mut values = bench.numbers(12 * width, -2.0, 2.0);
            values[2 * width..3 * width].fill(0.0);
            let x = bench.activations_of(&Tensor::from_vec(values, (12, width), &Device::Cpu).unwrap());
            let rows = x.here.to_vec2::<f32>().unwrap();
            let got = reduction::edge_similarity(&x.there, &plan).unwrap().to_vec1::<f32>().unwrap();
            let edges = edges_of(&plan);
            assert_eq!(edges.len(), got.len());
            for ((source, into), got) in edges.into_iter().zip(got) {
                let want = reference::cosine(&rows[source], &rows[into], false);
                assert!((want - f64::from(got)).abs() <= ONE_ROUNDING, "{source} -> {into}: {got}, reference {want}");
            }
        }
    }
}
