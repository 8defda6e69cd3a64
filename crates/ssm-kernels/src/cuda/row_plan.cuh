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
    __device__ __forceinline__ bool merges() const { return first < last; }
};

// Columns of a row that one thread takes at a time: V groups of N neighbours, blockDim.x * N apart.
template <int N> __device__ __forceinline__ int column_of(int start, int v) { return start + v * blockDim.x * N; }

// A thread's columns of one row; zeros past the end.
template <int N, int V, typename T>
__device__ __forceinline__ void load_row(const T *row, int width, int start, float (&value)[V][N]) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
        if (column_of<N>(start, v) < width) {
            load_floats(row + column_of<N>(start, v), value[v]);
        } else {
#pragma unroll
            for (int i = 0; i < N; ++i) value[v][i] = 0.0f;
        }
    }
}

// From how many sources on they are called into L2 before the first is used.
constexpr int LARGE_GROUP = 8;

// AHEAD rows from `edge` on, at one group of columns. Nothing here waits for a value before the last load has been
// sent.
template <int N, int AHEAD, typename T> struct ComingRows {
    float value[AHEAD][N];

    __device__ __forceinline__ ComingRows(const T *x, int64_t width, int column, const RowPlan &plan, int edge,
                                          int last) {
        int row[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) row[a] = plan.edge_src[min(edge + a, last - 1)];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
            if (edge + a < last) load_floats(x + row[a] * width + column, value[a]);
        }
    }
};

// How one branch of a kept row is merged.
struct Merge {
    float own, total;
    bool merges; // whether any edge does

    __device__ __forceinline__ Merge(const MergeWeights &weights, const RowSources &sources)
        : own(weights.own[sources.kept]), total(own), merges(false) {
#pragma unroll 4
        for (int edge = sources.first; edge < sources.last; ++edge) {
            const float weight = weights.edge[edge];
            total += weight;
            merges |= weight != 0.0f;
        }
    }
};

// Calls a thread's columns of all sources of a large group into L2, so that the chain of sums waits less for each.
template <int N, int V, typename T>
__device__ __forceinline__ void call_sources(const T *x, int64_t width, int start, const RowPlan &plan,
                                             const RowSources &sources) {
    if (sources.last - sources.first < LARGE_GROUP) return;
#pragma unroll 1
    for (int edge = sources.first; edge < sources.last; ++edge) {
        const T *source = x + plan.edge_src[edge] * width;
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const int column = min(column_of<N>(start, v), static_cast<int>(width) - 1);
            asm volatile("prefetch.global.L2 [%0];" ::"l"(source + column));
        }
    }
}

// N elements of a kept row on one branch: the weighted mean over the row and what merges into it, rounded to T as a
// kernel that writes it would; the row itself where nothing merges.
//
// The sum runs over the row, then its edges in order, AHEAD of them loaded at once: the same bits from every caller.
template <int AHEAD, int N, typename T>
__device__ __forceinline__ void merged_row(const T *x, int64_t width, int column, const RowPlan &plan,
                                           const MergeWeights &weights, const Merge &merge, const RowSources &sources,
                                           float (&value)[N]) {
    load_floats(x + sources.row * width + column, value);
    if (!merge.merges) return;
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] = __fmul_rn(value[i], merge.own);
#pragma unroll 1
    for (int edge = sources.first; edge < sources.last; edge += AHEAD) {
        float weight[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) weight[a] = edge + a < sources.last ? weights.edge[edge + a] : 0.0f;
        const ComingRows<N, AHEAD, T> rows(x, width, column, plan, edge, sources.last);
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
            if (weight[a] == 0.0f) continue;
#pragma unroll
            for (int i = 0; i < N; ++i) value[i] = __fmaf_rn(weight[a], rows.value[a][i], value[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < N; ++i) value[i] = to_float(from_float<T>(__fdiv_rn(value[i], merge.total)));
}
