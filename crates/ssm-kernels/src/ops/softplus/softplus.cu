// Step sizes from their raw values: out = min(max(softplus(raw + bias), low), high), softplus(x) = ln(1 + e^x) and x
// above 20. NaN stays NaN.
//
// raw T [rows, n] with row stride ld (a view: the pointer is its first column), bias float32 [n], out float32 [rows,
// n]. Bound by memory where n is large: sizeof(T) + 4 bytes per element.
//
// Launch: block (x, y), y rows at a time, x threads striding over the columns; grid ceil(rows / y). `softplus_` reads
// eight columns a thread: n and ld multiples of 8, pointers 16-byte aligned; `softplus_any_` takes any. Same bits.
#include "rows.cuh"

namespace {

__device__ __forceinline__ float exact_softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

template <int N, typename T>
__device__ __forceinline__ void softplus_rows(const T *raw, int64_t ld, const float *bias, float low, float high,
                                              float *out, int rows, int n) {
    const int row = row_of_thread();
    if (row >= rows) return;
    for (int column = threadIdx.x * N; column < n; column += blockDim.x * N) {
        float value[N], shift[N];
        load_floats(raw + row * ld + column, value);
        load_floats(bias + column, shift);
#pragma unroll
        for (int i = 0; i < N; ++i) value[i] = min_or_nan(max_or_nan(exact_softplus(value[i] + shift[i]), low), high);
        store_floats(out + static_cast<int64_t>(row) * n + column, value);
    }
}

} // namespace

#define SOFTPLUS(T, NAME, N)                                                                                           \
    extern "C" __global__ void softplus_##NAME(const T *raw, int64_t ld, const float *bias, float low, float high,     \
                                               float *out, int rows, int n) {                                          \
        wait_for_inputs();                                                                                             \
        softplus_rows<N>(raw, ld, bias, low, high, out, rows, n);                                                      \
    }

SOFTPLUS(float, f32, EIGHT)
SOFTPLUS(bf16, bf16, EIGHT)
SOFTPLUS(float, any_f32, 1)
SOFTPLUS(bf16, any_bf16, 1)
