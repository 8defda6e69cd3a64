// Which rows are removed, and where they go, from one edge per source (`partition` and `sim_argmax` made them). Both write
//
// - flags f32 [tokens]: 1 where a row is kept, 0 where it is removed, NaN where what it was ranked by is NaN or infinite
// - target uint32 [tokens]: the row that takes in a removed one, UINT32_MAX where it is dropped
//
// for segments that lose rows, and nothing for the others. Launch: grid S, block 1024.
#include "select.cuh"

constexpr uint32_t NOWHERE = UINT32_MAX;

// `merge_then_drop` (the rule ltmp): the n_merge[s] strongest edges merge; a target takes the highest score among its own and its
// sources'; of the rows that remain those with the lowest scores are dropped, until the segment has its length.
// - keys uint32 [tokens]: scratch. Bound by latency: about 30 us for segments of 2048 tokens.
extern "C" __global__ void __launch_bounds__(SELECT_THREADS, 1)
    merge_then_drop(const unsigned long long *__restrict__ edges, const int *__restrict__ sources,
                    const int *__restrict__ src_off, const int *__restrict__ seg_off, const int *__restrict__ out_off,
                    const float *__restrict__ scores, const uint8_t *__restrict__ is_protected,
                    const int *__restrict__ n_merge, uint32_t *__restrict__ keys, float *__restrict__ flags,
                    uint32_t *__restrict__ target) {
    wait_for_inputs();
    __shared__ SelectShared shared;
    const int begin = seg_off[blockIdx.x], n = seg_off[blockIdx.x + 1] - begin;
    const int r = n - (out_off[blockIdx.x + 1] - out_off[blockIdx.x]);
    if (r == 0) return;
    for (int i = begin + threadIdx.x; i < begin + n; i += SELECT_THREADS) {
        keys[i] = score_key(scores[i]);
        flags[i] = isfinite(scores[i]) ? 1.0f : NAN;
        target[i] = NOWHERE;
    }
    __syncthreads();
    const int merges = n_merge[blockIdx.x];
    if (merges > 0) {
        const int src = src_off[blockIdx.x], n_sources = src_off[blockIdx.x + 1] - src;
        auto key_at = [&](int i, uint32_t &key) {
            key = edge_similarity(edges[src + i]);
            return true;
        };
        const Threshold strongest = find_threshold(n_sources, merges, key_at, shared);
        int ties = 0;
        for (int base = 0; base < n_sources; base += SELECT_THREADS) {
            const int i = base + threadIdx.x;
            const unsigned long long edge = i < n_sources ? edges[src + i] : 0;
            // Two sets of counts take turns: one call a round.
            const bool chosen = is_chosen(strongest, i < n_sources, edge_similarity(edge), ties,
                                          shared.counts[base / SELECT_THREADS % 2]);
            if (i < n_sources && !is_finite_key(edge_similarity(edge))) flags[sources[src + i]] = NAN;
            if (!chosen) continue;
            const int row = sources[src + i];
            if (flags[row] == 1.0f) flags[row] = 0.0f;
            target[row] = edge_target(edge);
            // Targets are no sources: no key that is read here changes.
            atomicMax(&keys[edge_target(edge)], keys[row]);
        }
        __syncthreads();
    }
    auto key_at = [&](int i, uint32_t &key) {
        key = ~keys[begin + i];
        return target[begin + i] == NOWHERE && !(is_protected && is_protected[begin + i]);
    };
    const Threshold least = find_threshold(n, r - merges, key_at, shared);
    int ties = 0;
    for (int base = 0; base < n; base += SELECT_THREADS) {
        const int i = base + threadIdx.x;
        uint32_t key = 0;
        const bool part = i < n && key_at(i, key);
        const bool drops = is_chosen(least, part, key, ties, shared.counts[base / SELECT_THREADS % 2]);
        if (drops && flags[begin + i] == 1.0f) flags[begin + i] = 0.0f;
    }
    __syncthreads();
    // What went into a row that is dropped now is lost with it.
    for (int i = begin + threadIdx.x; i < begin + n; i += SELECT_THREADS) {
        const uint32_t into = target[i];
        if (into != NOWHERE && flags[into] == 0.0f) target[i] = NOWHERE;
    }
}

// `released_pairs` (`blocks::released` of the crate reduction-strategies): of the edges the strongest are used, as many as rows are
// lost; then the source that is k-th by place goes to the target of the edge that is k-th by strength.
// - by_rank: edges connect ranks: source i is the i-th even candidate, and target t, counted from cand_off[s], the t-th odd one
// - even int32 [src_off[S]], odd int32 [tgt_off[S]]: candidates at even and odd places; edges u64 [src_off[S]]
// - inv_norm f32 [tokens]: of the rows that were compared
// - counts_half: the later half of the sources, rounded down, weighs 1 and the rest 0; else all weigh 1
// - weight f32 [tokens]; scratch int32 [3 * src_off[S]]
// Work grows with the square of the rows that a segment loses: 1 us for 256 of them, 60 us for 2048.
extern "C" __global__ void __launch_bounds__(SELECT_THREADS, 1)
    released_pairs(const unsigned long long *__restrict__ edges, int by_rank, const int *__restrict__ even,
                   const int *__restrict__ odd, const int *__restrict__ src_off, const int *__restrict__ tgt_off,
                   const int *__restrict__ seg_off, const int *__restrict__ out_off, const float *__restrict__ inv_norm,
                   int counts_half, int *__restrict__ scratch, float *__restrict__ flags, uint32_t *__restrict__ target,
                   float *__restrict__ weight) {
    wait_for_inputs();
    __shared__ SelectShared shared;
    const int begin = seg_off[blockIdx.x], n = seg_off[blockIdx.x + 1] - begin;
    const int r = n - (out_off[blockIdx.x + 1] - out_off[blockIdx.x]);
    if (r == 0) return;
    for (int i = begin + threadIdx.x; i < begin + n; i += SELECT_THREADS) {
        flags[i] = isfinite(inv_norm[i]) ? 1.0f : NAN;
        target[i] = NOWHERE;
        weight[i] = 1.0f;
    }
    __syncthreads();
    const int src = src_off[blockIdx.x], n_sources = src_off[blockIdx.x + 1] - src, tgt = tgt_off[blockIdx.x];
    const int total_sources = src_off[gridDim.x], first_candidate = src + tgt;
    int *rows = scratch + src, *into = scratch + total_sources + src;
    uint32_t *strength = reinterpret_cast<uint32_t *>(scratch + 2 * total_sources + src);
    auto key_at = [&](int i, uint32_t &key) {
        key = edge_similarity(edges[src + i]);
        return true;
    };
    const Threshold strongest = find_threshold(n_sources, r, key_at, shared);
    int ties = 0, before = 0;
    for (int base = 0; base < n_sources; base += SELECT_THREADS) {
        const int i = base + threadIdx.x;
        const unsigned long long edge = i < n_sources ? edges[src + i] : 0;
        const bool chosen = is_chosen(strongest, i < n_sources, edge_similarity(edge), ties, shared.counts[0]);
        int total;
        const int e = before + block_rank(chosen, shared.counts[1], total);
        before += total;
        if (i < n_sources && !is_finite_key(edge_similarity(edge))) flags[even[src + i]] = NAN;
        if (!chosen) continue;
        rows[e] = even[src + i];
        strength[e] = edge_similarity(edge);
        into[e] = by_rank ? odd[tgt + (int)edge_target(edge) - first_candidate] : (int)edge_target(edge);
    }
    __syncthreads();
    for (int e = threadIdx.x; e < r; e += SELECT_THREADS) {
        int place = 0;
#pragma unroll 4
        for (int other = 0; other < r; other++)
            place += strength[other] > strength[e] || (strength[other] == strength[e] && other < e);
        const int row = rows[place];
        target[row] = into[e];
        if (flags[row] == 1.0f) flags[row] = 0.0f;
        weight[row] = counts_half && place < r - r / 2 ? 0.0f : 1.0f;
    }
}
