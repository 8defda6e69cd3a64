// Which of the chosen edges carry their source into the target, on one branch.
#pragma once

#include "select.cuh"

enum Combine { DROP = 0, MEAN = 1, SIZE_WEIGHTED_MEAN = 2, HYBRID = 3 };
enum PruneOrder { MOST_SIMILAR = 0, LEAST_SIMILAR = 1, LEAST_IMPORTANT = 2 };
constexpr int HIDDEN_MERGES = 1, RESIDUAL_MERGES = 2;

// Sets `flag` in flags[e] of every chosen edge that merges under the rule.
__device__ void mark_merging(int rule, int order, int n_prune, int flag, int r, const int *removed,
                             const uint32_t *similarity, const float *scores, int *flags, SelectShared &shared) {
    if (rule == DROP) return;
    if (rule != HYBRID) {
        for (int e = threadIdx.x; e < r; e += SELECT_THREADS) flags[e] |= flag;
        return;
    }
    auto key_at = [&](int e, uint32_t &key) {
        if (order == MOST_SIMILAR) key = similarity[e];
        else key = ~(order == LEAST_SIMILAR ? similarity[e] : score_key(scores[removed[e]]));
        return true;
    };
    Threshold pruned = find_threshold(r, n_prune < r ? n_prune : r, key_at, shared);
    int ties = 0;
    for (int base = 0; base < r; base += SELECT_THREADS) {
        int e = base + threadIdx.x;
        uint32_t key = 0;
        bool part = e < r && key_at(e, key);
        int turn = base / SELECT_THREADS % 2;
        if (!is_chosen(pruned, part, key, ties, shared.counts[turn]) && part) flags[e] |= flag;
    }
    __syncthreads();
}

// Calls `use(e, row, edge)` for the `n_used` strongest edges of a segment, in order of their sources; a similarity that is no finite
// number is noted in `fault`. `begin`: first row of the segment.
template <typename Use>
__device__ __forceinline__ void for_strongest_edges(const unsigned long long *edges, const int *sources, int n_sources,
                                                    int n_used, int begin, uint32_t *fault, SelectShared &shared, Use use) {
    for (int i = threadIdx.x; i < n_sources; i += SELECT_THREADS)
        if (edges[i] != 0 && !is_finite_key(edge_similarity(edges[i]))) atomicMin(fault, (uint32_t)(sources[i] - begin));
    auto key_at = [&](int i, uint32_t &key) {
        key = edge_similarity(edges[i]);
        return edges[i] != 0;
    };
    const Threshold threshold = find_threshold(n_sources, n_used, key_at, shared);
    int ties = 0, chosen_before = 0;
    for (int base = 0; base < n_sources; base += SELECT_THREADS) {
        const int i = base + threadIdx.x;
        const unsigned long long edge = i < n_sources ? edges[i] : 0;
        const bool chosen = is_chosen(threshold, edge != 0, edge_similarity(edge), ties, shared.counts[0]);
        int total;
        const int e = chosen_before + block_rank(chosen, shared.counts[1], total);
        chosen_before += total;
        if (chosen) use(e, sources[i], edge);
    }
}
