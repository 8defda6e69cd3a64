// Residual addition and RMSNorm, with the rows of a token reduction gathered and merged on the way.
//
//   r = hidden + residual;  normed = r / sqrt(mean(r^2) + eps) * weight
//
// hidden T [rows_in, width], residual float32 [rows_in, width] or null (r = hidden), weight float32 [width];
// normed T [rows, width], residual_out float32 [rows, width] or null (not wanted).
// The kernels named `_plan_` take a row plan: row i of the result is made of the arriving row keep[i] and of the rows
// merged into it, on each branch with weights of its own (row_plan.cuh). Their result has the same bits as merge_rows on
// both branches followed by the kernel without a plan.
//
// Bound by memory: 12 bytes per element in bf16 (30.7 KB a row at width 2560; 32768 rows: 0.33 ms at 3 TB/s).
//
// Launch: see LAUNCH.md. The `_vN_` kernels hold a whole row in registers, N times eight elements a thread: width a
// multiple of 8, every pointer 16-byte aligned, block (x, y) with x a multiple of 32, x * 8 * N >= width, x * y <= 1024
// (512 for v4); grid ceil(rows / y). The `_any_` kernels take any width and alignment: block (x, 1), grid rows; a null
// `keep` means no plan. Without a plan the results may be written over the inputs.
#include "row_plan.cuh"

namespace {

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

template <typename T, int VECTORS> __device__ __forceinline__ void finish(const Norm<T> &norm, int row, float (&r)[VECTORS][EIGHT]) {
    float squares = 0.0f;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) squares = fmaf(r[v][i], r[v][i], squares);
    }
    const float scale = rms_scale(row_sum(squares), norm.width, norm.eps);
    if (row >= norm.rows) return;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        const int column = (threadIdx.x + v * blockDim.x) * EIGHT;
        if (column >= norm.width) break;
        const int64_t at = static_cast<int64_t>(row) * norm.width + column;
        if (norm.residual_out) store_eight(norm.residual_out + at, r[v]);
        float weight[EIGHT];
        load_floats(norm.weight + column, weight);
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) r[v][i] = r[v][i] * scale * weight[i];
        store_eight(norm.normed + at, r[v]);
    }
}

template <typename T, int VECTORS> __device__ __forceinline__ void dense(const Norm<T> &norm) {
    const int row = row_of_thread();
    const int64_t first = static_cast<int64_t>(min(row, norm.rows - 1)) * norm.width;
    float r[VECTORS][EIGHT];
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        const int column = (threadIdx.x + v * blockDim.x) * EIGHT;
        float residual[EIGHT] = {};
        if (column < norm.width) {
            if (norm.residual) load_floats(norm.residual + first + column, residual);
            load_floats(norm.hidden + first + column, r[v]);
        } else {
#pragma unroll
            for (int i = 0; i < EIGHT; ++i) r[v][i] = 0.0f;
        }
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) r[v][i] += residual[i];
    }
    finish<T, VECTORS>(norm, row, r);
}

template <typename T, int VECTORS>
__device__ __forceinline__ void planned(const Norm<T> &norm, const RowPlan &plan, const MergeWeights &hidden_weights,
                                        const MergeWeights &residual_weights) {
    const int row = row_of_thread();
    const RowSources sources(plan, min(row, norm.rows - 1));
    float r[VECTORS][EIGHT];
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        const int column = (threadIdx.x + v * blockDim.x) * EIGHT;
        float residual[EIGHT] = {};
        if (column < norm.width) {
            if (norm.residual) {
                merged_row(norm.residual, norm.width, column, plan, residual_weights, sources, residual);
            }
            merged_row(norm.hidden, norm.width, column, plan, hidden_weights, sources, r[v]);
        } else {
#pragma unroll
            for (int i = 0; i < EIGHT; ++i) r[v][i] = 0.0f;
        }
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) r[v][i] += residual[i];
    }
    finish<T, VECTORS>(norm, row, r);
}

// One element of r.
template <typename T>
__device__ __forceinline__ float sum_at(const Norm<T> &norm, const RowPlan &plan, const MergeWeights &hidden_weights,
                                        const MergeWeights &residual_weights, int row, int column) {
    float hidden[1];
    float residual[1] = {0.0f};
    if (plan.keep) {
        const RowSources sources(plan, row);
        merged_row(norm.hidden, norm.width, column, plan, hidden_weights, sources, hidden);
        if (norm.residual) merged_row(norm.residual, norm.width, column, plan, residual_weights, sources, residual);
    } else {
        const int64_t at = static_cast<int64_t>(row) * norm.width + column;
        hidden[0] = to_float(norm.hidden[at]);
        if (norm.residual) residual[0] = norm.residual[at];
    }
    return hidden[0] + residual[0];
}

template <typename T>
__device__ __forceinline__ void any_width(const Norm<T> &norm, const RowPlan &plan, const MergeWeights &hidden_weights,
                                          const MergeWeights &residual_weights) {
    const int row = blockIdx.x;
    float squares = 0.0f;
    for (int column = threadIdx.x; column < norm.width; column += blockDim.x) {
        const float r = sum_at(norm, plan, hidden_weights, residual_weights, row, column);
        squares = fmaf(r, r, squares);
    }
    const float scale = rms_scale(row_sum(squares), norm.width, norm.eps);
    for (int column = threadIdx.x; column < norm.width; column += blockDim.x) {
        const int64_t at = static_cast<int64_t>(row) * norm.width + column;
        const float r = sum_at(norm, plan, hidden_weights, residual_weights, row, column);
        if (norm.residual_out) norm.residual_out[at] = r;
        norm.normed[at] = from_float<T>(r * scale * norm.weight[column]);
    }
}

} // namespace

#define NORM_PARAMETERS(T)                                                                                             \
    const T *hidden, const float *residual, const float *weight, T *normed, float *residual_out, int rows, int width,  \
        float eps
#define PLAN_PARAMETERS                                                                                                \
    const int *keep, const int *edge_off, const int *edge_src, const float *hidden_edge, const float *hidden_own,      \
        const float *residual_edge, const float *residual_own
#define NORM(T)                                                                                                        \
    Norm<T> { hidden, residual, weight, normed, residual_out, rows, width, eps }
#define PLAN                                                                                                           \
    RowPlan{keep, edge_off, edge_src}, MergeWeights{hidden_edge, hidden_own}, MergeWeights {                           \
        residual_edge, residual_own                                                                                    \
    }

#define ADD_RMS_NORM(T, SUFFIX, VECTORS, THREADS)                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        add_rms_norm_v##VECTORS##_##SUFFIX(NORM_PARAMETERS(T)) {                                                       \
        dense<T, VECTORS>(NORM(T));                                                                                    \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        add_rms_norm_plan_v##VECTORS##_##SUFFIX(NORM_PARAMETERS(T), PLAN_PARAMETERS) {                                 \
        planned<T, VECTORS>(NORM(T), PLAN);                                                                            \
    }
#define ADD_RMS_NORM_ANY(T, SUFFIX)                                                                                    \
    extern "C" __global__ void add_rms_norm_any_##SUFFIX(NORM_PARAMETERS(T), PLAN_PARAMETERS) {                        \
        any_width<T>(NORM(T), PLAN);                                                                                   \
    }

ADD_RMS_NORM(float, f32, 1, 1024)
ADD_RMS_NORM(float, f32, 2, 1024)
ADD_RMS_NORM(float, f32, 4, 512)
ADD_RMS_NORM(bf16, bf16, 1, 1024)
ADD_RMS_NORM(bf16, bf16, 2, 1024)
ADD_RMS_NORM(bf16, bf16, 4, 512)
ADD_RMS_NORM_ANY(float, f32)
ADD_RMS_NORM_ANY(bf16, bf16)
