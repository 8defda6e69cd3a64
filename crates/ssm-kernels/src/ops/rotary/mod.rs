#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::parallel::ROWS_PER_TASK;
use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::matrix;

const OP: &str = "rotary";

/// Rotary position embedding on the first channels of every head, and how a fused projection is laid out.
///
/// `RoPE` of <https://arxiv.org/abs/2104.09864> in the halves of GPT-NeoX: channels `i` and `i + rotary_dim / 2` of a head
/// turn together by `position * base^(-2i / rotary_dim)`; channels from `rotary_dim` on stay as they are. Angles are rounded
/// to float32 as upstream rounds them (`GPTNeoXRotaryEmbedding` of transformers).
#[derive(Clone, Debug)]
pub struct Rotary {
    heads: usize,
    head_dim: usize,
    /// One per pair of channels.
    frequencies: Vec<f32>,
}

/// Output of [`rotary`], `[tokens, heads * head_dim]` each, of the dtype of the projection: head by head.
pub struct Rotated {
    /// Queries, turned.
    pub queries: Tensor,
    /// Keys, turned.
    pub keys: Tensor,
    /// Values as they were.
    pub values: Tensor,
}

impl Rotary {
    /// Heads of `head_dim` channels, of which the first `rotary_dim` turn.
    ///
    /// # Errors
    /// A rotary width that is odd or wider than a head.
    pub fn new(heads: usize, head_dim: usize, rotary_dim: usize, base: f64) -> Result<Self, KernelError> {
        if !rotary_dim.is_multiple_of(2) || rotary_dim > head_dim {
            return Err(KernelError::Shape {
                op: OP,
                tensor: "rotary_dim",
                expected: format!("an even number up to {head_dim}"),
                got: vec![rotary_dim],
            });
        }
        let frequency = |pair: usize| base.powf(-(2.0 * pair as f64) / rotary_dim as f64) as f32;
        Ok(Self { heads, head_dim, frequencies: (0..rotary_dim / 2).map(frequency).collect() })
    }
}

/// Splits a fused projection into queries, keys and values and turns queries and keys by the position of their row.
///
/// # Shapes
/// - `fused`: `[tokens, heads * 3 * head_dim]`: per head its query, key and value, as GPT-NeoX stores them
/// - `positions`: `[tokens]`
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn rotary(fused: &Tensor, positions: &[u32], rotary: &Rotary) -> Result<Rotated, KernelError> {
    match fused.device() {
        Device::Cpu => on_cpu(fused, positions, rotary),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::rotary(fused, positions, rotary),
        other => Err(unsupported(OP, other, fused.dtype())),
    }
}

fn on_cpu(fused: &Tensor, positions: &[u32], rotary: &Rotary) -> Result<Rotated, KernelError> {
    let (xs, rows, width) = matrix(fused, OP, "fused")?;
    let d_model = rotary.heads * rotary.head_dim;
    expect_shape(OP, "fused", &[rows, width], &[rows, 3 * d_model])?;
    expect_shape(OP, "positions", &[positions.len()], &[rows])?;
    let xs = &*xs;
    let [mut queries, mut keys, mut values] = [(); 3].map(|()| vec![0.0; rows * d_model]);
    let block = ROWS_PER_TASK * d_model;
    let parts = queries.par_chunks_mut(block).zip(keys.par_chunks_mut(block)).zip(values.par_chunks_mut(block));
    parts.enumerate().for_each(|(index, ((queries, keys), values))| {
        let mut turns = vec![(0.0, 0.0); rotary.frequencies.len()];
        let rows = queries.chunks_exact_mut(d_model).zip(keys.chunks_exact_mut(d_model));
        for (row, ((queries, keys), values)) in rows.zip(values.chunks_exact_mut(d_model)).enumerate() {
            let row = index * ROWS_PER_TASK + row;
            for (turn, frequency) in turns.iter_mut().zip(&rotary.frequencies) {
                let angle = f64::from(positions[row] as f32 * frequency);
                *turn = (angle.sin() as f32, angle.cos() as f32);
            }
            let heads = xs[row * width..(row + 1) * width].chunks_exact(3 * rotary.head_dim);
            let outs = queries.chunks_exact_mut(rotary.head_dim).zip(keys.chunks_exact_mut(rotary.head_dim));
            for ((head, (query, key)), value) in heads.zip(outs).zip(values.chunks_exact_mut(rotary.head_dim)) {
                let (from, rest) = head.split_at(rotary.head_dim);
                turn(from, &turns, query);
                let (from, rest) = rest.split_at(rotary.head_dim);
                turn(from, &turns, key);
                value.copy_from_slice(rest);
            }
        }
    });
    let device = fused.device();
    let tensor = |values| Tensor::from_vec(values, (rows, d_model), device);
    Ok(Rotated { queries: tensor(queries)?, keys: tensor(keys)?, values: tensor(values)? })
}

/// Turns one head of one row; `turns` holds the sine and cosine of every pair.
fn turn(x: &[f32], turns: &[(f32, f32)], out: &mut [f32]) {
    let half = turns.len();
    for (pair, (sin, cos)) in turns.iter().enumerate() {
        let (a, b) = (x[pair], x[pair + half]);
        out[pair] = a * cos - b * sin;
        out[pair + half] = b * cos + a * sin;
    }
    out[2 * half..].copy_from_slice(&x[2 * half..]);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, bits};
    use super::*;

    #[test]
    fn scores_depend_on_the_distance_alone_and_position_0_turns_nothing() {
        let fused = Values(19).tensor(&[2, 3 * 8], -1.0, 1.0);
        let turns = Rotary::new(1, 8, 8, 1e4).unwrap();
        let score = |positions: [u32; 2]| {
            let got = rotary(&fused, &positions, &turns).unwrap();
            let query = got.queries.narrow(0, 1, 1).unwrap();
            (query * got.keys.narrow(0, 0, 1).unwrap()).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()
        };
        assert!((score([0, 9]) - score([400, 409])).abs() < 1e-4);
        assert!((score([0, 9]) - score([0, 10])).abs() > 1e-3);
        let still = rotary(&fused, &[0, 0], &turns).unwrap();
        assert_eq!(bits(&still.keys), bits(&fused.narrow(1, 8, 8).unwrap().contiguous().unwrap()));
    }

    #[test]
    fn a_width_that_cannot_turn_and_missing_positions_are_refused() {
        assert!(Rotary::new(1, 8, 3, 1e4).is_err() && Rotary::new(1, 8, 10, 1e4).is_err());
        let fused = Values(20).tensor(&[2, 3 * 8], -1.0, 1.0);
        let Err(error) = rotary(&fused, &[0], &Rotary::new(1, 8, 8, 1e4).unwrap()) else { panic!("refused") };
        assert_eq!(error.to_string(), "rotary: positions has shape [1], expected [2]");
    }
}
