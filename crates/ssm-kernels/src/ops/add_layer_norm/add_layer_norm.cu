// Residual addition and LayerNorm, with the rows of a token reduction gathered and merged on the way.
//
//   r = hidden + residual;  normed = (r - mean(r)) / sqrt(mean((r - mean(r))^2) + eps) * weight + bias
//
// Parameters, row plans and launch as in add_rms_norm.cu, with bias float32 [width] after the parameters of the norm.
// The deviations are squared in a second pass over the registers, which loses no digits.
//
// Bound by memory: 12 bytes per element in bf16, as RMSNorm.
#include "add_norm.cuh"

namespace {

// The whole row in the registers of its threads.
template <bool PLANNED, int VECTORS, typename T>
__device__ __forceinline__ void in_registers(const Norm<T> &norm, const float *bias, const Plan &plan) {
    const int row = row_of_thread();
    const int start = threadIdx.x * EIGHT;
    float r[VECTORS][EIGHT];
    load_sum<PLANNED>(norm, plan, min(row, norm.rows - 1), start, r);
    // Columns past the end are zeros.
    float sum = 0.0f;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) sum += r[v][i];
    }
    const float mean = row_sum(sum) / static_cast<float>(norm.width);
    __syncthreads(); // every thread has read the partial sums, which the next sum overwrites
    float squares = 0.0f;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        if (column_of<EIGHT>(start, v) >= norm.width) break;
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) squares = fmaf(r[v][i] - mean, r[v][i] - mean, squares);
    }
    const float scale = rms_scale(row_sum(squares), norm.width, norm.eps);
    if (row >= norm.rows) return;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        const int column = column_of<EIGHT>(start, v);
        if (column >= norm.width) break;
        const int64_t at = static_cast<int64_t>(row) * norm.width + column;
        if (norm.residual_out) store_eight(norm.residual_out + at, r[v]);
        float weight[EIGHT], shift[EIGHT];
        load_floats(norm.weight + column, weight);
        load_floats(bias + column, shift);
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) r[v][i] = fmaf((r[v][i] - mean) * scale, weight[i], shift[i]);
        store_eight(norm.normed + at, r[v]);
    }
}

// One element at a time, three times over the row.
template <bool PLANNED, typename T>
__device__ __forceinline__ void any_width(const Norm<T> &norm, const float *bias, const Plan &plan) {
    const int row = blockIdx.x;
    float r[1][1], sum = 0.0f;
    for (int column = threadIdx.x; column < norm.width; column += blockDim.x) {
        load_sum<PLANNED>(norm, plan, row, column, r);
        sum += r[0][0];
    }
    const float mean = row_sum(sum) / static_cast<float>(norm.width);
    __syncthreads(); // as above
    float squares = 0.0f;
    for (int column = threadIdx.x; column < norm.width; column += blockDim.x) {
        load_sum<PLANNED>(norm, plan, row, column, r);
        squares = fmaf(r[0][0] - mean, r[0][0] - mean, squares);
    }
    const float scale = rms_scale(row_sum(squares), norm.width, norm.eps);
    for (int column = threadIdx.x; column < norm.width; column += blockDim.x) {
        load_sum<PLANNED>(norm, plan, row, column, r);
        const int64_t at = static_cast<int64_t>(row) * norm.width + column;
        if (norm.residual_out) norm.residual_out[at] = r[0][0];
        norm.normed[at] = from_float<T>(fmaf((r[0][0] - mean) * scale, norm.weight[column], bias[column]));
    }
}

} // namespace

#define ADD_LAYER_NORM(T, SUFFIX, VECTORS, THREADS, BLOCKS)                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        add_layer_norm_v##VECTORS##_##SUFFIX(NORM_PARAMETERS(T), const float *bias) {                                  \
        wait_for_inputs();                                                                                             \
        in_registers<false, VECTORS>(NORM(T), bias, Plan{});                                                           \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)                                                      \
        add_layer_norm_plan_v##VECTORS##_##SUFFIX(NORM_PARAMETERS(T), const float *bias, PLAN_PARAMETERS) {            \
        wait_for_inputs();                                                                                             \
        in_registers<true, VECTORS>(NORM(T), bias, PLAN);                                                              \
    }
#define ADD_LAYER_NORM_ANY(T, SUFFIX)                                                                                  \
    extern "C" __global__ void add_layer_norm_any_##SUFFIX(NORM_PARAMETERS(T), const float *bias, PLAN_PARAMETERS) {   \
        wait_for_inputs();                                                                                             \
        if (keep) {                                                                                                    \
            any_width<true>(NORM(T), bias, PLAN);                                                                      \
        } else {                                                                                                       \
            any_width<false>(NORM(T), bias, PLAN);                                                                     \
        }                                                                                                              \
    }

ADD_LAYER_NORM(float, f32, 1, 512, 2)
ADD_LAYER_NORM(float, f32, 2, 512, 1)
ADD_LAYER_NORM(bf16, bf16, 1, 512, 2)
ADD_LAYER_NORM(bf16, bf16, 2, 512, 1)
ADD_LAYER_NORM_ANY(float, f32)
ADD_LAYER_NORM_ANY(bf16, bf16)
