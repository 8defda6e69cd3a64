// Depthwise causal convolution over each segment, then SiLU, or nothing in the `_plain_` kernels.
//
//   y[t, c] = silu(bias[c] + sum_k weight[k, c] * x[t - d_conv + 1 + k, c])
//
// Inputs before a segment's first token come from the end of its parent (and of the parent's parent, where that is
// short), before a root from `initial`, and are zero without it.
//
// x T [tokens, channels] with row stride ld (a view: the pointer is its first column), weight float32 [d_conv,
// channels] (last row for the newest token), bias float32 [channels], seg_off int32 [segments + 1], parent int32
// [segments] (-1 = root), initial float32 [segments, channels, d_conv] or null (oldest first; read for roots only),
// y T [tokens, channels] without gaps.
// tiles int32 [n_tiles, 4]: (segment, first token counted from the segment's start, tokens, row of the first token).
// Tiles cover every segment once, in order; their length is free and does not show in the result. 16 tokens are
// within a few percent of the best length at every size measured.
//
// Bound by memory: 2 * sizeof(T) bytes per element (21.5 KB a token at 5376 channels in bf16; 32768 tokens: 0.235 ms
// at 3 TB/s), plus d_conv - 1 rows per tile that come from L2.
//
// Launch of causal_conv1d_tK (d_conv = K): a thread takes eight channels of a tile; block 128, grid
// ceil(n_tiles * (channels / 8) / 128), fewer than 2^31 threads. channels and ld multiples of 8, every pointer
// 16-byte aligned. causal_conv1d_any: any shape, a thread takes one channel; block 128, grid ceil(n_tiles * channels
// / 128). causal_conv1d_states: states float32 [segments, channels, d_conv], the last d_conv inputs of each segment,
// oldest first; block 128, grid (segments, ceil(channels / 128)).
#include "rows.cuh"

namespace {

template <typename T> struct Conv {
    const T *x;
    int64_t ld;
    const float *weight;
    const float *bias;
    const int *seg_off;
    const int *parent;
    const float *initial;
    const int4 *tiles;
    int n_tiles;
    T *y;
    int channels;
};

// Where an input before or inside a segment lies.
struct Place {
    int segment;
    int index; // token of that segment; negative: before a root

    __device__ __forceinline__ Place(const int *seg_off, const int *parent, int segment, int index)
        : segment(segment), index(index) {
        while (this->index < 0 && parent[this->segment] >= 0) {
            this->segment = parent[this->segment];
            this->index += seg_off[this->segment + 1] - seg_off[this->segment];
        }
    }
};

// Input `index` of `segment`, which may lie before it.
template <typename T>
__device__ __forceinline__ float input(const T *x, int64_t ld, const int *seg_off, const float *initial, int channels,
                                       int d_conv, const Place &place, int channel) {
    if (place.index >= 0) return to_float(x[(seg_off[place.segment] + place.index) * ld + channel]);
    if (!initial) return 0.0f;
    return initial[(static_cast<int64_t>(place.segment) * channels + channel) * d_conv + d_conv + place.index];
}

template <bool SILU, typename T> __device__ __forceinline__ float activated(float sum) {
    return SILU ? silu_for<T>(sum) : sum;
}

template <bool SILU, int TAPS, int BATCH, typename T>
__device__ __forceinline__ void eight_channels(const Conv<T> &conv) {
    const uint32_t vectors = conv.channels / EIGHT;
    const uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= conv.n_tiles * vectors) return;
    const int channel = thread % vectors * EIGHT;
    const int4 tile = conv.tiles[thread / vectors];
    const int segment = tile.x, first = tile.y, tokens = tile.z;
    const T *from = conv.x + tile.w * conv.ld + channel;
    T *to = conv.y + static_cast<int64_t>(tile.w) * conv.channels + channel;

    float weight[TAPS][EIGHT], bias[EIGHT];
#pragma unroll
    for (int k = 0; k < TAPS; ++k) load_floats(conv.weight + k * conv.channels + channel, weight[k]);
    load_floats(conv.bias + channel, bias);

    // The inputs before the current token, oldest first.
    float before[TAPS - 1][EIGHT];
    if (first >= TAPS - 1) {
#pragma unroll
        for (int k = 0; k < TAPS - 1; ++k) load_floats(from - (TAPS - 1 - k) * conv.ld, before[k]);
    } else {
#pragma unroll
        for (int k = 0; k < TAPS - 1; ++k) {
            const Place place(conv.seg_off, conv.parent, segment, first - (TAPS - 1 - k));
            if (place.index >= 0) {
                load_floats(conv.x + (conv.seg_off[place.segment] + place.index) * conv.ld + channel, before[k]);
            } else {
#pragma unroll
                for (int i = 0; i < EIGHT; ++i) {
                    before[k][i] =
                        input(conv.x, conv.ld, conv.seg_off, conv.initial, conv.channels, TAPS, place, channel + i);
                }
            }
        }
    }

    for (int done = 0; done < tokens; done += BATCH) {
        Eight<T> raw[BATCH];
#pragma unroll
        for (int t = 0; t < BATCH; ++t) {
            if (done + t < tokens) raw[t] = load_eight(from + (done + t) * conv.ld);
        }
#pragma unroll
        for (int t = 0; t < BATCH; ++t) {
            if (done + t >= tokens) break;
            float out[EIGHT];
#pragma unroll
            for (int i = 0; i < EIGHT; ++i) {
                const float newest = element(raw[t], i);
                float sum = bias[i];
#pragma unroll
                for (int k = 0; k < TAPS - 1; ++k) sum = fmaf(weight[k][i], before[k][i], sum);
                sum = fmaf(weight[TAPS - 1][i], newest, sum);
#pragma unroll
                for (int k = 0; k + 1 < TAPS - 1; ++k) before[k][i] = before[k + 1][i];
                before[TAPS - 2][i] = newest;
                out[i] = activated<SILU, T>(sum);
            }
            store_eight(to + static_cast<int64_t>(done + t) * conv.channels, out);
        }
    }
}

template <bool SILU, typename T> __device__ __forceinline__ void one_channel(const Conv<T> &conv, int d_conv) {
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (thread >= static_cast<int64_t>(conv.n_tiles) * conv.channels) return;
    const int channel = thread % conv.channels;
    const int4 tile = conv.tiles[thread / conv.channels];
    for (int t = 0; t < tile.z; ++t) {
        float sum = conv.bias[channel];
        for (int k = 0; k < d_conv; ++k) {
            const Place place(conv.seg_off, conv.parent, tile.x, tile.y + t - (d_conv - 1) + k);
            sum = fmaf(conv.weight[static_cast<int64_t>(k) * conv.channels + channel],
                       input(conv.x, conv.ld, conv.seg_off, conv.initial, conv.channels, d_conv, place, channel), sum);
        }
        conv.y[(static_cast<int64_t>(tile.w) + t) * conv.channels + channel] = from_float<T>(activated<SILU, T>(sum));
    }
}

} // namespace

#define CONV_PARAMETERS(T)                                                                                             \
    const T *x, int64_t ld, const float *weight, const float *bias, const int *seg_off, const int *parent,             \
        const float *initial, const int4 *tiles, int n_tiles, T *y, int channels
#define CONV(T)                                                                                                        \
    Conv<T> { x, ld, weight, bias, seg_off, parent, initial, tiles, n_tiles, y, channels }

// Four blocks a multiprocessor hide more than the few spilled registers cost.
#define CAUSAL_CONV1D_TAPS(SILU, NAME, T, SUFFIX, TAPS, BLOCKS)                                                        \
    extern "C" __global__ void __launch_bounds__(128, BLOCKS) NAME##t##TAPS##_##SUFFIX(CONV_PARAMETERS(T)) {           \
        wait_for_inputs();                                                                                             \
        eight_channels<SILU, TAPS, 4>(CONV(T));                                                                        \
    }
#define CAUSAL_CONV1D_ANY(SILU, NAME, T, SUFFIX)                                                                       \
    extern "C" __global__ void NAME##any_##SUFFIX(CONV_PARAMETERS(T), int d_conv) {                                    \
        wait_for_inputs();                                                                                             \
        one_channel<SILU>(CONV(T), d_conv);                                                                            \
    }
#define CAUSAL_CONV1D(SILU, NAME)                                                                                      \
    CAUSAL_CONV1D_TAPS(SILU, NAME, float, f32, 2, 3)                                                                   \
    CAUSAL_CONV1D_TAPS(SILU, NAME, float, f32, 3, 3)                                                                   \
    CAUSAL_CONV1D_TAPS(SILU, NAME, float, f32, 4, 3)                                                                   \
    CAUSAL_CONV1D_TAPS(SILU, NAME, bf16, bf16, 2, 4)                                                                   \
    CAUSAL_CONV1D_TAPS(SILU, NAME, bf16, bf16, 3, 4)                                                                   \
    CAUSAL_CONV1D_TAPS(SILU, NAME, bf16, bf16, 4, 4)                                                                   \
    CAUSAL_CONV1D_ANY(SILU, NAME, float, f32)                                                                          \
    CAUSAL_CONV1D_ANY(SILU, NAME, bf16, bf16)
#define CAUSAL_CONV1D_STATES(T, SUFFIX)                                                                                \
    extern "C" __global__ void causal_conv1d_states_##SUFFIX(                                                          \
        const T *x, int64_t ld, const int *seg_off, const int *parent, const float *initial, float *states,            \
        int channels, int d_conv) {                                                                                    \
        wait_for_inputs();                                                                                             \
        const int segment = blockIdx.x, channel = blockIdx.y * blockDim.x + threadIdx.x;                               \
        if (channel >= channels) return;                                                                               \
        float *to = states + (static_cast<int64_t>(segment) * channels + channel) * d_conv;                            \
        const int length = seg_off[segment + 1] - seg_off[segment];                                                    \
        for (int k = 0; k < d_conv; ++k) {                                                                             \
            const Place place(seg_off, parent, segment, length - d_conv + k);                                          \
            to[k] = input(x, ld, seg_off, initial, channels, d_conv, place, channel);                                  \
        }                                                                                                              \
    }

CAUSAL_CONV1D(true, causal_conv1d_)
CAUSAL_CONV1D(false, causal_conv1d_plain_)
CAUSAL_CONV1D_STATES(float, f32)
CAUSAL_CONV1D_STATES(bf16, bf16)
