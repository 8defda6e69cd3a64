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
    /// Heads of keys and values.
    kv_heads: usize,
    head_dim: usize,
    layout: Layout,
    /// One per pair of channels.
    frequencies: Vec<f32>,
}

/// Where the heads of a fused projection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Query, key and value of the first head, then of the second, ...
    HeadByHead,
    /// All queries, then all keys, then all values.
    PartByPart,
}

/// Output of [`rotary`], of the dtype of the projection: head by head.
pub struct Rotated {
    /// Queries, turned: `[tokens, heads * head_dim]`.
    pub queries: Tensor,
    /// Keys, turned: `[tokens, kv_heads * head_dim]`.
    pub keys: Tensor,
    /// Values as they were: `[tokens, kv_heads * head_dim]`.
    pub values: Tensor,
}

impl Rotary {
    /// A projection as GPT-NeoX stores it: query, key and value of one head after the other, `heads` of `head_dim` channels,
    /// of which the first `rotary_dim` turn.
    ///
    /// # Errors
    /// A rotary width that is odd or wider than a head.
    pub fn new(heads: usize, head_dim: usize, rotary_dim: usize, base: f64) -> Result<Self, KernelError> {
        Self::of(Layout::HeadByHead, (heads, heads), head_dim, (rotary_dim, base))
    }

    /// A projection as `mamba_ssm` stores it: the queries of all `heads`, the keys of all `kv_heads`, then their values.
    ///
    /// # Errors
    /// A rotary width that is odd or wider than a head.
    pub fn part_by_part(
        (heads, kv_heads): (usize, usize),
        head_dim: usize,
        rotary_dim: usize,
        base: f64,
    ) -> Result<Self, KernelError> {
        Self::of(Layout::PartByPart, (heads, kv_heads), head_dim, (rotary_dim, base))
    }

    fn of(
        layout: Layout,
        (heads, kv_heads): (usize, usize),
        head_dim: usize,
        (rotary_dim, base): (usize, f64),
    ) -> Result<Self, KernelError> {
        if !rotary_dim.is_multiple_of(2) || rotary_dim > head_dim {
            return Err(KernelError::Shape {
                op: OP,
                tensor: "rotary_dim",
                expected: format!("an even number up to {head_dim}"),
                got: vec![rotary_dim],
            });
        }
        let frequency = |pair: usize| base.powf(-(2.0 * pair as f64) / rotary_dim as f64) as f32;
        let frequencies = (0..rotary_dim / 2).map(frequency).collect();
        Ok(Self { heads, kv_heads, head_dim, layout, frequencies })
    }

    /// Columns of the fused projection.
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// First column of a head of one part (0 queries, 1 keys, 2 values) in the fused projection.
    fn column(&self, part: usize, head: usize) -> usize {
        let before = match self.layout {
            Layout::HeadByHead => head * 3 + part,
            Layout::PartByPart if part == 0 => head,
            Layout::PartByPart => self.heads + (part - 1) * self.kv_heads + head,
        };
        before * self.head_dim
    }
}

/// Splits a fused projection into queries, keys and values and turns queries and keys by the position of their row.
///
/// # Shapes
/// - `fused`: `[tokens, (heads + 2 * kv_heads) * head_dim]`
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
    expect_shape(OP, "fused", &[rows, width], &[rows, rotary.width()])?;
    expect_shape(OP, "positions", &[positions.len()], &[rows])?;
    let xs = &*xs;
    let (q_width, kv_width) = (rotary.heads * rotary.head_dim, rotary.kv_heads * rotary.head_dim);
    let [mut queries, mut keys, mut values] = [q_width, kv_width, kv_width].map(|width| vec![0.0; rows * width]);
    let (q_block, kv_block) = (ROWS_PER_TASK * q_width, ROWS_PER_TASK * kv_width);
    let parts = queries.par_chunks_mut(q_block).zip(keys.par_chunks_mut(kv_block));
    parts.zip(values.par_chunks_mut(kv_block)).enumerate().for_each(|(index, ((queries, keys), values))| {
        let mut turns = vec![(0.0, 0.0); rotary.frequencies.len()];
        let rows = queries.chunks_exact_mut(q_width).zip(keys.chunks_exact_mut(kv_width));
        for (row, ((queries, keys), values)) in rows.zip(values.chunks_exact_mut(kv_width)).enumerate() {
            let row = index * ROWS_PER_TASK + row;
            for (turn, frequency) in turns.iter_mut().zip(&rotary.frequencies) {
                let angle = f64::from(positions[row] as f32 * frequency);
                *turn = (angle.sin() as f32, angle.cos() as f32);
            }
            let from = &xs[row * width..(row + 1) * width];
            let of = |part: usize, head: usize| &from[rotary.column(part, head)..][..rotary.head_dim];
            for (head, query) in queries.chunks_exact_mut(rotary.head_dim).enumerate() {
                turn(of(0, head), &turns, query);
            }
            for (head, key) in keys.chunks_exact_mut(rotary.head_dim).enumerate() {
                turn(of(1, head), &turns, key);
            }
            for (head, value) in values.chunks_exact_mut(rotary.head_dim).enumerate() {
                value.copy_from_slice(of(2, head));
            }
        }
    });
    let device = fused.device();
    let tensor = |values, width| Tensor::from_vec(values, (rows, width), device);
    Ok(Rotated { queries: tensor(queries, q_width)?, keys: tensor(keys, kv_width)?, values: tensor(values, kv_width)? })
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
