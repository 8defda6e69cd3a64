use candle_core::Tensor;

use super::AttentionInput;

/// The definition: every row over the list of all keys that it may see, in float64.
pub(super) fn causal_attention(input: &AttentionInput<'_>) -> Tensor {
    let rows = |x: &Tensor| x.to_vec2::<f32>().unwrap();
    let (queries, keys, values) = (rows(input.queries), rows(input.keys), rows(input.values));
    let width = input.queries.dim(1).unwrap();
    let head_dim = width / input.heads;
    // All keys and values up to the end of each segment, oldest first.
    let mut seen: Vec<Vec<(Vec<f32>, Vec<f32>)>> = Vec::new();
    let mut out = Vec::new();
    for segment in 0..input.segments.len() {
        let mut own = match (input.segments.parent(segment), input.initial) {
            (Some(parent), _) => seen[parent].clone(),
            (None, Some(initial)) => {
                rows(&initial[segment].keys).into_iter().zip(rows(&initial[segment].values)).collect()
            }
            (None, None) => Vec::new(),
        };
        for row in input.segments.rows(segment) {
            own.push((keys[row].clone(), values[row].clone()));
            for channel in 0..width {
                let head = channel / head_dim * head_dim..(channel / head_dim + 1) * head_dim;
                let dot = |key: &[f32]| -> f64 {
                    head.clone().map(|channel| f64::from(queries[row][channel]) * f64::from(key[channel])).sum()
                };
                let scores: Vec<f64> = own.iter().map(|(key, _)| dot(key) / (head_dim as f64).sqrt()).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let mean = weights.iter().zip(&own).map(|(weight, (_, value))| weight * f64::from(value[channel]));
                out.push((mean.sum::<f64>() / weights.iter().sum::<f64>()) as f32);
            }
        }
        seen.push(own);
    }
    Tensor::from_vec(out, (queries.len(), width), input.queries.device()).unwrap()
}
