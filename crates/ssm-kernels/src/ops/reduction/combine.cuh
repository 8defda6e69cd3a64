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
