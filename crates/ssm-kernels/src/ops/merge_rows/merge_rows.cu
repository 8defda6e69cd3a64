// Applies a row plan (row_plan.cuh) to one branch: x T [rows_in, width] -> out T [rows, width].
//
// `merge_rows`: kept rows in order, each the weighted mean over itself and the rows merged into it; edges of weight 0 do
// not merge.
// `merge_rows_top`: the hybrid rule of the released code. Of all rows merged anywhere in a segment each channel keeps its
// `kept` largest values (the earlier row among equals) and takes the others as zero; a kept row becomes
// (v + sum of its kept values) / (own + sum of edge weights). Weights enter the divisor alone: here an edge of weight 0
// does merge. It needs `channel_top` first, which finds per segment and channel where the largest values end.
//
// Bound by memory: at most 2 * sizeof(T) bytes per element and edge.
//
// Launch of merge_rows and merge_rows_top: block (x, y), y rows at a time, x threads striding over the columns; grid
// ceil(rows / y). The plain names read eight columns a thread: width a multiple of 8, pointers 16-byte aligned; the
// `_any_` ones take any width and alignment. Same bits.
// Launch of channel_top: block 128, grid (segments, ceil(width / 128)).
#include "row_plan.cuh"

namespace {

template <int N, typename T>
__device__ __forceinline__ void merge(const T *x, T *out, int rows, int width, const RowPlan &plan,
                                      const MergeWeights &weights) {
    const int row = row_of_thread();
    if (row >= rows) return;
    const RowSources sources(plan, row);
    for (int column = threadIdx.x * N; column < width; column += blockDim.x * N) {
        float value[N];
        merged_row(x, width, column, plan, weights, sources, value);
        store_floats(out + static_cast<int64_t>(row) * width + column, value);
    }
}

// Integers in the total order of the floats: -NaN < -inf < ... < -0 < +0 < ... < +NaN.
__device__ __forceinline__ uint32_t ordered(float value) {
    const uint32_t bits = __float_as_uint(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ uint32_t ordered(bf16 value) {
    const uint32_t bits = __bfloat16_as_ushort(value);
    return bits & 0x8000u ? ~bits & 0xffffu : bits | 0x8000u;
}

// Where the largest values of one channel in one segment end: a value is kept if it is above the key, or equals it and
// stands in a row up to `last_row`.
struct Top {
    uint32_t key;
    int last_row;

    __device__ __forceinline__ bool keeps(uint32_t value, int row) const {
        return value > key || (value == key && row <= last_row);
    }
};

// sources: arriving rows merged anywhere in the segment, ascending.
template <typename T>
__device__ __forceinline__ Top find_top(const T *x, int64_t width, int channel, const int *sources, int count, int kept) {
    if (kept >= count) return {0, INT32_MAX};
    if (kept <= 0) return {UINT32_MAX, -1};
    // The largest key that at least `kept` values reach, bit by bit.
    uint32_t key = 0;
    for (int bit = 8 * sizeof(T) - 1; bit >= 0; --bit) {
        const uint32_t candidate = key | 1u << bit;
        int reach = 0;
#pragma unroll 8
        for (int i = 0; i < count; ++i) reach += ordered(x[sources[i] * width + channel]) >= candidate;
        if (reach >= kept) key = candidate;
    }
    int equals = kept;
    for (int i = 0; i < count; ++i) equals -= ordered(x[sources[i] * width + channel]) > key;
    for (int i = 0; i < count; ++i) {
        equals -= ordered(x[sources[i] * width + channel]) == key;
        if (equals == 0) return {key, sources[i]};
    }
    return {key, INT32_MAX};
}

template <int N, typename T>
__device__ __forceinline__ void merge_top(const T *x, T *out, int rows, int width, const RowPlan &plan,
                                          const MergeWeights &weights, const int *row_segment, const Top *tops) {
    const int row = row_of_thread();
    if (row >= rows) return;
    const RowSources sources(plan, row);
    const Top *top = tops + static_cast<int64_t>(row_segment[row]) * width;
    float count = weights.own[row];
    for (int edge = sources.first; edge < sources.last; ++edge) count += weights.edge[edge];
    for (int column = threadIdx.x * N; column < width; column += blockDim.x * N) {
        float value[N];
        load_floats(x + static_cast<int64_t>(sources.row) * width + column, value);
        for (int edge = sources.first; edge < sources.last; ++edge) {
            const int source = plan.edge_src[edge];
            float merged[N];
            load_floats(x + static_cast<int64_t>(source) * width + column, merged);
#pragma unroll
            for (int i = 0; i < N; ++i) {
                // bf16 to float32 and back is exact, so the key is that of the stored value.
                const bool keeps = top[column + i].keeps(ordered(from_float<T>(merged[i])), source);
                value[i] += keeps ? merged[i] : 0.0f;
            }
        }
        if (sources.first < sources.last) {
#pragma unroll
            for (int i = 0; i < N; ++i) value[i] = __fdiv_rn(value[i], count);
        }
        store_floats(out + static_cast<int64_t>(row) * width + column, value);
    }
}

} // namespace

#define MERGE_ROWS(T, NAME, N)                                                                                         \
    extern "C" __global__ void merge_rows_##NAME(const T *x, T *out, int rows, int width, const int *keep,             \
                                                 const int *edge_off, const int *edge_src, const float *edge_weight,   \
                                                 const float *own_weight) {                                            \
        merge<N>(x, out, rows, width, RowPlan{keep, edge_off, edge_src}, MergeWeights{edge_weight, own_weight});       \
    }                                                                                                                  \
    extern "C" __global__ void merge_rows_top_##NAME(const T *x, T *out, int rows, int width, const int *keep,         \
                                                     const int *edge_off, const int *edge_src,                         \
                                                     const float *edge_weight, const float *own_weight,                \
                                                     const int *row_segment, const uint2 *tops) {                      \
        merge_top<N>(x, out, rows, width, RowPlan{keep, edge_off, edge_src}, MergeWeights{edge_weight, own_weight},    \
                     row_segment, reinterpret_cast<const Top *>(tops));                                                \
    }

// sources int32 [sum of counts], source_off int32 [segments + 1], kept int32 [segments] -> tops 8 bytes [segments, width].
#define CHANNEL_TOP(T, SUFFIX)                                                                                         \
    extern "C" __global__ void channel_top_##SUFFIX(const T *x, int width, const int *sources, const int *source_off,  \
                                                    const int *kept, uint2 *tops) {                                    \
        const int channel = blockIdx.y * blockDim.x + threadIdx.x;                                                     \
        const int segment = blockIdx.x;                                                                                \
        if (channel >= width) return;                                                                                  \
        const int first = source_off[segment];                                                                         \
        const Top top =                                                                                                \
            find_top(x, width, channel, sources + first, source_off[segment + 1] - first, kept[segment]);              \
        tops[static_cast<int64_t>(segment) * width + channel] = make_uint2(top.key, static_cast<uint32_t>(top.last_row)); \
    }

MERGE_ROWS(float, f32, EIGHT)
MERGE_ROWS(bf16, bf16, EIGHT)
MERGE_ROWS(float, any_f32, 1)
MERGE_ROWS(bf16, any_bf16, 1)
CHANNEL_TOP(float, f32)
CHANNEL_TOP(bf16, bf16)
