//! How little rows resemble later ones, and the protection of the last rows, against `src/ops/reduction/reference.rs`.

use candle_core::{DType, Device, Tensor};
use ssm_kernels::Segments;
use ssm_kernels::ops::reduction::{self, RowNorm, TokenState};

use super::differential::reference::reduction as reference;
use super::{DTYPES, bits, on_gpu, part};

/// Similarities closer than this are equal on one side: float32 sums over up to 2304 products of numbers below 1.
const RESOLUTION: f64 = 2e-5;

fn newness(x: &Tensor, segments: &Segments, scored: &[usize]) -> Tensor {
    let (_, norms) = reduction::token_scores(x, None, Some(RowNorm::Plain)).unwrap();
    reduction::newness(x, &norms.unwrap(), segments, scored).unwrap()
}

/// Of each segment so many rows are compared: all, some, none, one.
fn scored_of(segments: &Segments, turn: usize) -> Vec<usize> {
    let count = |index: usize| {
        let n = segments.length(index);
        [n, n * 3 / 5, 0, n.min(1)][(index + turn) % 4]
    };
    (0..segments.len()).map(count).collect()
}

/// Lengths around the tiles of all kernels, which have 64, 128 or 256 rows; rows of one value, whose similarities are exact; every eleventh
/// row is zero.
#[test]
#[ignore = "needs a GPU"]
fn newness_of_rows() {
    let tables = [vec![1, 2, 3, 36, 0, 65, 130], vec![127, 128, 129, 255, 256, 257], vec![300], vec![1100]];
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for lengths in &tables {
            let segments = Segments::independent(lengths);
            let n = segments.n_tokens();
            for width in [64, 768, 20, 5] {
                // The reference of long segments takes a while.
                if n > 1000 && width > 64 {
                    continue;
                }
                let mut values = vec![0.0_f32; n * (width + 8)];
                for row in (0..n).filter(|row| row % 11 != 0) {
                    let sign = if row % 5 == 0 { -1.0 } else { 1.0 };
                    values[row * (width + 8) + 8 + row * 7 % 5] = sign * [0.5, 1.0, 2.0][row % 3];
                }
                let exact = bench.activations_of(&Tensor::from_vec(values, (n, width + 8), &Device::Cpu).unwrap());
                let random = bench.activations(&[n, width + 8], -1.0, 1.0);
                for (features, resolution) in [(&exact, 0.0), (&random, RESOLUTION)] {
                    let here = features.here.narrow(1, 8, width).unwrap().to_vec2::<f32>().unwrap();
                    let there = features.there.narrow(1, 8, width).unwrap();
                    for turn in 0..4 {
                        let scored = scored_of(&segments, turn);
                        let got = newness(&there, &segments, &scored).to_vec1::<f32>().unwrap();
                        for (index, scored) in scored.into_iter().enumerate().filter(|(_, scored)| *scored > 0) {
                            let rows = segments.rows(index);
                            let want = reference::newness(&here[rows.clone()], scored);
                            for (row, (want, got)) in want.into_iter().zip(&got[rows]).enumerate() {
                                let what = format!("row {row} of segment {index} of {lengths:?}, {width}, {dtype:?}");
                                assert!(
                                    (want - f64::from(*got)).abs() <= resolution,
                                    "{what}: {got}, reference {want}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A segment has the same bits alone and between others.
#[test]
#[ignore = "needs a GPU"]
fn newness_does_not_depend_on_neighbours() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        let segments = Segments::independent(&[70, 300, 0, 2000, 9]);
        let x = bench.activations(&[segments.n_tokens(), 96], -1.0, 1.0).there;
        let scored: Vec<usize> = (0..segments.len()).map(|index| segments.length(index)).collect();
        let together = newness(&x, &segments, &scored);
        for index in [0, 1, 3, 4] {
            let (rows, n) = (segments.rows(index), segments.length(index));
            let alone = newness(&part(&x, rows.start, n), &Segments::independent(&[n]), &[n]);
            assert_eq!(bits(&part(&together, rows.start, n)), bits(&alone), "segment {index}, {dtype:?}");
        }
    }
}

/// A row that is NaN or infinite makes the score of every row NaN that is compared with it, and of no other.
#[test]
#[ignore = "needs a GPU"]
fn newness_is_nan_where_a_row_is() {
    for dtype in DTYPES {
        let mut bench = on_gpu(dtype);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let segments = Segments::independent(&[40, 200]);
            let mut values = bench.numbers(240 * 24, -1.0, 1.0);
            values[(40 + 150) * 24 + 3] = value;
            let x = bench.activations_of(&Tensor::from_vec(values, (240, 24), &Device::Cpu).unwrap()).there;
            let got = newness(&x, &segments, &[40, 200]).to_vec1::<f32>().unwrap();
            let bad: Vec<usize> = (0..240).filter(|row| !got[*row].is_finite()).collect();
            assert_eq!(bad, (40..=190).collect::<Vec<_>>(), "{value} {dtype:?}");
        }
    }
}

/// No row, some and all unprotected rows; segments shorter and longer than a block.
#[test]
#[ignore = "needs a GPU"]
fn protect_last() {
    let bench = on_gpu(DType::F32);
    for lengths in [vec![1, 2, 3, 36, 0, 65, 130], vec![1023, 1024, 1025], vec![5000]] {
        let segments = Segments::independent(&lengths);
        let n = segments.n_tokens();
        for one_in in [2, 5, 4000] {
            let protected: Vec<bool> = (0..n).map(|row| row % one_in == 1).collect();
            let flags: Vec<u8> = protected.iter().map(|protected| u8::from(*protected)).collect();
            let tokens = TokenState {
                sizes: Tensor::ones(n, DType::F32, &bench.device).unwrap(),
                protected: Tensor::from_vec(flags, n, &bench.device).unwrap(),
            };
            for turn in 0..4 {
                let count = |index: usize| {
                    let all = protected[segments.rows(index)].iter().filter(|protected| !**protected).count();
                    [0, all / 2, all, all.min(1)][(index + turn) % 4]
                };
                let last: Vec<usize> = (0..segments.len()).map(count).collect();
                let got = reduction::protect_last(&tokens, &segments, &last).unwrap();
                let want = |index: usize| reference::protect_last(&protected[segments.rows(index)], last[index]);
                let want: Vec<u8> = (0..segments.len()).flat_map(want).map(u8::from).collect();
                assert_eq!(got.protected.to_vec1::<u8>().unwrap(), want, "{lengths:?} {one_in} {turn}");
            }
        }
    }
}
