// Gaussian error linear unit, value by value: x / 2 (1 + erf(x / sqrt(2))), or x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
//
// x T [rows, width] without gaps, out T the same; the two may be one. Bound by memory: each value is read and written once.
//
// Launch: block (x, y), y rows at a time, x threads striding over the columns; grid ceil(rows / y). The plain names take
// eight columns a thread: width a multiple of 8, pointers 16-byte aligned; the `_any_` ones take any. Same bits.
#include "rows.cuh"

namespace {

struct Exact {
    __device__ __forceinline__ static float of(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }
};
struct Tanh {
    __device__ __forceinline__ static float of(float x) {
        return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * fmaf(0.044715f * x * x, x, x)));
    }
};

template <typename Gelu, int N, typename T>
__device__ __forceinline__ void gelu_rows(const T *x, T *out, int rows, int width) {
    const int row = row_of_thread();
    if (row >= rows) return;
    const int64_t first = static_cast<int64_t>(row) * width;
    for (int column = threadIdx.x * N; column < width; column += blockDim.x * N) {
        float value[N];
        load_floats(x + first + column, value);
#pragma unroll
        for (int i = 0; i < N; ++i) value[i] = Gelu::of(value[i]);
        store_floats(out + first + column, value);
    }
}

} // namespace

#define GELU(KIND, T, NAME, N)                                                                                         \
    extern "C" __global__ void gelu_##NAME(const T *x, T *out, int rows, int width) {                                  \
        wait_for_inputs();                                                                                             \
        gelu_rows<KIND, N>(x, out, rows, width);                                                                       \
    }

GELU(Exact, float, exact_f32, EIGHT)
GELU(Exact, bf16, exact_bf16, EIGHT)
GELU(Exact, float, exact_any_f32, 1)
GELU(Exact, bf16, exact_any_bf16, 1)
GELU(Tanh, float, tanh_f32, EIGHT)
GELU(Tanh, bf16, tanh_bf16, EIGHT)
GELU(Tanh, float, tanh_any_f32, 1)
GELU(Tanh, bf16, tanh_any_bf16, 1)
