// One part of every row normalised by itself, without a weight: out = x / sqrt(mean(x^2) + eps) over `width` columns.
//
// x and out T [rows, width] with row stride ld (views of the same columns of two matrices; they may be one). Bound by memory:
// each value is read twice, the second time from the cache, and written once.
//
// Launch: block (32, y), a warp a row; grid ceil(rows / y). Sums run in an order that depends on the width alone.
#include "rows.cuh"

namespace {

template <typename T>
__device__ __forceinline__ void normalise(const T *x, T *out, int64_t ld, int rows, int width, float eps) {
    const int row = row_of_thread();
    // A warp is a row: it leaves as a whole.
    if (row >= rows) return;
    x += row * ld;
    out += row * ld;
    float squares = 0.0f;
    for (int column = threadIdx.x; column < width; column += WARP) {
        const float value = to_float(x[column]);
        squares = fmaf(value, value, squares);
    }
    const float scale = rms_scale(warp_sum(squares), width, eps);
    for (int column = threadIdx.x; column < width; column += WARP) {
        out[column] = from_float<T>(to_float(x[column]) * scale);
    }
}

} // namespace

#define RMS_NORM_PARTS(T, NAME)                                                                                        \
    extern "C" __global__ void rms_norm_parts_##NAME(const T *x, T *out, int64_t ld, int rows, int width, float eps) { \
        wait_for_inputs();                                                                                             \
        normalise(x, out, ld, rows, width, eps);                                                                       \
    }

RMS_NORM_PARTS(float, f32)
RMS_NORM_PARTS(bf16, bf16)
