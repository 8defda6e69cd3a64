// The end of a linear layer with bias: out = product + bias, rounded once.
//
// product float32 [rows, width] without gaps, bias float32 [width], out T [rows, width]; out may be the product itself.
// Bound by memory: 4 + sizeof(T) bytes per element.
//
// Launch: block (x, y), y rows at a time, x threads striding over the columns; grid ceil(rows / y). The plain names take
// eight columns a thread: width a multiple of 8, pointers 16-byte aligned; the `_any_` ones take any. Same bits.
#include "rows.cuh"

namespace {

template <int N, typename T>
__device__ __forceinline__ void add_to_rows(const float *product, const float *bias, T *out, int rows, int width) {
    const int row = row_of_thread();
    if (row >= rows) return;
    const int64_t first = static_cast<int64_t>(row) * width;
    for (int column = threadIdx.x * N; column < width; column += blockDim.x * N) {
        float value[N], shift[N];
        load_floats(product + first + column, value);
        load_floats(bias + column, shift);
#pragma unroll
        for (int i = 0; i < N; ++i) value[i] += shift[i];
        store_floats(out + first + column, value);
    }
}

} // namespace

#define ADD_BIAS(T, NAME, N)                                                                                           \
    extern "C" __global__ void add_bias_##NAME(const float *product, const float *bias, T *out, int rows, int width) { \
        wait_for_inputs();                                                                                             \
        add_to_rows<N>(product, bias, out, rows, width);                                                               \
    }

ADD_BIAS(float, f32, EIGHT)
ADD_BIAS(bf16, bf16, EIGHT)
ADD_BIAS(float, any_f32, 1)
ADD_BIAS(bf16, any_bf16, 1)
