// What the norms of a residual stream share: the sum of the branches, with the rows of a token reduction gathered and
// merged on the way, and the parameters of their kernels.
#pragma once

#include "row_plan.cuh"

// In order of the parameters of the kernels.
template <typename T> struct Norm {
    const T *hidden;
    const float *residual;
    const float *weight;
    T *normed;
    float *residual_out;
    int rows;
    int width;
    float eps;
};

// Sources on their way at once: more cost registers that the other rows need.
constexpr int AHEAD = 2;

// Where the branches' values come from.
struct Plan {
    RowPlan rows;
    MergeWeights hidden, residual;
};

// A thread's columns of hidden + residual where others merge into the row: one group of columns after the other,
// because such rows are few and registers are what the others need.
template <int N, int V, typename T>
__device__ __forceinline__ void merge_sum(const Norm<T> &norm, const Plan &plan, const RowSources &sources, int start,
                                          float (&sum)[V][N]) {
    const Merge hidden(plan.hidden, sources);
    if (hidden.merges) call_sources<N, V>(norm.hidden, norm.width, start, plan.rows, sources);
    if (norm.residual) {
        const Merge residual(plan.residual, sources);
        if (residual.merges) call_sources<N, V>(norm.residual, norm.width, start, plan.rows, sources);
    }
    // Not unrolled, and therefore by way of local memory.
    float merged[V][N] = {};
#pragma unroll 1
    for (int v = 0; v < V; ++v) {
        const int column = column_of<N>(start, v);
        if (column >= norm.width) break;
        float value[N], residual_value[N] = {};
        merged_row<AHEAD>(norm.hidden, norm.width, column, plan.rows, plan.hidden, hidden, sources, value);
        if (norm.residual) {
            const Merge residual(plan.residual, sources);
            merged_row<AHEAD>(norm.residual, norm.width, column, plan.rows, plan.residual, residual, sources,
                              residual_value);
        }
#pragma unroll
        for (int i = 0; i < N; ++i) merged[v][i] = value[i] + residual_value[i];
    }
#pragma unroll
    for (int v = 0; v < V; ++v) {
#pragma unroll
        for (int i = 0; i < N; ++i) sum[v][i] = merged[v][i];
    }
}

// A thread's columns of hidden + residual; zeros past the end.
template <bool PLANNED, int N, int V, typename T>
__device__ __forceinline__ void load_sum(const Norm<T> &norm, const Plan &plan, int row, int start,
                                         float (&sum)[V][N]) {
    int64_t first = row;
    bool merges = false;
    if constexpr (PLANNED) {
        const RowSources sources(plan.rows, row);
        first = sources.row;
        merges = sources.merges();
    }
    first *= norm.width;
    float residual[V][N] = {};
    if (norm.residual) load_row(norm.residual + first, norm.width, start, residual);
    load_row(norm.hidden + first, norm.width, start, sum);
#pragma unroll
    for (int v = 0; v < V; ++v) {
#pragma unroll
        for (int i = 0; i < N; ++i) sum[v][i] += residual[v][i];
    }
    if constexpr (PLANNED) {
        if (merges) merge_sum(norm, plan, RowSources(plan.rows, row), start, sum);
    }
}

#define NORM_PARAMETERS(T)                                                                                             \
    const T *hidden, const float *residual, const float *weight, T *normed, float *residual_out, int rows, int width,  \
        float eps
#define PLAN_PARAMETERS                                                                                                \
    const int *keep, const int *edge_off, const int *edge_src, const float *hidden_edge, const float *hidden_own,      \
        const float *residual_edge, const float *residual_own
#define NORM(T)                                                                                                        \
    Norm<T> { hidden, residual, weight, normed, residual_out, rows, width, eps }
#define PLAN                                                                                                           \
    Plan {                                                                                                             \
        {keep, edge_off, edge_src}, {hidden_edge, hidden_own}, { residual_edge, residual_own }                         \
    }
