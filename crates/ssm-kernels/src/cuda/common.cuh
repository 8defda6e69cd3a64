// What every kernel of this crate shares: element types, wide loads, reductions in a fixed order.
#pragma once

#include <cuda_bf16.h>
#include <stdint.h>

using bf16 = __nv_bfloat16;

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr float LOG2_E = 1.4426950408889634f;

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return __bfloat162float(value); }

template <typename T> __device__ __forceinline__ T from_float(float value);
template <> __device__ __forceinline__ float from_float<float>(float value) { return value; }
template <> __device__ __forceinline__ bf16 from_float<bf16>(float value) { return __float2bfloat16_rn(value); }

// The first statement of every kernel but those of decoding. From Hopper on a kernel is started when the blocks of the one before it
// in the stream have ended, before their results are visible (`Gpu::launch`); here it waits for the results. Only kernels of decoding
// let the next one start earlier: elsewhere its blocks would go where they find room, two on one multiprocessor beside an idle one.
__device__ __forceinline__ void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Elements of one 16-byte access.
template <typename T> constexpr int WIDE = 16 / sizeof(T);

__device__ __forceinline__ uint32_t shared_address(const void *pointer) { return uint32_t(__cvta_generic_to_shared(pointer)); }
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All but the last `PENDING` groups of copies of this thread have arrived.
template <int PENDING = 0> __device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// 16 bytes as elements; the address must be 16-byte aligned.
template <typename T> struct alignas(16) Wide {
    T at[WIDE<T>];
};
template <typename T> __device__ __forceinline__ Wide<T> load_wide(const T *from) {
    return *reinterpret_cast<const Wide<T> *>(from);
}
template <typename T> __device__ __forceinline__ void store_wide(T *to, const Wide<T> &value) {
    *reinterpret_cast<Wide<T> *>(to) = value;
}

// 2^x by the special function unit (2 ulp).
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ float exp_fast(float x) { return exp2_fast(x * LOG2_E); }
__device__ __forceinline__ float silu(float x) { return x / (1.0f + __expf(-x)); }
// ln(1 + e^x); above 20 it is x to float32.
__device__ __forceinline__ float softplus(float x) { return x > 20.0f ? x : log1pf(__expf(x)); }

// Larger and smaller of two numbers, and NaN if either is: `fmaxf` and `fminf` would return the other one. The bits for
// numbers are theirs, zeros included.
__device__ __forceinline__ float max_or_nan(float a, float b) {
    float y;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
}
__device__ __forceinline__ float min_or_nan(float a, float b) {
    float y;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
    return y;
}

// Sum over a warp in a fixed tree: the same bits whatever else runs.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}
__device__ __forceinline__ double warp_sum(double value) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}
