// Helpers of the kernels that work on rows: eight elements at a time, a sum over the threads of a row, SiLU by type.
#pragma once

#include "common.cuh"

// Elements that one thread takes of a row at a time in the fast kernels: 16 bytes of bf16, 32 bytes of float32.
constexpr int EIGHT = 8;

// Eight neighbouring elements as they lie in memory; the address must be 16-byte aligned.
template <typename T> struct Eight {
    Wide<T> part[EIGHT / WIDE<T>];
};
template <typename T> __device__ __forceinline__ Eight<T> load_eight(const T *from) {
    Eight<T> value;
#pragma unroll
    for (int i = 0; i < EIGHT / WIDE<T>; ++i) value.part[i] = load_wide(from + i * WIDE<T>);
    return value;
}
template <typename T> __device__ __forceinline__ float element(const Eight<T> &value, int i) {
    return to_float(value.part[i / WIDE<T>].at[i % WIDE<T>]);
}

// N elements (1 or 8) as float32.
template <int N, typename T> __device__ __forceinline__ void load_floats(const T *from, float (&to)[N]) {
    static_assert(N == 1 || N == EIGHT, "one element or eight");
    if constexpr (N == 1) {
        to[0] = to_float(*from);
    } else {
        const Eight<T> value = load_eight(from);
#pragma unroll
        for (int i = 0; i < N; ++i) to[i] = element(value, i);
    }
}

__device__ __forceinline__ void store_eight(float *to, const float (&value)[EIGHT]) {
#pragma unroll
    for (int i = 0; i < EIGHT; i += 4) {
        *reinterpret_cast<float4 *>(to + i) = make_float4(value[i], value[i + 1], value[i + 2], value[i + 3]);
    }
}
__device__ __forceinline__ void store_eight(bf16 *to, const float (&value)[EIGHT]) {
    alignas(16) __nv_bfloat162 pairs[EIGHT / 2];
#pragma unroll
    for (int i = 0; i < EIGHT / 2; ++i) pairs[i] = __floats2bfloat162_rn(value[2 * i], value[2 * i + 1]);
    *reinterpret_cast<uint4 *>(to) = *reinterpret_cast<const uint4 *>(pairs);
}

// N elements (1 or 8), rounded to T.
template <int N, typename T> __device__ __forceinline__ void store_floats(T *to, const float (&value)[N]) {
    if constexpr (N == 1) {
        *to = from_float<T>(value[0]);
    } else {
        store_eight(to, value);
    }
}

// x * sigmoid(x): to the last bits of float32 where the result stays float32, by the special function unit (a few
// ulp of float32, far below bf16) where it is rounded anyway. Large negative x give -0 in both.
template <typename T> __device__ __forceinline__ float silu_for(float x);
template <> __device__ __forceinline__ float silu_for<float>(float x) { return x / (1.0f + expf(-x)); }
template <> __device__ __forceinline__ float silu_for<bf16>(float x) {
    float sigmoid;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(sigmoid) : "f"(1.0f + exp_fast(-x)));
    return x * sigmoid;
}

// Row of this thread when a block holds blockDim.y rows; the rows past the end repeat the last one, so that every
// thread reaches the barriers.
__device__ __forceinline__ int row_of_thread() { return blockIdx.x * blockDim.y + threadIdx.y; }

// Sum over the threads of a row (threadIdx.x, whole warps) in a fixed order. Every thread of the block must come
// here; once per kernel, because nothing guards `partial` against the next use.
__device__ __forceinline__ float row_sum(float value) {
    __shared__ float partial[WARP];
    value = warp_sum(value);
    const int warps = blockDim.x / WARP;
    if (warps == 1) return value;
    float *own = partial + threadIdx.y * warps;
    if (threadIdx.x % WARP == 0) own[threadIdx.x / WARP] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < warps; ++warp) sum += own[warp];
    return sum;
}

// 1 / sqrt(mean square + eps).
__device__ __forceinline__ float rms_scale(float squares, int width, float eps) {
    // Where the sum overflows the scale would be 0, and the row would become zeros that look like numbers.
    return isinf(squares) ? nanf("") : 1.0f / sqrtf(squares / static_cast<float>(width) + eps);
}
