// Residual addition and RMSNorm, with the rows of a token reduction gathered and merged on the way.
//
//   r = hidden + residual;  normed = r / sqrt(mean(r^2) + eps) * weight
//
// hidden T [rows_in, width], residual float32 [rows_in, width] or null (r = hidden), weight float32 [width];
// normed T [rows, width], residual_out float32 [rows, width] or null (not wanted).
// The kernels named `_plan_` take a row plan: row i of the result is made of the arriving row keep[i] and of the rows
// merged into it, on each branch with weights of its own (row_plan.cuh). Their result has the same bits as
// merge_rows on both branches followed by the kernel without a plan.
//
// Bound by memory: 12 bytes per element in bf16 (30.7 KB a row at width 2560; 32768 rows: 0.33 ms at 3 TB/s).
//
// Launch: the `_vN_` kernels hold a row in registers, N times eight elements a thread: width a multiple of 8, every
// pointer 16-byte aligned, block (x, y) with x a multiple of 32 and x * 8 * N >= width, x * y at most 512; grid
// ceil(rows / y). The `_any_` kernels take any width and alignment: block (x, 1), grid rows; a null `keep` means no
// plan. N and x decide the order of the sum: choose them by width alone. Without a plan the results may be written
// over the inputs.
#include "add_norm.cuh"

namespace {

// The whole row in the registers of its threads.
template <bool PLANNED, int VECTORS, typename T>
__device__ __forceinline__ void in_registers(const Norm<T> &norm, const Plan &plan) {
    const int row = row_of_thread();
    const int start = threadIdx.x * EIGHT;
    float r[VECTORS][EIGHT];
    load_sum<PLANNED>(norm, plan, min(row, norm.rows - 1), start, r);
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
        const int column = column_of<EIGHT>(start, v);
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

// One element at a time, twice over the row.
template <bool PLANNED, typename T> __device__ __forceinline__ void any_width(const Norm<T> &norm, const Plan &plan) {
    const int row = blockIdx.x;
    float squares = 0.0f;
    for (int column = threadIdx.x; column < norm.width; column += blockDim.x) {
        float r[1][1];
        load_sum<PLANNED>(norm, plan, row, column, r);
        squares = fmaf(r[0][0], r[0][0], squares);
    }
    const float scale = rms_scale(row_sum(squares), norm.width, norm.eps);
    for (int column = threadIdx.x; column < norm.width; column += blockDim.x) {
        float r[1][1];
        load_sum<PLANNED>(norm, plan, row, column, r);
        const int64_t at = static_cast<int64_t>(row) * norm.width + column;
        if (norm.residual_out) norm.residual_out[at] = r[0][0];
        norm.normed[at] = from_float<T>(r[0][0] * scale * norm.weight[column]);
    }
}

} // namespace

#define ADD_RMS_NORM(T, SUFFIX, VECTORS, THREADS, BLOCKS)                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        add_rms_norm_v##VECTORS##_##SUFFIX(NORM_PARAMETERS(T)) {                                                       \
        wait_for_inputs();                                                                                             \
        in_registers<false, VECTORS>(NORM(T), Plan{});                                                                 \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                      \
        add_rms_norm_plan_v##VECTORS##_##SUFFIX(NORM_PARAMETERS(T), PLAN_PARAMETERS) {                                 \
        wait_for_inputs();                                                                                             \
        in_registers<true, VECTORS>(NORM(T), PLAN);                                                                    \
    }
#define ADD_RMS_NORM_ANY(T, SUFFIX)                                                                                    \
    extern "C" __global__ void add_rms_norm_any_##SUFFIX(NORM_PARAMETERS(T), PLAN_PARAMETERS) {                        \
        wait_for_inputs();                                                                                             \
        if (keep) {                                                                                                    \
            any_width<true>(NORM(T), PLAN);                                                                            \
        } else {                                                                                                       \
            any_width<false>(NORM(T), PLAN);                                                                           \
        }                                                                                                              \
    }

ADD_RMS_NORM(float, f32, 1, 512, 2)
ADD_RMS_NORM(float, f32, 2, 512, 1)
ADD_RMS_NORM(bf16, bf16, 1, 512, 2)
ADD_RMS_NORM(bf16, bf16, 2, 512, 1)
ADD_RMS_NORM_ANY(float, f32)
ADD_RMS_NORM_ANY(bf16, bf16)
