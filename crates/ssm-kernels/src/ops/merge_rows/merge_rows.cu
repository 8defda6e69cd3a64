// Applies a row plan (row_plan.cuh) to one branch: x T [rows_in, width] -> out T [rows, width].
//
// `merge_rows`: kept rows in order, each the weighted mean over itself and the rows merged into it; edges of weight
// 0 do not merge.
// `merge_rows_top`: the same for rows whose row_segment is -1; for the others the hybrid rule of the released code. Of all rows merged anywhere in a segment each channel
// keeps its `kept` largest values (the earlier row among equals) and takes the others as zero; a kept row becomes
// (v + sum of its kept values) / (own + sum of edge weights). Weights enter the divisor alone: here an edge of
// weight 0 does merge. It needs `channel_top` first, which finds per segment and channel where the largest values
// end.
//
// Bound by memory: at most 2 * sizeof(T) bytes per element and edge.
//
// Launch of merge_rows and merge_rows_top: block (x, y), x * y <= 512, y rows at a time; grid (ceil(rows / y), c),
// whose c parts stride over the columns of a row: more than one spreads a row with hundreds of sources over the
// device. The plain names read eight columns a thread: width a multiple of 8, pointers 16-byte aligned; the `_any_`
// ones take any width and alignment. The launch does not show in the result.
// Launch of channel_top: block (32, 8), grid (segments, ceil(width / 32)).
#include "row_plan.cuh"

namespace {

constexpr int AHEAD = 4; // sources on their way at once

// One kept row by the weighted mean, by the threads of its row.
template <int N, typename T>
__device__ __forceinline__ void merge(const T *x, T *out, int row, int width, const RowPlan &plan,
                                      const MergeWeights &weights) {
    constexpr int V = N == 1 ? 1 : 2; // loads on their way at once
    const int step = gridDim.y * V * blockDim.x * N;
    const RowSources sources(plan, row);
    for (int start = (blockIdx.y * V * blockDim.x + threadIdx.x) * N; start < width; start += step) {
        if (sources.merges()) {
            const Merge how(weights, sources);
            if (how.merges) call_sources<N, V>(x, width, start, plan, sources);
#pragma unroll 1
            for (int v = 0; v < V && column_of<N>(start, v) < width; ++v) {
                float value[N];
                merged_row<AHEAD>(x, width, column_of<N>(start, v), plan, weights, how, sources, value);
                store_floats(out + static_cast<int64_t>(row) * width + column_of<N>(start, v), value);
            }
            continue;
        }
        float value[V][N];
        load_row(x + static_cast<int64_t>(sources.row) * width, width, start, value);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            const int column = column_of<N>(start, v);
            if (column < width) store_floats(out + static_cast<int64_t>(row) * width + column, value[v]);
        }
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

// Where the largest values of one channel in one segment end: a value is kept if it is above the key, or equals it
// and stands in a row up to `last_row`.
struct Top {
    uint32_t key;
    int last_row;

    __device__ __forceinline__ bool keeps(uint32_t value, int row) const {
        return value > key || (value == key && row <= last_row);
    }
};

constexpr int TOP_CHANNELS = 32, TOP_SHARES = 8;

// Sum over the threads that share a channel.
__device__ __forceinline__ int channel_sum(int value) {
    __shared__ int part[TOP_SHARES][TOP_CHANNELS];
    __syncthreads();
    part[threadIdx.y][threadIdx.x] = value;
    __syncthreads();
    int sum = 0;
#pragma unroll
    for (int share = 0; share < TOP_SHARES; ++share) sum += part[share][threadIdx.x];
    return sum;
}

// sources: arriving rows merged anywhere in the segment, ascending. x points to the channel.
template <typename T>
__device__ __forceinline__ Top find_top(const T *x, int64_t width, const int *sources, int count, int kept) {
    if (kept >= count) return {0, INT32_MAX};
    if (kept <= 0) return {UINT32_MAX, -1};
    // The largest key that at least `kept` values reach, bit by bit.
    uint32_t key = 0;
    for (int bit = 8 * sizeof(T) - 1; bit >= 0; --bit) {
        const uint32_t candidate = key | 1u << bit;
        int reach = 0;
#pragma unroll 8
        for (int i = threadIdx.y; i < count; i += TOP_SHARES) reach += ordered(x[sources[i] * width]) >= candidate;
        if (channel_sum(reach) >= kept) key = candidate;
    }
    int above = 0;
#pragma unroll 8
    for (int i = threadIdx.y; i < count; i += TOP_SHARES) above += ordered(x[sources[i] * width]) > key;
    // How many of those that equal it are kept: the first ones.
    int equals = kept - channel_sum(above), last_row = -1;
#pragma unroll 8
    for (int i = 0; i < count; ++i) {
        const bool equal = ordered(x[sources[i] * width]) == key;
        if (equal && equals > 0) last_row = sources[i];
        equals -= equal;
    }
    return {key, last_row};
}

// One kept row by the hybrid of the released code.
template <int N, typename T>
__device__ __forceinline__ void merge_top(const T *x, T *out, int row, int width, const RowPlan &plan,
                                          const MergeWeights &weights, const Top *top) {
    const RowSources sources(plan, row);
    float count = weights.own[row];
    for (int edge = sources.first; edge < sources.last; ++edge) count += weights.edge[edge];
    const int step = gridDim.y * blockDim.x * N;
    for (int column = (blockIdx.y * blockDim.x + threadIdx.x) * N; column < width; column += step) {
        float value[N];
        load_floats(x + static_cast<int64_t>(sources.row) * width + column, value);
#pragma unroll 1
        for (int edge = sources.first; edge < sources.last; edge += AHEAD) {
            const ComingRows<N, AHEAD, T> merged(x, width, column, plan, edge, sources.last);
#pragma unroll
            for (int a = 0; a < AHEAD; ++a) {
                if (edge + a >= sources.last) break;
                const int source = plan.edge_src[edge + a];
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    // bf16 to float32 and back is exact, so the key is that of the stored value.
                    const float own = merged.value[a][i];
                    // The total order puts a negative NaN below all numbers: it must not be taken as zero.
                    const bool keeps = top[column + i].keeps(ordered(from_float<T>(own)), source) || isnan(own);
                    value[i] += keeps ? own : 0.0f;
                }
            }
        }
        if (sources.merges()) {
#pragma unroll
            for (int i = 0; i < N; ++i) value[i] = __fdiv_rn(value[i], count);
        }
        store_floats(out + static_cast<int64_t>(row) * width + column, value);
    }
}

} // namespace

#define MERGE_ROWS(T, NAME, N)                                                                                         \
    extern "C" __global__ void __launch_bounds__(512, 2)                                                               \
        merge_rows_##NAME(const T *x, T *out, int rows, int width, const int *keep, const int *edge_off,               \
                          const int *edge_src, const float *edge_weight, const float *own_weight) {                    \
        wait_for_inputs();                                                                                             \
        const int row = row_of_thread();                                                                               \
        if (row >= rows) return;                                                                                       \
        merge<N>(x, out, row, width, RowPlan{keep, edge_off, edge_src}, MergeWeights{edge_weight, own_weight});        \
    }                                                                                                                  \
    extern "C" __global__ void merge_rows_top_##NAME(const T *x, T *out, int rows, int width, const int *keep,         \
                                                     const int *edge_off, const int *edge_src,                         \
                                                     const float *edge_weight, const float *own_weight,                \
                                                     const int *row_segment, const uint2 *tops) {                      \
        wait_for_inputs();                                                                                             \
        const int row = row_of_thread();                                                                               \
        if (row >= rows) return;                                                                                       \
        const RowPlan plan{keep, edge_off, edge_src};                                                                  \
        const MergeWeights weights{edge_weight, own_weight};                                                           \
        const int64_t segment = row_segment[row];                                                                      \
        if (segment < 0) return merge<N>(x, out, row, width, plan, weights);                                           \
        merge_top<N>(x, out, row, width, plan, weights, reinterpret_cast<const Top *>(tops) + segment * width);        \
    }

// sources int32 [sum of counts], source_off int32 [segments + 1], kept int32 [segments] -> tops 8 bytes [segments,
// width].
#define CHANNEL_TOP(T, SUFFIX)                                                                                         \
    extern "C" __global__ void __launch_bounds__(TOP_CHANNELS *TOP_SHARES)                                             \
        channel_top_##SUFFIX(const T *x, int width, const int *sources, const int *source_off, const int *kept,        \
                             uint2 *tops) {                                                                            \
        wait_for_inputs();                                                                                             \
        const int segment = blockIdx.x, channel = blockIdx.y * TOP_CHANNELS + threadIdx.x;                             \
        const int first = source_off[segment];                                                                         \
        const Top top = find_top(x + min(channel, width - 1), width, sources + first,                                  \
                                 source_off[segment + 1] - first, kept[segment]);                                      \
        if (channel >= width || threadIdx.y != 0) return;                                                              \
        tops[static_cast<int64_t>(segment) * width + channel] =                                                        \
            make_uint2(top.key, static_cast<uint32_t>(top.last_row));                                                  \
    }

MERGE_ROWS(float, f32, EIGHT)
MERGE_ROWS(bf16, bf16, EIGHT)
MERGE_ROWS(float, any_f32, 1)
MERGE_ROWS(bf16, any_bf16, 1)
CHANNEL_TOP(float, f32)
CHANNEL_TOP(bf16, bf16)
