// Splits a fused projection into queries, keys and values and turns queries and keys by the position of their row.
//
// fused T [rows, (heads + 2 * kv_heads) * head_dim] without gaps: with head_by_head query, key and value of one head after
// the other (then kv_heads = heads), else all queries, all keys, all values; positions uint32 [rows]; frequencies float32
// [pairs]; queries T [rows, heads * head_dim], keys and values T [rows, kv_heads * head_dim]. Channels i and i + pairs of a
// head turn together by position * frequencies[i], channels from 2 * pairs on stay. The angle is rounded to float32 as
// upstream rounds it; sine and cosine are those of that angle to float32.
//
// Bound by memory: each value is read and written once.
//
// Launch: one block per row, any number of threads; 2 * pairs * 4 bytes of dynamic shared memory.
#include "common.cuh"

namespace {

template <typename T>
__device__ __forceinline__ void rotate_row(const T *fused, const uint32_t *positions, const float *frequencies,
                                           T *queries, T *keys, T *values, int heads, int kv_heads, int head_by_head,
                                           int head_dim, int pairs) {
    extern __shared__ float turns[]; // sines, then cosines
    const int row = blockIdx.x;
    for (int pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
        sincosf(static_cast<float>(positions[row]) * frequencies[pair], &turns[pair], &turns[pairs + pair]);
    }
    __syncthreads();
    const int width = heads * head_dim, kv_width = kv_heads * head_dim, all = width + 2 * kv_width;
    const T *from = fused + static_cast<int64_t>(row) * all;
    for (int column = threadIdx.x; column < all; column += blockDim.x) {
        const int place = column / head_dim, channel = column % head_dim; // a place holds one head of one part
        int part, head;
        if (head_by_head) {
            part = place % 3;
            head = place / 3;
        } else {
            part = place < heads ? 0 : place < heads + kv_heads ? 1 : 2;
            head = part == 0 ? place : place - heads - (part - 1) * kv_heads;
        }
        const int64_t to = static_cast<int64_t>(row) * (part == 0 ? width : kv_width) + head * head_dim + channel;
        if (part == 2) {
            values[to] = from[column];
            continue;
        }
        T *out = part == 0 ? queries : keys;
        if (channel >= 2 * pairs) {
            out[to] = from[column];
            continue;
        }
        // Of the pair (a, b) the first becomes a cos - b sin, the second b cos + a sin.
        const bool is_first = channel < pairs;
        const int pair = is_first ? channel : channel - pairs;
        const float own = to_float(from[column]), other = to_float(from[is_first ? column + pairs : column - pairs]);
        const float sine = is_first ? -turns[pair] : turns[pair];
        out[to] = from_float<T>(fmaf(other, sine, own * turns[pairs + pair]));
    }
}

} // namespace

#define ROTARY(T, SUFFIX)                                                                                              \
    extern "C" __global__ void rotary_##SUFFIX(const T *fused, const uint32_t *positions, const float *frequencies,    \
                                               T *queries, T *keys, T *values, int heads, int kv_heads,                \
                                               int head_by_head, int head_dim, int pairs) {                            \
        wait_for_inputs();                                                                                             \
        rotate_row(fused, positions, frequencies, queries, keys, values, heads, kv_heads, head_by_head, head_dim,      \
                   pairs);                                                                                             \
    }

ROTARY(float, f32)
ROTARY(bf16, bf16)
