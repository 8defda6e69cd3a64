use ssm_kernels::ops::{self, AttentionInput, KeysValues};

use super::{Bench, Pair, reference};

/// A float32 softmax over up to 4,600 keys.
const TOLERANCE: f32 = 3e-6;

pub(crate) fn causal_attention(bench: &mut Bench) {
    let own = [(1, 1), (4, 32), (2, 80), (3, 7), (2, 16), (1, 33), (2, 64), (1, 80), (1, 100), (1, 256)];
    let own = own.map(|(heads, head_dim)| (heads, heads, head_dim));
    let shared = [(4, 2, 16), (6, 1, 9), (6, 3, 64)];
    let heads: Vec<(usize, usize, usize)> = own.into_iter().chain(shared).collect();
    for (segments, (heads, kv_heads, head_dim)) in bench.cases(&heads) {
        let kv_width = kv_heads * head_dim;
        let queries = bench.activations(&[segments.n_tokens(), heads * head_dim], -2.0, 2.0);
        let [keys, values] = [(); 2].map(|()| bench.activations(&[segments.n_tokens(), kv_width], -2.0, 2.0));
        let caches: Vec<(Pair, Pair)> = (0..segments.len())
            .map(|index| {
                // A GPU has no empty tensors.
                let least = usize::from(bench.device.is_cuda());
                let shape = [(index * 59 % 130).max(least), kv_width];
                (bench.activations(&shape, -2.0, 2.0), bench.activations(&shape, -2.0, 2.0))
            })
            .collect();
        let side = |side: fn(&Pair) -> &candle_core::Tensor| -> Vec<KeysValues> {
            let cache = |(keys, values): &(Pair, Pair)| (side(keys).clone(), side(values).clone());
            caches.iter().map(cache).map(|(keys, values)| KeysValues { keys, values }).collect()
        };
        let (here, there) = (side(|pair| &pair.here), side(|pair| &pair.there));
        for with in [false, true] {
            let input = |side: fn(&Pair) -> &candle_core::Tensor, caches| AttentionInput {
                queries: side(&queries),
                keys: side(&keys),
                values: side(&values),
                heads,
                kv_heads,
                segments: &segments,
                initial: caches,
            };
            let here = input(|pair| &pair.here, with.then_some(here.as_slice()));
            let there = input(|pair| &pair.there, with.then_some(there.as_slice()));
            let want = reference::causal_attention::causal_attention(&here);
            let got = ops::causal_attention(&there).unwrap();
            bench.close("attention", &want, &got, TOLERANCE);
        }
    }
    large_scores(bench);
}

/// Scores of up to a million: they neither overflow nor let masked keys through. A weight is 0 or 1 there, or two scores are
/// closer than float32 resolves, so the bound is wider.
fn large_scores(bench: &mut Bench) {
    let segments = ssm_kernels::Segments::independent(&[20]);
    let [queries, keys] = [1e3, -1e3].map(|scale| bench.activations(&[20, 16], -2.0 * scale, 2.0 * scale));
    let values = bench.activations(&[20, 16], -2.0, 2.0);
    let input = |queries, keys, values| AttentionInput {
        queries,
        keys,
        values,
        heads: 1,
        kv_heads: 1,
        segments: &segments,
        initial: None,
    };
    let want = reference::causal_attention::causal_attention(&input(&queries.here, &keys.here, &values.here));
    let got = ops::causal_attention(&input(&queries.there, &keys.there, &values.there)).unwrap();
    bench.close("attention of large scores", &want, &got, 1e-5);
}
