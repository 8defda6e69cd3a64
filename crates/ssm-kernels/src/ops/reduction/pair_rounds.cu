// Pairing in several rounds: each is `partition`, `sim_argmax` and `settle_edges`; then `settle_ends` follows every removed row to the kept
// row in which it ends. `select_tokens` and `merge_edges` make the plan of that.
//
// Fates of the rows of a stream, in arriving rows:
// - gone uint8 [tokens]: 1 for rows that are protected or were removed, which take no part in the next round
// - into uint32 [tokens]: the row into which a removed row went, UINT32_MAX for the others
// - merging uint8 [tokens]: on which branches it merged there (HIDDEN_MERGES, RESIDUAL_MERGES); on the others it was dropped
//
// `settle_begin`: nothing is removed yet. Launch: block 256, grid ceil(tokens / 256).
//
// `settle_edges`: one round. Of each segment the `removed[s]` strongest edges are used and their sources leave, as in select_pairs.cu, where
// edges, sources, combine rules, n_prune, scores and faults are explained.
// - removed int32 [S]: at most the edges of the segment; scratch int32 [3 * src_off[S]]
// Launch: grid S, block 1024, no dynamic shared memory. Bound by latency: about 15 us for segments of 2048 tokens.
//
// `settle_ends`: an edge of a later round begins at a row that the earlier ones left, so the way ends. What merged into a row that is dropped
// later is lost with it, on that branch.
// - flags f32 [tokens]: 1 for rows that stay, 0 for others; target uint32 [tokens]: the row in which a removed one ends, UINT32_MAX for others
// - weight_hidden, weight_residual f32 [tokens]: the row's weight in a mean, 0 for a removed row that is lost on that branch
// Launch: block 256, grid ceil(tokens / 256).
#include "combine.cuh"

constexpr int TILE = 256;
constexpr uint32_t NOWHERE = UINT32_MAX;

extern "C" __global__ void __launch_bounds__(TILE)
    settle_begin(const uint8_t *__restrict__ is_protected, int n_tokens, uint8_t *__restrict__ gone,
                 uint32_t *__restrict__ into, uint8_t *__restrict__ merging) {
    wait_for_inputs();
    const int row = blockIdx.x * TILE + threadIdx.x;
    if (row >= n_tokens) return;
    gone[row] = is_protected[row] != 0;
    into[row] = NOWHERE;
    merging[row] = 0;
}

extern "C" __global__ void __launch_bounds__(SELECT_THREADS, 1)
    settle_edges(const unsigned long long *__restrict__ edges, const int *__restrict__ sources,
                 const int *__restrict__ seg_off, const int *__restrict__ src_off, const int *__restrict__ removed,
                 int hidden_rule, int hidden_order, const int *__restrict__ hidden_n_prune, int residual_rule,
                 int residual_order, const int *__restrict__ residual_n_prune, const float *__restrict__ scores,
                 int *__restrict__ scratch, uint8_t *__restrict__ gone, uint32_t *__restrict__ into,
                 uint8_t *__restrict__ merging, uint32_t *__restrict__ faults) {
    wait_for_inputs();
    __shared__ SelectShared shared;
    const int s = blockIdx.x, r = removed[s];
    if (r == 0) return;
    const int begin = seg_off[s], n = seg_off[s + 1] - begin;
    const int src = src_off[s], n_sources = src_off[s + 1] - src, total_sources = src_off[gridDim.x];
    // Of the chosen edges, in order of their sources.
    int *rows = scratch + src, *flags = scratch + 2 * total_sources + src;
    uint32_t *similarity = reinterpret_cast<uint32_t *>(scratch + total_sources + src);
    if (scores) note_faults(n, faults + s, [&](int i) { return !isfinite(scores[begin + i]); });
    for_strongest_edges(edges + src, sources + src, n_sources, r, begin, faults + s, shared,
                        [&](int e, int row, unsigned long long edge) {
                            rows[e] = row;
                            similarity[e] = edge_similarity(edge);
                            flags[e] = 0;
                            gone[row] = 1;
                            into[row] = edge_target(edge);
                        });
    __syncthreads();
    const int hidden_prunes = hidden_rule == HYBRID ? hidden_n_prune[s] : 0;
    mark_merging(hidden_rule, hidden_order, hidden_prunes, HIDDEN_MERGES, r, rows, similarity, scores, flags, shared);
    const int residual_prunes = residual_rule == HYBRID ? residual_n_prune[s] : 0;
    mark_merging(residual_rule, residual_order, residual_prunes, RESIDUAL_MERGES, r, rows, similarity, scores, flags,
                 shared);
    __syncthreads();
    for (int e = threadIdx.x; e < r; e += SELECT_THREADS) merging[rows[e]] = (uint8_t)flags[e];
}

extern "C" __global__ void __launch_bounds__(TILE)
    settle_ends(const uint32_t *__restrict__ into, const uint8_t *__restrict__ merging, const float *__restrict__ sizes,
                int n_tokens, int hidden_rule, int residual_rule, float *__restrict__ flags, uint32_t *__restrict__ target,
                float *__restrict__ weight_hidden, float *__restrict__ weight_residual) {
    wait_for_inputs();
    const int row = blockIdx.x * TILE + threadIdx.x;
    if (row >= n_tokens) return;
    uint32_t end = row;
    int carried = HIDDEN_MERGES | RESIDUAL_MERGES;
    while (into[end] != NOWHERE) {
        carried &= merging[end];
        end = into[end];
    }
    const bool stays = end == (uint32_t)row;
    flags[row] = stays ? 1.0f : 0.0f;
    target[row] = stays ? NOWHERE : end;
    auto weight_of = [&](int rule) { return rule == SIZE_WEIGHTED_MEAN ? sizes[row] : 1.0f; };
    weight_hidden[row] = carried & HIDDEN_MERGES ? weight_of(hidden_rule) : 0.0f;
    weight_residual[row] = carried & RESIDUAL_MERGES ? weight_of(residual_rule) : 0.0f;
}
