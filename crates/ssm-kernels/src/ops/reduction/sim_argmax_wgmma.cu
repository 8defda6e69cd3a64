// `sim_argmax` on the warpgroup matrix instruction of Hopper: same arguments and, to the bit, same results as
// sim_argmax_mma.cu.
//
// Launch: block 256, grid any up to unit_off[S]; as many blocks as multiprocessors is best, because loads run ahead
// over the ends of a block's units. Dynamic shared memory 197632 bytes (all of them). Units of BM x BN:
// - `sim_argmax_wgmma_bf16`: 128 x 256, for full streams
// - `sim_argmax_wgmma_small_bf16`: 64 x 128, for few or short segments
// - `sim_argmax_wgmma_f16` and `sim_argmax_wgmma_small_f16`: the same over float16 features, without `clip`
// Needs sm_90a; elsewhere the kernels are empty and must not be launched. Alignment as in sim_argmax_mma.cu.
// Bound by the way from L2 to shared memory: 1.0 GB for 16 x 1024 x 1024 x 2560 in units of 128 x 256. All threads
// load, since the rate of gathered 16-byte copies grows with the number of threads that issue them.
#include "sim_wgmma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int THREADS = 256;

// Two warpgroups: each multiplies 64 sources with all targets of a unit (BM 128), or all sources with half of the
// targets (BM 64).
template <int BM, int BN, int STAGES, bool HALF>
__device__ __forceinline__ void sim_argmax(const SimArgs<bf16> &args, bool clip) {
    using Loader = TileLoader<BM, BN, THREADS>;
    // The products of the stage before the current one may still be reading theirs.
    constexpr int AHEAD = STAGES - 2;
    constexpr int GROUP_TARGETS = BM == 128 ? BN : BN / 2;
    constexpr int N_TILES = GROUP_TARGETS / 8;
    extern __shared__ unsigned char dynamic[];
    __shared__ float inv_norms[BN];
    __shared__ int target_rows[BN];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int group_source = BM == 128 ? warp / 4 * 64 : 0, group_target = BM == 128 ? 0 : warp / 4 * GROUP_TARGETS;
    uint32_t base = (shared_address(dynamic) + 1023) / 1024 * 1024;

    int n_units = args.unit_off[args.n_segments];
    int n_steps = (args.width + TILE_K - 1) / TILE_K;
    Loader loader(args, n_units, threadIdx.x);
    int count = 0;  // steps so far, over all units
    for (int ahead = 0; ahead < AHEAD; ahead++) loader.load(base + ahead * Loader::STAGE_BYTES);

    for (int index = blockIdx.x; index < n_units; index += gridDim.x) {
        Unit unit = find_unit<BM, BN>(args, index);
        TargetInfo<BN> info;
        info.fetch(args, unit);
        float sums[N_TILES][4];
        for (int step = 0; step < n_steps; step++, count++) {
            uint32_t at = base + count % STAGES * Loader::STAGE_BYTES;
            copy_wait<AHEAD - 1>();
            if (clip) loader.clip(at);
            publish_to_products();
            __syncthreads();  // the stage is there for all, and the products of two steps ago are done for all
            products_begin();
            uint64_t sources = tile_descriptor(at + group_source * TILE_ROW_BYTES);
            uint64_t targets = tile_descriptor(at + (BM + group_target) * TILE_ROW_BYTES);
#pragma unroll
            for (int k = 0; k < TILE_K / 16; k++)  // 32 bytes further along the rows
                multiply_add<HALF>(sums, sources + k * 2, targets + k * 2, step > 0 || k > 0);
            products_commit();
            loader.load(base + (count + AHEAD) % STAGES * Loader::STAGE_BYTES);
            products_wait<1>();
        }
        products_wait<0>();
#pragma unroll
        for (int tile = 0; tile < N_TILES; tile++)
#pragma unroll
            for (int j = 0; j < 4; j++) asm volatile("" : "+f"(sums[tile][j])::"memory");  // not read before the wait
        info.share(inv_norms, target_rows);
        __syncthreads();
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int source = group_source + warp % 4 * 16 + half * 8 + lane / 4;
            auto product = [&](int tile, int j) { return sums[tile][half * 2 + j]; };
            keep_best<N_TILES>(args, unit, source, group_target, inv_norms, target_rows, product);
        }
    }
    copy_wait<0>();
}

#define RUN(BM, BN, STAGES, HALF) sim_argmax<BM, BN, STAGES, HALF>(SIM_ARGS(bf16), clip != 0)
#else
#define RUN(BM, BN, STAGES, HALF)
#endif

extern "C" __global__ void __launch_bounds__(256, 1) sim_argmax_wgmma_bf16(SIM_ARGMAX_PARAMETERS(bf16)) {
    wait_for_inputs();
    RUN(128, 256, 4, false);
}
extern "C" __global__ void __launch_bounds__(256, 1) sim_argmax_wgmma_small_bf16(SIM_ARGMAX_PARAMETERS(bf16)) {
    wait_for_inputs();
    RUN(64, 128, 8, false);
}
extern "C" __global__ void __launch_bounds__(256, 1) sim_argmax_wgmma_f16(SIM_ARGMAX_PARAMETERS(bf16)) {
    wait_for_inputs();
    RUN(128, 256, 4, true);
}
extern "C" __global__ void __launch_bounds__(256, 1) sim_argmax_wgmma_small_f16(SIM_ARGMAX_PARAMETERS(bf16)) {
    wait_for_inputs();
    RUN(64, 128, 8, true);
}
