// The outcome of a token reduction as a row plan: which arriving rows stay, and which others are merged into them.
#pragma once

#include "rows.cuh"

// All null: every row stays as it is.
struct RowPlan {
    const int *keep;     // [rows_out]: arriving row of each kept row
    const int *edge_off; // [rows_out + 1]: edges of each kept row
    const int *edge_src; // [edges]: arriving rows merged into it, ascending
};

// Weights of one branch (hidden or residual).
struct MergeWeights {
    const float *edge; // [edges]: 0 where the edge does not merge on this branch
    const float *own;  // [rows_out]: weight of the kept row itself
};

// The part of the plan that makes one row.
struct RowSources {
    int kept, row, first, last; // kept row, its arriving row, its edges first..last

    __device__ __forceinline__ RowSources(const RowPlan &plan, int kept)
        : kept(kept), row(plan.keep[kept]), first(plan.edge_off[kept]), last(plan.edge_off[kept + 1]) {}
};

// N elements (1 or 8) of a kept row on one branch: the weighted mean over the row and what is merged into it, rounded to
// T as a kernel that writes it would, or the row itself where nothing merges on this branch.
//
// The sum runs over the row, then its edges in order: the same bits as any other caller of this function.
template <int N, typename T>
__device__ __forceinline__ void merged_row(const T *x, int64_t width, int column, const RowPlan &plan,
                                           const MergeWeights &weights, const RowSources &sources, float (&value)[N]) {
    load_floats(x + sources.row * width + column, value);
    if (sources.first == sources.last) return;
    const float own = weights.own[sources.kept];
    float total = own;
    bool merges = false;
    for (int edge = sources.first; edge < sources.last; ++edge) {
        const float weight = weights.edge[edge];
        total += weight;
        merges |= weight != 0.0f;
    }
    if (!merges) return;
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] = __fmul_rn(value[i], own);
    // Two edges at a time, so that the loads of a large group overlap.
    for (int edge = sources.first; edge < sources.last; edge += 2) {
        const float weight = weights.edge[edge];
        const float next_weight = edge + 1 < sources.last ? weights.edge[edge + 1] : 0.0f;
        float merged[N], next[N];
        if (weight != 0.0f) load_floats(x + plan.edge_src[edge] * width + column, merged);
        if (next_weight != 0.0f) load_floats(x + plan.edge_src[edge + 1] * width + column, next);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            if (weight != 0.0f) value[i] = __fmaf_rn(weight, merged[i], value[i]);
            if (next_weight != 0.0f) value[i] = __fmaf_rn(next_weight, next[i], value[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] = to_float(from_float<T>(__fdiv_rn(value[i], total)));
}
