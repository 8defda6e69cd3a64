// Whether a stream holds a value that is NaN or infinite, and where first.
//
// x T [rows, width] with row stride ld, seg_off int32 [segments + 1], first uint32 [segments], UINT32_MAX before ->
// first: lowered to the first row of each segment, counted from its start, that holds such a value.
//
// Bound by memory: one read of x; nothing is written where all is well.
//
// Launch: block (x, y), y rows at a time, x threads striding over the columns; grid ceil(rows / y). `finite_` reads eight
// columns a thread: width and ld multiples of 8, pointers 16-byte aligned; `finite_any_` takes any.
#include "rows.cuh"

namespace {

__device__ __forceinline__ int segment_of(const int *seg_off, int segments, int row) {
    int segment = 0;  // the last one that starts at or before the row
    while (segments - segment > 1) {
        const int middle = (segment + segments) / 2;
        if (seg_off[middle] <= row) segment = middle;
        else segments = middle;
    }
    return segment;
}

template <int N, typename T>
__device__ __forceinline__ void look(const T *x, int64_t ld, int rows, int width, const int *seg_off, int segments,
                                     uint32_t *first) {
    const int row = row_of_thread();
    if (row >= rows) return;
    float faults = 0.0f;  // 0 times every value: NaN if one of them is no finite number
    for (int column = threadIdx.x * N; column < width; column += blockDim.x * N) {
        float value[N];
        load_floats(x + row * ld + column, value);
#pragma unroll
        for (int i = 0; i < N; ++i) faults = fmaf(value[i], 0.0f, faults);
    }
    if (!isnan(faults)) return;
    const int segment = segment_of(seg_off, segments, row);
    atomicMin(first + segment, static_cast<uint32_t>(row - seg_off[segment]));
}

} // namespace

#define FINITE(T, NAME, N)                                                                                             \
    extern "C" __global__ void finite_##NAME(const T *x, int64_t ld, int rows, int width, const int *seg_off,          \
                                             int segments, uint32_t *first) {                                          \
        wait_for_inputs();                                                                                             \
        look<N>(x, ld, rows, width, seg_off, segments, first);                                                         \
    }

FINITE(float, f32, EIGHT)
FINITE(bf16, bf16, EIGHT)
FINITE(float, any_f32, 1)
FINITE(bf16, any_bf16, 1)
