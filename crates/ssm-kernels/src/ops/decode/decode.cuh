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

// After it, the next kernel's blocks may start where there is room, fetch what no kernel of this step writes, and wait. It follows
// the wait for inputs, so that whatever the next kernel fetches early was written before this kernel began.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Weights that a later kernel reads: the memory has time for them while this one waits. Each block asks for its share.
struct Coming {
    const unsigned char *from;
    int bytes;

    __device__ __forceinline__ void ask() const {
#if __CUDA_ARCH__ >= 900
        constexpr int PIECE = 2048;
        const int blocks = gridDim.x * gridDim.y, block = blockIdx.y * gridDim.x + blockIdx.x;
        for (int at = (threadIdx.x * blocks + block) * PIECE; at < bytes; at += blocks * blockDim.x * PIECE) {
            asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from + at), "r"(min(PIECE, bytes - at)) : "memory");
        }
#endif
    }
};

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

// A row that a norm reads next, 16 neighbouring channels at a time, one per thread of half a warp.
struct NormedRows {
    const float *weight; // of the norm
    bf16 *rows;          // [rows][width], times the weight
    float *parts;        // [rows][width / 16]
    int width;

    __device__ __forceinline__ void put(int row, int channel, float value, bool there) const {
        if (there) rows[int64_t(row) * width + channel] = from_float<bf16>(value * weight[channel]);
        float square = there ? value * value : 0.0f;
#pragma unroll
        for (int offset = 8; offset > 0; offset /= 2) square += __shfl_xor_sync(ALL_LANES, square, offset);
        if (channel % 16 == 0 && there) parts[row * (width / 16) + channel / 16] = square;
    }
};
