//! The definition: every row over the list of all keys that it may see, in float64.

use candle_core::Tensor;
use rayon::prelude::*;
use ssm_kernels::ops::AttentionInput;

/// `softmax(q K^T / sqrt(head_dim)) V`, head by head (<https://arxiv.org/abs/1706.03762>, eq. 1). A row sees the initial keys of
/// its tree's root, all rows of the segments that its own one descends from, and the rows of its own segment up to itself.
/// Neighbouring heads of the queries share keys and values where these have fewer heads.
///
/// # Shapes
/// - as [`AttentionInput`]; result: `[tokens, heads * head_dim]`
pub(crate) fn causal_attention(input: &AttentionInput<'_>) -> Tensor {
    let rows = |x: &Tensor| x.to_vec2::<f32>().unwrap();
    let (queries, keys, values) = (rows(input.queries), rows(input.keys), rows(input.values));
    let width = input.queries.dim(1).unwrap();
    // All keys and values up to the end of each segment, oldest first.
    let mut seen: Vec<Vec<(Vec<f32>, Vec<f32>)>> = Vec::new();
    let mut out = Vec::new();
    for segment in 0..input.segments.len() {
        let mut all = match (input.segments.parent(segment), input.initial) {
            (Some(parent), _) => seen[parent].clone(),
            (None, Some(initial)) => {
                rows(&initial[segment].keys).into_iter().zip(rows(&initial[segment].values)).collect()
            }
            (None, None) => Vec::new(),
        };
        let before = all.len();
        let own = input.segments.rows(segment);
        all.extend(own.clone().map(|row| (keys[row].clone(), values[row].clone())));
        // Rows side by side, for time alone: none needs another.
        let (head_dim, shared) = (width / input.heads, input.heads / input.kv_heads);
        let means = own.clone().into_par_iter().map(|row| {
            let visible = &all[..=before + row - own.start];
            let head = |head: usize| one_head(&queries[row], visible, (head, head / shared), head_dim);
            (0..input.heads).flat_map(head).collect()
        });
        out.extend(means.collect::<Vec<Vec<f32>>>().concat());
        seen.push(all);
    }
    Tensor::from_vec(out, (queries.len(), width), input.queries.device()).unwrap()
}

/// One head of one row, and the head of keys and values that it reads.
fn one_head(
    query: &[f32],
    visible: &[(Vec<f32>, Vec<f32>)],
    (head, kv_head): (usize, usize),
    head_dim: usize,
) -> Vec<f32> {
    let columns = kv_head * head_dim..(kv_head + 1) * head_dim;
    let query = &query[head * head_dim..(head + 1) * head_dim];
    let scores = visible.iter().map(|(key, _)| {
        let products = query.iter().zip(&key[columns.clone()]).map(|(q, k)| f64::from(*q) * f64::from(*k));
        products.sum::<f64>() / (head_dim as f64).sqrt()
    });
    let scores: Vec<f64> = scores.collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut mean = vec![0.0; head_dim];
    for (weight, (_, value)) in weights.iter().zip(visible) {
        for (mean, value) in mean.iter_mut().zip(&value[columns.clone()]) {
            *mean += weight / total * f64::from(*value);
        }
    }
    mean.into_iter().map(|mean| mean as f32).collect()
}
