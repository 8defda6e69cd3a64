//! Pairing in several rounds against `src/ops/reduction/reference.rs`.

use candle_core::{Device, Tensor};
use ssm_kernels::Segments;
use ssm_kernels::ops::reduction::{self, Carry, NO_FAULT, Pairing, PruneOrder, RowNorm, Sides, Similarity, TokenState};
use ssm_kernels::ops::{BranchWeights, RowPlan};

use super::differential::reference::reduction as reference;
use super::{DTYPES, numbers, on_gpu};

/// Which of the chosen edges merge.
fn merging(carry: Carry, scores: &[f64], edges: &[reference::Edge]) -> Vec<bool> {
    let Carry::Hybrid { q, order } = carry else { return vec![carry != Carry::Drop; edges.len()] };
    let pruned = reference::strongest(edges, reference::n_pruned(q, edges.len()), |edge| match order {
        PruneOrder::MostSimilar => edge.similarity,
        PruneOrder::LeastSimilar => -edge.similarity,
        PruneOrder::LeastImportant => -scores[edge.source],
    });
    edges.iter().map(|edge| !pruned.contains(edge)).collect()
}

/// Weight of each removed row and of each kept row on one branch, by arriving row, and where it goes.
fn weights(plan: &RowPlan, branch: &BranchWeights, n: usize) -> Vec<(usize, f32)> {
    let (keep, offsets, sources) = (numbers(&plan.keep), numbers(&plan.edge_off), numbers(&plan.edge_src));
    let (edge, own) = (branch.edge.to_vec1::<f32>().unwrap(), branch.own.to_vec1::<f32>().unwrap());
    let mut weights = vec![(usize::MAX, f32::NAN); n];
    for (kept, row) in keep.iter().enumerate() {
        weights[*row] = (*row, own[kept]);
        for place in offsets[kept]..offsets[kept + 1] {
            weights[sources[place]] = (*row, edge[place]);
        }
    }
    weights
}

/// Similarities are exact in float32, so that equal ones are equal on both sides and ties decide much. Segments that need one round, none, and
/// as many as it takes to leave one row.
#[test]
#[ignore = "needs a GPU"]
fn pairing_in_rounds() {
    let hybrid = |q, order| Carry::Hybrid { q, order };
    let carries = [
        [Carry::Mean, Carry::Drop],
        [Carry::SizeWeightedMean, Carry::Mean],
        [hybrid(0.5, PruneOrder::MostSimilar), Carry::Mean],
        [hybrid(0.4, PruneOrder::LeastImportant), hybrid(0.3, PruneOrder::LeastSimilar)],
    ];
    for dtype in DTYPES {
        let bench = on_gpu(dtype);
        for lengths in [vec![1, 2, 3, 36, 0, 65, 130], vec![300], vec![1025, 7]] {
            let segments = Segments::independent(&lengths);
            let n = segments.n_tokens();
            let width = 24;
            let mut values = vec![0.0_f32; n * width];
            for row in (0..n).filter(|row| row % 11 != 0) {
                let sign = if row % 5 == 0 { -1.0 } else { 1.0 };
                values[row * width + row * 7 % 17 % 9] = sign * [0.5, 1.0, 2.0][row % 3];
            }
            let features = bench.activations_of(&Tensor::from_vec(values, (n, width), &Device::Cpu).unwrap());
            let here = features.here.to_vec2::<f32>().unwrap();
            let (_, norms) = reduction::token_scores(&features.there, None, Some(RowNorm::Plain)).unwrap();
            let norms = norms.unwrap();
            // Few different scores: ties decide here, too.
            let scores: Vec<f32> = (0..n).map(|row| (row * 37 % 23) as f32).collect();
            let exact: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
            let scores = Tensor::from_vec(scores, n, &bench.device).unwrap();
            for (turn, carry) in carries.into_iter().enumerate() {
                for (by_scores, window, protect) in
                    [(false, None, 0), (true, None, 7), (false, Some(3), 7), (true, Some(1), 0)]
                {
                    let protected: Vec<bool> = (0..n).map(|row| protect > 0 && row % protect == 0).collect();
                    let sizes: Vec<f32> = (0..n).map(|row| 1.0 + (row % 4) as f32).collect();
                    let flags: Vec<u8> = protected.iter().map(|protected| u8::from(*protected)).collect();
                    let tokens = TokenState {
                        sizes: Tensor::from_slice(&sizes, n, &bench.device).unwrap(),
                        protected: Tensor::from_vec(flags, n, &bench.device).unwrap(),
                    };
                    let count = |index: usize| protected[segments.rows(index)].iter().filter(|flag| !**flag).count();
                    let candidates: Vec<usize> = (0..segments.len()).map(count).collect();
                    let loses = |index: usize| {
                        let most = candidates[index].saturating_sub(1);
                        [most, most * 4 / 5, 0, most / 3][(index + turn) % 4]
                    };
                    let kept: Vec<usize> =
                        (0..segments.len()).map(|index| segments.length(index) - loses(index)).collect();
                    let got = reduction::pair_tokens(&Pairing {
                        similarity: Similarity { x: &features.there, inverse_norms: &norms, clip: false, window },
                        sides: if by_scores { Sides::Halves(&scores) } else { Sides::EvenOdd },
                        prune_scores: Some(&scores),
                        hidden: carry[0],
                        residual: carry[1],
                        tokens: &tokens,
                        segments: &segments,
                        candidates: &candidates,
                        lengths: &kept,
                    })
                    .unwrap();
                    let what = format!("{lengths:?} {carry:?} {by_scores} {window:?} {protect} {dtype:?}");
                    assert!(numbers(&got.faults).iter().all(|fault| *fault == NO_FAULT as usize), "{what}");
                    let branches = [&got.rows.hidden, &got.rows.residual].map(|branch| weights(&got.rows, branch, n));
                    let mut sizes_out = vec![0.0_f32; n];
                    for index in 0..segments.len() {
                        let rows = segments.rows(index);
                        let own: Vec<f64> = exact[rows.clone()].to_vec();
                        let ways = reference::pair_in_rounds(
                            &here[rows.clone()],
                            false,
                            window,
                            by_scores.then_some(own.as_slice()),
                            &protected[rows.clone()],
                            loses(index),
                            |edges| carry.map(|carry| merging(carry, &own, edges)),
                        );
                        for (place, way) in ways.iter().enumerate() {
                            let row = rows.start + place;
                            let end = rows.start + way.map_or(place, |way| way.end);
                            let carried = way.map_or([true; 2], |way| way.carried);
                            if carried.contains(&true) {
                                sizes_out[end] += sizes[row];
                            }
                            for ((carry, carried), got) in carry.iter().zip(carried).zip(&branches) {
                                // No weights are made for a segment that loses nothing.
                                let sized = *carry == Carry::SizeWeightedMean && loses(index) > 0;
                                let weight = if sized { sizes[row] } else { 1.0 };
                                let want = (end, if carried { weight } else { 0.0 });
                                assert_eq!(got[row], want, "{what}: row {place} of segment {index}");
                            }
                        }
                    }
                    let stay = numbers(&got.rows.keep);
                    let want: Vec<f32> = stay.iter().map(|row| sizes_out[*row]).collect();
                    assert_eq!(got.tokens.sizes.to_vec1::<f32>().unwrap(), want, "{what}");
                    let want: Vec<u8> = stay.iter().map(|row| u8::from(protected[*row])).collect();
                    assert_eq!(got.tokens.protected.to_vec1::<u8>().unwrap(), want, "{what}");
                }
            }
        }
    }
}
