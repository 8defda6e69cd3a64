//! The definition as complex numbers: a pair of channels is `a + ib`, turned by `e^(i angle)` in float64.

use candle_core::Tensor;

/// Queries, keys and values of a fused projection; of every head of queries and keys the channels `i` and `i + dim / 2`
/// (`i < dim / 2`) are turned by `position * base^(-2i / dim)`.
///
/// `RoPE` of <https://arxiv.org/abs/2104.09864> in the halves of GPT-NeoX. Frequency and angle are rounded to float32 as
/// `GPTNeoXRotaryEmbedding` of transformers rounds them; sine and cosine are exact.
///
/// # Shapes
/// - `fused`: `[tokens, heads * 3 * head_dim]`, per head its query, key and value; results: `[tokens, heads * head_dim]`
pub(crate) fn rotary(
    fused: &Tensor,
    positions: &[u32],
    (heads, head_dim, dim): (usize, usize, usize),
    base: f64,
) -> [Tensor; 3] {
    let place = |part: usize, head: usize| head * 3 + part;
    turned(fused, positions, (&[heads; 3], head_dim, dim), base, place)
}

/// As [`rotary`], of a projection that holds all queries, then all keys, then all values.
///
/// # Shapes
/// - `fused`: `[tokens, (heads + 2 * kv_heads) * head_dim]`; results: `[tokens, heads * head_dim]`, and with `kv_heads`
pub(crate) fn rotary_part_by_part(
    fused: &Tensor,
    positions: &[u32],
    (heads, kv_heads): (usize, usize),
    (head_dim, dim): (usize, usize),
    base: f64,
) -> [Tensor; 3] {
    let place = |part: usize, head: usize| [0, heads, heads + kv_heads][part] + head;
    turned(fused, positions, (&[heads, kv_heads, kv_heads], head_dim, dim), base, place)
}

/// `place` says how many heads are in the projection before a head of a part.
fn turned(
    fused: &Tensor,
    positions: &[u32],
    (heads, head_dim, dim): (&[usize; 3], usize, usize),
    base: f64,
    place: impl Fn(usize, usize) -> usize,
) -> [Tensor; 3] {
    let mut out = [Vec::new(), Vec::new(), Vec::new()];
    for (row, position) in fused.to_vec2::<f32>().unwrap().iter().zip(positions) {
        for (part, out) in out.iter_mut().enumerate() {
            for head in 0..heads[part] {
                let x = &row[place(part, head) * head_dim..][..head_dim];
                for channel in 0..head_dim {
                    let is_value = part == 2;
                    if is_value || channel >= dim {
                        out.push(x[channel]);
                        continue;
                    }
                    let pair = channel % (dim / 2);
                    let frequency = base.powf(-2.0 * pair as f64 / dim as f64) as f32;
                    let angle = f64::from(*position as f32 * frequency);
                    let (a, b) = (f64::from(x[pair]), f64::from(x[pair + dim / 2]));
                    let (real, imaginary) = (a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos());
                    out.push(if channel < dim / 2 { real } else { imaginary } as f32);
                }
            }
        }
    }
    out.map(|values| {
        let width = values.len() / positions.len();
        Tensor::from_vec(values, (positions.len(), width), fused.device()).unwrap()
    })
}
