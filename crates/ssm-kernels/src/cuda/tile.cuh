// Tiles of bf16 in shared memory and products of them, for a group of four warps (128 threads).
//
// A panel is 64 rows of 64 elements, 128 bytes a row; the 16-byte piece `c` of row `r` stands at piece `c ^ (r & 7)`, which keeps
// ldmatrix, stmatrix and row-wise 16-byte accesses free of bank conflicts and is the 128-byte swizzle of wgmma. A matrix wider
// than 64 is several panels. Products give warp `w` rows 16 w .. 16 w + 15, in the usual fragments: acc[j][0..1] is row lane / 4,
// columns 8 j + 2 (lane % 4) + {0, 1}; acc[j][2..3] the row eight further. On sm_90a they are asynchronous (wgmma), on other
// cards ordinary mma.sync with the same fragments, and the ordering functions do nothing.
#pragma once

#include "common.cuh"

constexpr int PANEL = 64 * 128; // bytes

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) && !defined(NO_WGMMA)
#define TILE_WGMMA 1
#else
#define TILE_WGMMA 0
#endif

// Where 16-byte piece `piece` of row `row` stands; `piece` may run over several panels.
__device__ __forceinline__ uint32_t piece_offset(int row, int piece) {
    return (piece >> 3) * PANEL + row * 128 + (((piece & 7) ^ (row & 7)) << 4);
}

// 16 bytes to shared memory in the background; zeros where `valid` is false.
__device__ __forceinline__ void copy_async(uint32_t to, const void *from, bool valid) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}

__device__ __forceinline__ uint32_t pack(float low, float high) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t &>(both);
}
__device__ __forceinline__ float2 unpack(uint32_t both) {
    return make_float2(__uint_as_float(both << 16), __uint_as_float(both & 0xffff0000u));
}

template <bool TRANSPOSED> __device__ __forceinline__ void load_matrices(uint32_t (&to)[4], uint32_t address) {
    if constexpr (TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
    }
}

// Rounds 16 rows from `row` of column tiles j and j + 1 (8 columns each) into a tile.
__device__ __forceinline__ void store_fragments(uint32_t tile, int row, int j, const float (&left)[4], const float (&right)[4]) {
    const int lane = threadIdx.x % WARP;
#if __CUDA_ARCH__ >= 900
    const uint32_t address = tile + piece_offset(row + (lane & 15), j + (lane >> 4));
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(pack(left[0], left[1])),
                 "r"(pack(left[2], left[3])), "r"(pack(right[0], right[1])), "r"(pack(right[2], right[3])) : "memory");
#else
    const int own = row + lane / 4, byte = 4 * (lane % 4);
    auto store = [](uint32_t to, uint32_t value) { asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(value) : "memory"); };
    store(tile + piece_offset(own, j) + byte, pack(left[0], left[1]));
    store(tile + piece_offset(own + 8, j) + byte, pack(left[2], left[3]));
    store(tile + piece_offset(own, j + 1) + byte, pack(right[0], right[1]));
    store(tile + piece_offset(own + 8, j + 1) + byte, pack(right[2], right[3]));
#endif
}

// The compiler may not move what computes `acc` below this.
template <int N> __device__ __forceinline__ void pin(float (&acc)[N][4]) {
#pragma unroll
    for (int j = 0; j < N; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) asm volatile("" : "+f"(acc[j][i])::"memory");
    }
}

#if TILE_WGMMA

// Descriptor of a swizzled tile: rows of 128 bytes in groups of eight, panels behind one another (the distance of panels counts
// only where the tile is read transposed). Adding bytes / 16 moves the address.
__device__ __forceinline__ uint64_t descriptor(uint32_t tile) {
    return uint64_t(tile >> 4) | uint64_t(PANEL >> 4) << 16 | uint64_t(1024 >> 4) << 32 | 1ull << 62;
}

#define TILE_ACC(j) "+f"(acc[j][0]), "+f"(acc[j][1]), "+f"(acc[j][2]), "+f"(acc[j][3])
#define TILE_ACC8(j) TILE_ACC(j), TILE_ACC(j + 1), TILE_ACC(j + 2), TILE_ACC(j + 3), TILE_ACC(j + 4), TILE_ACC(j + 5), TILE_ACC(j + 6), TILE_ACC(j + 7)
#define TILE_REGS_0_31                                                                                                      \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define TILE_REGS_32_39 "%32,%33,%34,%35,%36,%37,%38,%39"
#define TILE_REGS_32_63                                                                                                     \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60," \
    "%61,%62,%63"

__device__ __forceinline__ void wgmma(float (&acc)[8][4], uint64_t a, uint64_t b, bool accumulate) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" TILE_REGS_0_31 "}, %32, %33, p, 1, 1, 0, 0;\n}"
                 : TILE_ACC8(0) : "l"(a), "l"(b), "r"(int(accumulate)));
}
__device__ __forceinline__ void wgmma(float (&acc)[8][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" TILE_REGS_0_31 "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1;\n}"
                 : TILE_ACC8(0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)));
}
// B row by row, where the two above it take B^T.
__device__ __forceinline__ void wgmma_rows(float (&acc)[8][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" TILE_REGS_0_31 "}, {%32,%33,%34,%35}, %36, p, 1, 1, 0;\n}"
                 : TILE_ACC8(0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)));
}
__device__ __forceinline__ void wgmma(float (&acc)[10][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %45, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n80k16.f32.bf16.bf16 {" TILE_REGS_0_31 "," TILE_REGS_32_39
                 "}, {%40,%41,%42,%43}, %44, p, 1, 1, 1;\n}"
                 : TILE_ACC8(0), TILE_ACC(8), TILE_ACC(9)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)));
}
__device__ __forceinline__ void wgmma(float (&acc)[16][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" TILE_REGS_0_31 "," TILE_REGS_32_63
                 "}, {%64,%65,%66,%67}, %68, p, 1, 1, 1;\n}"
                 : TILE_ACC8(0), TILE_ACC8(8) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)));
}

// Before a product whose register operands were touched.
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// The products since the last call become one batch.
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// All but the last `PENDING` batches are done; `acc` is what is read next.
template <int PENDING, int N> __device__ __forceinline__ void products_wait(float (&acc)[N][4]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
    pin(acc);
}
// Shared memory written by ordinary stores may be read by products after the next barrier.
__device__ __forceinline__ void publish_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// acc (+)= A B^T: A is 64 x K at `a`, B is 64 x K at `b`.
template <int K> __device__ __forceinline__ void product(float (&acc)[8][4], uint32_t a, uint32_t b, int) {
#pragma unroll
    for (int k = 0; k < K / 16; k++) {
        const uint32_t offset = (k / 4) * PANEL + (k % 4) * 32;
        wgmma(acc, descriptor(a) + offset / 16, descriptor(b) + offset / 16, k != 0);
    }
}
// acc = A B^T: A is 64 x 16 STEPS in fragments, B is 64 x 16 STEPS at `b`.
template <int STEPS> __device__ __forceinline__ void product(float (&acc)[8][4], const uint32_t (&a)[STEPS][4], uint32_t b) {
#pragma unroll
    for (int k = 0; k < STEPS; k++) wgmma_rows(acc, a[k], descriptor(b) + ((k / 4) * PANEL + (k % 4) * 32) / 16, k != 0);
}
// acc (+)= A B: A is 64 x 64 in fragments, B is 64 x 8 N at `b`.
template <int N>
__device__ __forceinline__ void product(float (&acc)[N][4], const uint32_t (&a)[4][4], uint32_t b, bool accumulate, int) {
#pragma unroll
    for (int k = 0; k < 4; k++) wgmma(acc, a[k], descriptor(b) + k * 2048 / 16, accumulate || k != 0);
}

#else

__device__ __forceinline__ void products_begin() {}
__device__ __forceinline__ void products_commit() {}
template <int PENDING, int N> __device__ __forceinline__ void products_wait(float (&)[N][4]) {}
__device__ __forceinline__ void publish_to_products() {}

__device__ __forceinline__ void mma(float (&acc)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <int N> __device__ __forceinline__ void clear(float (&acc)[N][4]) {
#pragma unroll
    for (int j = 0; j < N; j++) acc[j][0] = acc[j][1] = acc[j][2] = acc[j][3] = 0.0f;
}

// acc = A B^T as above; only the first `columns` columns are needed.
template <int K> __device__ __forceinline__ void product(float (&acc)[8][4], uint32_t a, uint32_t b, int columns) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP % 4;
    clear(acc);
#pragma unroll
    for (int k = 0; k < K / 16; k++) {
        uint32_t rows[4];
        load_matrices<false>(rows, a + piece_offset(16 * warp + (lane & 15), 2 * k + (lane >> 4)));
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            if (8 * j >= columns) continue;
            uint32_t pair[4];
            load_matrices<false>(pair, b + piece_offset(8 * j + 8 * (lane >> 4) + (lane & 7), 2 * k + ((lane >> 3) & 1)));
            mma(acc[j], rows, pair[0], pair[1]);
            mma(acc[j + 1], rows, pair[2], pair[3]);
        }
    }
}
// acc = A B^T as above, A in fragments.
template <int STEPS> __device__ __forceinline__ void product(float (&acc)[8][4], const uint32_t (&a)[STEPS][4], uint32_t b) {
    const int lane = threadIdx.x % WARP;
    clear(acc);
#pragma unroll
    for (int k = 0; k < STEPS; k++) {
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            uint32_t pair[4];
            load_matrices<false>(pair, b + piece_offset(8 * j + 8 * (lane >> 4) + (lane & 7), 2 * k + ((lane >> 3) & 1)));
            mma(acc[j], a[k], pair[0], pair[1]);
            mma(acc[j + 1], a[k], pair[2], pair[3]);
        }
    }
}
// acc (+)= A B as above; only the first `depth` rows of B count.
template <int N>
__device__ __forceinline__ void product(float (&acc)[N][4], const uint32_t (&a)[4][4], uint32_t b, bool accumulate, int depth) {
    const int lane = threadIdx.x % WARP;
    if (!accumulate) clear(acc);
#pragma unroll
    for (int k = 0; k < 4; k++) {
        if (16 * k >= depth) continue;
#pragma unroll
        for (int j = 0; j < N; j += 2) {
            uint32_t pair[4];
            load_matrices<true>(pair, b + piece_offset(16 * k + (lane & 15), j + (lane >> 4)));
            mma(acc[j], a[k], pair[0], pair[1]);
            mma(acc[j + 1], a[k], pair[2], pair[3]);
        }
    }
}

#endif
