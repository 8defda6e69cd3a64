// `partition`: per segment who may leave (sources) and who may take in (targets), both ascending.
//
// Candidates are the unprotected tokens. By importance (scores given): the `src_off[s+1] - src_off[s]` candidates with
// the lowest scores are sources, of equal scores the lower index; the `tgt_off[s+1] - tgt_off[s]` next ones are targets, which for half
// of the candidates as sources are all others.
// Even / odd (scores null): candidates at even places are sources, those at odd places targets.
// Segments with no source and no target are left out.
//
// - scores f32 [tokens] or null; is_protected u8 [tokens] or null
// - seg_off, src_off, tgt_off int32 [S + 1]; the sources and targets of a segment are among its candidates
// - sources int32 [src_off[S]], targets int32 [tgt_off[S]]: arriving rows
// - edges u64 [src_off[S]]: set to 0 (no edge yet), as `sim_argmax` expects it
// - faults uint32 [S], UINT32_MAX before: first row of a segment whose score is no finite number
//
// Launch: grid S, block 1024, no dynamic shared memory. Bound by latency: about 10 us for segments of 2048 tokens.
#include "select.cuh"

extern "C" __global__ void __launch_bounds__(SELECT_THREADS, 1)
    partition(const float *__restrict__ scores, const uint8_t *__restrict__ is_protected,
              const int *__restrict__ seg_off, const int *__restrict__ src_off, const int *__restrict__ tgt_off,
              int *__restrict__ sources, int *__restrict__ targets, unsigned long long *__restrict__ edges,
              uint32_t *__restrict__ faults) {
    wait_for_inputs();
    __shared__ SelectShared shared;
    int begin = seg_off[blockIdx.x], n = seg_off[blockIdx.x + 1] - begin;
    int src = src_off[blockIdx.x], n_sources = src_off[blockIdx.x + 1] - src;
    int tgt = tgt_off[blockIdx.x], n_targets = tgt_off[blockIdx.x + 1] - tgt;
    if (n_sources + n_targets == 0) return;
    auto takes_part = [&](int i) { return !is_protected || !is_protected[begin + i]; };
    // Lowest first: complemented keys.
    auto key_at = [&](int i, uint32_t &key) {
        key = ~score_key(scores[begin + i]);
        return takes_part(i);
    };
    Threshold threshold = {0, 0}, below_kept = {0, 0};
    if (scores) {
        note_faults(n, faults + blockIdx.x, [&](int i) { return !isfinite(scores[begin + i]); });
        threshold = find_threshold(n, n_sources, key_at, shared);
        below_kept = find_threshold(n, n_sources + n_targets, key_at, shared);
    }
    int ties = 0, target_ties = 0, n_before = 0, sources_before = 0, targets_before = 0;
    for (int base = 0; base < n; base += SELECT_THREADS) {
        int i = base + threadIdx.x;
        bool part = i < n && takes_part(i);
        int total;
        int place = n_before + block_rank(part, shared.counts[1], total);
        n_before += total;
        bool is_source;
        int source_rank, target_rank;
        bool is_target;
        if (scores) {
            uint32_t key = 0;
            if (i < n) key_at(i, key);
            is_source = is_chosen(threshold, part, key, ties, shared.counts[0]);
            source_rank = sources_before + block_rank(is_source, shared.counts[1], total);
            sources_before += total;
            is_target = is_chosen(below_kept, part, key, target_ties, shared.counts[0]) && !is_source;
            target_rank = targets_before + block_rank(is_target, shared.counts[1], total);
            targets_before += total;
            __syncthreads();  // the next chunk writes the same counts
        } else {
            is_source = part && place % 2 == 0;
            is_target = part && !is_source;
            source_rank = (place + 1) / 2;
            target_rank = place - source_rank;
            __syncthreads();
        }
        if (is_source && source_rank < n_sources) {
            sources[src + source_rank] = begin + i;
            edges[src + source_rank] = 0;
        } else if (is_target && target_rank < n_targets) {
            targets[tgt + target_rank] = begin + i;
        }
    }
}
