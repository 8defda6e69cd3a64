// `sim_argmax`: for each source its most similar target of the segment, on the tensor cores through mma.sync.
//
// similarity(a, b) = a . b * inv_norm[a] * inv_norm[b], products float32 from bf16; negative features count as zero if
// `clip`. Of equals the lowest target; a source with a similarity that is NaN or infinite gets an edge whose similarity is
// above all numbers, which `select_pairs` notes.
//
// - x bf16 [tokens, ld], `width` columns used; inv_norm f32 [tokens] (of the clipped rows if `clip`)
// - sources int32 [src_off[S]], targets int32 [tgt_off[S]]: arriving rows, ascending per segment
// - unit_off int32 [S + 1]: running sum of the units of segments; window: see sim_tile.cuh. A source without a target in its window
//   keeps the edge 0
// - edges u64 [src_off[S]], zero before: key of the similarity << 32 | (2^32 - 1 - target row), see select.cuh
//
// Launch: block 256, grid any up to unit_off[S] (units are dealt out in turn), dynamic shared memory
// STAGES * (128 + BN) * 128 bytes:
// - `sim_argmax_bf16`: BN 128, 3 stages, 98304 bytes, two blocks per multiprocessor
// - `sim_argmax_f16`: as the first, over float16 features, without `clip`
// Needs sm_80. Alignment: x 16 bytes, width and ld multiples of 8; else `sim_argmax_any_bf16`.
// Bound by FLOPs: 86 GFLOP for 16 x 1024 x 1024 x 2560, 0.09 ms at the dense peak of an H100 (which mma.sync does not
// reach) and by reads of L2: 1.3 GB.
#include "sim_tile.cuh"

constexpr int BM = 128, THREADS = 256;

__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}
#define MULTIPLY_ADD(TYPE)                                                                                             \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "     \
                 "{%8, %9}, {%0, %1, %2, %3};"                                                                         \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                      \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
template <bool HALF>
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    if constexpr (HALF) MULTIPLY_ADD("f16");
    else MULTIPLY_ADD("bf16");
}
#undef MULTIPLY_ADD

// Eight warps, 2 x 4; each computes 64 sources x BN / 4 targets.
template <int BN, int STAGES, bool HALF>
__device__ __forceinline__ void sim_argmax(const SimArgs<bf16> &args, bool clip) {
    using Loader = TileLoader<BM, BN, THREADS>;
    constexpr int M_TILES = 4, N_TILES = BN / 32;
    extern __shared__ __align__(1024) unsigned char stages[];
    __shared__ float inv_norms[BN];
    __shared__ int target_rows[BN];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int warp_source = warp / 4 * 64, warp_target = warp % 4 * (BN / 4);
    uint32_t base = shared_address(stages);
    // Lane l hands ldmatrix one row of one 8 x 8 matrix; a row's place in its group of eight decides the swizzle.
    int a_row = warp_source + lane % 16, a_chunk = lane / 16;
    int b_row = BM + warp_target + lane % 8 + lane / 16 * 8, b_chunk = lane / 8 % 2;

    int n_units = args.unit_off[args.n_segments];
    int n_steps = (args.width + TILE_K - 1) / TILE_K;
    Loader loader(args, n_units, threadIdx.x);
    int load_stage = 0, stage = 0;
    auto load = [&] {
        loader.load(base + load_stage * Loader::STAGE_BYTES);
        load_stage = load_stage + 1 < STAGES ? load_stage + 1 : 0;
    };
    for (int ahead = 0; ahead < STAGES - 1; ahead++) load();

    for (int index = blockIdx.x; index < n_units; index += gridDim.x) {
        Unit unit = find_unit<BM, BN>(args, index);
        TargetInfo<BN> info;
        info.fetch(args, unit);
        float sums[M_TILES][N_TILES][4] = {};
        for (int step = 0; step < n_steps; step++) {
            uint32_t at = base + stage * Loader::STAGE_BYTES;
            copy_wait<STAGES - 2>();
            if (clip) loader.clip(at);
            __syncthreads();  // the stage is there for all, and the one before it is free
            load();
#pragma unroll
            for (int k = 0; k < TILE_K / 16; k++) {
                uint32_t a[M_TILES][4];
#pragma unroll
                for (int m = 0; m < M_TILES; m++)
                    load_matrices(a[m], at + (a_row + m * 16) * TILE_ROW_BYTES + ((k * 2 + a_chunk) ^ a_row % 8) * 16);
#pragma unroll
                for (int n = 0; n < N_TILES; n += 2) {
                    uint32_t b[4];
                    load_matrices(b, at + (b_row + n * 8) * TILE_ROW_BYTES + ((k * 2 + b_chunk) ^ b_row % 8) * 16);
#pragma unroll
                    for (int m = 0; m < M_TILES; m++) {
                        multiply_add<HALF>(sums[m][n], a[m], b[0], b[1]);
                        multiply_add<HALF>(sums[m][n + 1], a[m], b[2], b[3]);
                    }
                }
            }
            stage = stage + 1 < STAGES ? stage + 1 : 0;
        }
        info.share(inv_norms, target_rows);
        __syncthreads();
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int source = warp_source + m * 16 + half * 8 + lane / 4;
                auto product = [&](int tile, int j) { return sums[m][tile][half * 2 + j]; };
                keep_best<N_TILES>(args, unit, source, warp_target, inv_norms, target_rows, product);
            }
    }
    copy_wait<0>();
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) sim_argmax_bf16(SIM_ARGMAX_PARAMETERS(bf16)) {
    wait_for_inputs();
    sim_argmax<128, 3, false>(SIM_ARGS(bf16), clip != 0);
}
extern "C" __global__ void __launch_bounds__(THREADS, 2) sim_argmax_f16(SIM_ARGMAX_PARAMETERS(bf16)) {
    wait_for_inputs();
    sim_argmax<128, 3, true>(SIM_ARGS(bf16), clip != 0);
}
