//! Branches that keep rows of their own, against `src/ops/reduction/reference.rs`.

use candle_core::{DType, Tensor};
use ssm_kernels::Segments;
use ssm_kernels::ops::reduction::{self, NO_FAULT, TokenState};

use super::differential::reference::reduction as reference;
use super::{bits, numbers, on_gpu, part};

/// Few different scores: ties decide much.
fn scores(n: usize, factor: usize) -> Vec<f32> {
    (0..n).map(|row| (row * factor % 23) as f32 - 11.0).collect()
}

/// Rows of both branches, against the reference, and the rows that a plan makes of a stream.
#[test]
#[ignore = "needs a GPU"]
fn split_branches() {
    let mut bench = on_gpu(DType::F32);
    for lengths in [vec![1, 2, 3, 36, 0, 65, 130], vec![700], vec![2051, 9]] {
        let segments = Segments::independent(&lengths);
        let n = segments.n_tokens();
        let x = bench.parameters(&[n, 12], -1.0, 1.0).there;
        let (hidden, residual) = (scores(n, 37), scores(n, 53));
        let there = |values: &[f32]| Tensor::from_slice(values, n, x.device()).unwrap();
        for one_in in [0, 3, 17] {
            let protected: Vec<bool> = (0..n).map(|row| one_in > 0 && row % one_in == 0).collect();
            let flags: Vec<u8> = protected.iter().map(|protected| u8::from(*protected)).collect();
            let tokens = TokenState {
                sizes: Tensor::ones(n, DType::F32, x.device()).unwrap(),
                protected: Tensor::from_vec(flags, n, x.device()).unwrap(),
            };
            let free = |index: usize| protected[segments.rows(index)].iter().filter(|flag| !**flag).count();
            let loses = |index: usize| [free(index) / 2, 0, free(index) * 9 / 10][index % 3];
            let kept: Vec<usize> = (0..segments.len()).map(|index| segments.length(index) - loses(index)).collect();
            let dropped = reduction::select_tokens(&there(&hidden), &tokens, &segments, &kept, true).unwrap();
            let keep = numbers(&dropped.rows.keep);
            let split = reduction::split_branches(dropped, &there(&residual), &tokens, &segments).unwrap();
            let what = format!("{lengths:?}, one in {one_in}");
            assert!(numbers(&split.faults).iter().all(|fault| *fault == NO_FAULT as usize), "{what}");
            assert_eq!(numbers(&split.rows.keep), keep, "{what}: the hidden branch");
            let mut want = Vec::new();
            for index in 0..segments.len() {
                let rows = segments.rows(index);
                let own: Vec<f64> = residual[rows.clone()].iter().map(|score| f64::from(*score)).collect();
                let kept: Vec<usize> =
                    keep.iter().filter(|row| rows.contains(*row)).map(|row| row - rows.start).collect();
                let chosen = reference::split_residual(&own, &protected[rows.clone()], &kept);
                want.extend(chosen.into_iter().map(|row| rows.start + row));
            }
            assert_eq!(numbers(split.rows.residual.keep.as_ref().unwrap()), want, "{what}: the residual");
            assert!(!split.rows.is_gathered_by_layers(), "{what}");
            for (branch, rows) in [(&split.rows.hidden, &keep), (&split.rows.residual, &want)] {
                let got = split.rows.apply(&x, branch).unwrap();
                for (place, row) in rows.iter().enumerate() {
                    assert_eq!(bits(&part(&got, place, 1)), bits(&part(&x, *row, 1)), "{what}: row {row}");
                }
            }
        }
    }
}

/// A score that is no number is noted, of either branch, and the rows are still rows of the stream.
#[test]
#[ignore = "needs a GPU"]
fn a_score_of_the_residual_that_is_no_number_is_noted() {
    let bench = on_gpu(DType::F32);
    let segments = Segments::independent(&[20, 30, 5]);
    let (n, kept) = (55, [20, 12, 3]);
    let there = |values: Vec<f32>| Tensor::from_vec(values, n, &bench.device).unwrap();
    let tokens = TokenState {
        sizes: Tensor::ones(n, DType::F32, &bench.device).unwrap(),
        protected: Tensor::zeros(n, DType::U8, &bench.device).unwrap(),
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (hidden_row, residual_row, want) in
            [(None, Some(31), 11), (Some(40), Some(31), 11), (Some(24), Some(31), 4)]
        {
            let (mut hidden, mut residual) = (scores(n, 37), scores(n, 53));
            // Of a segment that keeps all rows nothing is ranked.
            residual[7] = bad;
            if let Some(row) = hidden_row {
                hidden[row] = bad;
            }
            if let Some(row) = residual_row {
                residual[row] = bad;
            }
            let dropped = reduction::select_tokens(&there(hidden), &tokens, &segments, &kept, true).unwrap();
            let split = reduction::split_branches(dropped, &there(residual), &tokens, &segments).unwrap();
            assert_eq!(numbers(&split.faults), [NO_FAULT as usize, want, NO_FAULT as usize], "{bad}");
            assert!(numbers(split.rows.residual.keep.as_ref().unwrap()).iter().all(|row| *row < n), "{bad}");
        }
    }
}
