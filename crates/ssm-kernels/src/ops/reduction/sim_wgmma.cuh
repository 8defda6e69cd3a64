// Hopper's warpgroup matrix instruction as `sim_argmax` uses it. Only for sm_90a.
#pragma once

#include "sim_tile.cuh"

// A tile of rows of 128 bytes, chunks swizzled by row % 8: 8 rows (1024 bytes) follow each other, swizzle mode 1.
__device__ __forceinline__ uint64_t tile_descriptor(uint32_t address) {
    return (uint64_t)(address >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING> __device__ __forceinline__ void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
// Makes what this thread wrote to shared memory visible to the matrix instruction.
__device__ __forceinline__ void publish_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// 64 x 64, 64 x 128 and 64 x 256 products of 16 features: `sums` of the four warps of a warpgroup, both operands in shared memory. Features
// are bfloat16, or float16 if HALF.
#define ROW(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define TEXT_64(TYPE) \
    "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n" \
    "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " " \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, " \
    "%32, %33, p, 1, 1, 0, 0;\n}\n"
#define ROWS_64 \
    ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7)
template <bool HALF>
__device__ __forceinline__ void multiply_add(float (&d)[8][4], uint64_t sources, uint64_t targets, int accumulate) {
    if constexpr (HALF) asm volatile(TEXT_64("f16") : ROWS_64 : "l"(sources), "l"(targets), "r"(accumulate));
    else asm volatile(TEXT_64("bf16") : ROWS_64 : "l"(sources), "l"(targets), "r"(accumulate));
}
#define TEXT_128(TYPE) \
    "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n" \
    "wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE " " \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, " \
    "%64, %65, p, 1, 1, 0, 0;\n}\n"
#define ROWS_128 \
    ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), \
    ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15)
template <bool HALF>
__device__ __forceinline__ void multiply_add(float (&d)[16][4], uint64_t sources, uint64_t targets, int accumulate) {
    if constexpr (HALF) asm volatile(TEXT_128("f16") : ROWS_128 : "l"(sources), "l"(targets), "r"(accumulate));
    else asm volatile(TEXT_128("bf16") : ROWS_128 : "l"(sources), "l"(targets), "r"(accumulate));
}

#define TEXT_256(TYPE) \
    "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n" \
    "wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE " " \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, " \
    "%128, %129, p, 1, 1, 0, 0;\n}\n"
#define ROWS_256 \
    ROW(0), ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), \
    ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15), \
    ROW(16), ROW(17), ROW(18), ROW(19), ROW(20), ROW(21), ROW(22), ROW(23), \
    ROW(24), ROW(25), ROW(26), ROW(27), ROW(28), ROW(29), ROW(30), ROW(31)
template <bool HALF>
__device__ __forceinline__ void multiply_add(float (&d)[32][4], uint64_t sources, uint64_t targets, int accumulate) {
    if constexpr (HALF) asm volatile(TEXT_256("f16") : ROWS_256 : "l"(sources), "l"(targets), "r"(accumulate));
    else asm volatile(TEXT_256("bf16") : ROWS_256 : "l"(sources), "l"(targets), "r"(accumulate));
}

#undef ROW
#undef TEXT_64
#undef ROWS_64
#undef TEXT_128
#undef ROWS_128
#undef TEXT_256
#undef ROWS_256
