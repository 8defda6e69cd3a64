// What the kernels of a decoding step share. A step is one token of each of up to 32 sequences through the whole model.
//
// RMS norms have no kernels of their own: who writes a row also writes it times the norm's weight, and the sum of its squares in
// parts; who reads the product of that row divides by the root of their mean. One row's parts are summed in a fixed order, so a
// sequence has the same bits in every batch.
#pragma once

#include "common.cuh"

constexpr int D_CONV = 4; // taps of every convolution

// As the layers store it.
__device__ __forceinline__ float rounded(float value) { return to_float(from_float<bf16>(value)); }

// After it, the next kernel's blocks may start where there is room, read what is known to be written, and wait. A product calls it after
// its wait. So every kernel after in_proj starts when the layer before has ended, and may read what that layer wrote. in_proj itself
// may read early only what an earlier step wrote. The scans call it before their wait: out_proj copies its weights meanwhile. What an
// earlier kernel wrote is read through the L2 cache (__ldcg), since the reader has not waited for it yet.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Sums of squares of each row: `parts` [rows][n], mean over `width` channels. No norm: null.
struct Squares {
    const float *parts;
    int n, width;
    float eps;

    // The factor of the norm, by a whole warp.
    __device__ __forceinline__ float scale(int row) const {
        if (!parts) return 1.0f;
        float own = 0.0f;
        for (int i = threadIdx.x % WARP; i < n; i += WARP) own += parts[row * n + i];
        return rsqrtf(warp_sum(own) / width + eps);
    }
};

// Rows that a norm reads next.
struct NormedRows {
    const float *weight; // of the norm
    bf16 *rows;          // [rows][width], times the weight
    float *parts;        // [rows][n]: sums of squares
    int width, n;

    // A value times its weight.
    __device__ __forceinline__ void put(int row, int channel, float weighted) const {
        rows[int64_t(row) * width + channel] = from_float<bf16>(weighted);
    }
    // By a whole warp: the lanes' sum is a part of the row's.
    __device__ __forceinline__ void put_squares(int row, int part, float square) const {
        square = warp_sum(square);
        if (threadIdx.x % WARP == 0) parts[row * n + part] = square;
    }
};

// The convolution of a mixer. A ring keeps the last D_CONV tokens; the new one takes the place of the oldest, which is not read.
struct Convolution {
    const float *weight, *bias; // [D_CONV][channels], [channels]
    float *ring;                // [D_CONV][rows][channels]
    const int *counter;         // [rows]: tokens so far; the ring has token t at t % D_CONV
    int channels, rows;

    __device__ __forceinline__ float newest(int channel) const { return weight[(D_CONV - 1) * channels + channel]; }
    // The sum without the new token, whose place in the ring is `place`.
    __device__ __forceinline__ float older(int row, int channel, int &place) const {
        const int token = __ldcg(counter + row);
        auto at = [&](int token) { return (token % D_CONV * rows + row) * channels + channel; };
        float sum = bias[channel];
#pragma unroll
        for (int back = 1; back < D_CONV; back++) {
            sum = fmaf(weight[(D_CONV - 1 - back) * channels + channel], __ldcg(ring + at(token - back)), sum);
        }
        place = at(token);
        return sum;
    }
    static __device__ __forceinline__ float result(float now, float newest, float older) { return silu(fmaf(newest, now, older)); }
};
