// What the variants of `sim_argmax` share: units of work, gathered tiles in shared memory, the best edge of a row.
//
// A unit is one tile of BM sources against one tile of BN targets of the same segment. Units are independent: each puts
// its best edge per source into `edges` by an integer maximum, whose result does not depend on the order of arrival.
#pragma once

#include "select.cuh"

// x T [tokens, ld], its inverse norms, and the sources and targets of S segments (`partition` made them).
// unit_off int32 [S + 1]: segment s has ceil(sources / BM) * target_tiles<BM, BN>(targets, window) units, or where window is LATER
// units_before<BN / BM>(ceil(targets / BN), ceil(sources / BM)).
// window: source i of a segment is compared with its targets j of |i - j| < window alone; 0: with all; LATER: with those of j > i.
constexpr int LATER = -1;
template <typename T> struct SimArgs {
    const T *x;
    int64_t ld;
    int width;
    const float *inv_norm;
    const int *sources, *targets, *src_off, *tgt_off, *unit_off;
    int n_segments, window;
    unsigned long long *edges;
};

// The rows of a unit: `n_sources` from sources[source], `n_targets` from targets[target]. In its segment's lists the first source
// is `ahead` places ahead of the first target.
struct Unit {
    int source, n_sources, target, n_targets, ahead, window;

    __device__ __forceinline__ bool compares(int source, int target) const {
        if (window == LATER) return target > ahead + source;
        return window == 0 || abs(ahead + source - target) < window;
    }
};

// Tiles of targets that a tile of sources is compared with; the last ones may be empty. `Counts::units` says the same.
template <int BM, int BN> __device__ __forceinline__ int target_tiles(int n_targets, int window) {
    const int all = (n_targets + BN - 1) / BN;
    return window == 0 ? all : min(all, (BM + 2 * window - 2 + BN - 1) / BN + 1);
}

// Units of the target tiles before tile `target` where sources are compared with later targets: the units of a tile are the source
// tiles that begin before it ends, of `source_tiles` in all. A target tile is as long as RATIO source tiles.
template <int RATIO> __device__ __forceinline__ int units_before(int target, int source_tiles) {
    const int growing = min(target, source_tiles / RATIO);  // tiles that do not see all sources, and the first that does
    return RATIO * (growing * (growing + 1) / 2) + (target - growing) * source_tiles;
}

template <int BM, int BN, typename T> __device__ __forceinline__ Unit find_unit(const SimArgs<T> &args, int index) {
    int segment = 0, end = args.n_segments;  // the last segment that starts at or before `index`
    while (end - segment > 1) {
        int middle = (segment + end) / 2;
        if (args.unit_off[middle] <= index) segment = middle;
        else end = middle;
    }
    int src = args.src_off[segment], n_sources = args.src_off[segment + 1] - src;
    int tgt = args.tgt_off[segment], n_targets = args.tgt_off[segment + 1] - tgt;
    int source_tiles = (n_sources + BM - 1) / BM;
    int local = index - args.unit_off[segment];
    if (args.window == LATER) {
        static_assert(BN % BM == 0, "a target tile is as long as some source tiles");
        int tile = 0, tiles = (n_targets + BN - 1) / BN;  // the last tile whose units start at or before `local`
        while (tiles - tile > 1) {
            int middle = (tile + tiles) / 2;
            if (units_before<BN / BM>(middle, source_tiles) <= local) tile = middle;
            else tiles = middle;
        }
        int first_source = (local - units_before<BN / BM>(tile, source_tiles)) * BM, first_target = tile * BN;
        return {src + first_source, min(BM, n_sources - first_source), tgt + first_target,
                min(BN, n_targets - first_target), first_source - first_target, args.window};
    }
    int first_source = local % source_tiles * BM;
    int first_tile = args.window == 0 ? 0 : max(first_source - args.window + 1, 0) / BN;
    int first_target = (first_tile + local / source_tiles) * BN;
    return {src + first_source, min(BM, n_sources - first_source), tgt + first_target,
            max(min(BN, n_targets - first_target), 0), first_source - first_target, args.window};
}

// Best edge of one source among the columns that a thread holds, which it visits in ascending order.
struct BestEdge {
    float similarity = -INFINITY;
    int column = -1;
    float faults = 0.0f;  // 0 times every similarity: NaN if one of them is no finite number

    __device__ __forceinline__ void offer(float value, int at, int n_columns) {
        if (at >= n_columns) return;
        faults = fmaf(value, 0.0f, faults);
        if (column < 0 || value > similarity) {
            similarity = value;
            column = at;
        }
    }
    // A source with a similarity that is no finite number gets a key above all numbers, so that none of them hides it.
    __device__ __forceinline__ unsigned long long key(const int *column_row) const {
        if (column < 0) return 0;
        unsigned long long best = edge_key(similarity, column_row[column]);
        return isnan(faults) ? best | 0xffffffffull << 32 : best;
    }
};

// The largest key of LANES neighbouring lanes.
template <int LANES> __device__ __forceinline__ unsigned long long lane_max(unsigned long long key) {
#pragma unroll
    for (int offset = 1; offset < LANES; offset *= 2) {
        unsigned long long other = __shfl_xor_sync(ALL_LANES, key, offset);
        key = other > key ? other : key;
    }
    return key;
}

// ---- bf16 tiles: rows of 64 features (128 bytes), 16-byte chunks swizzled by row % 8 ----

constexpr int TILE_K = 64;
constexpr int TILE_ROW_BYTES = TILE_K * sizeof(bf16);
constexpr int CHUNKS = TILE_ROW_BYTES / 16;

// 16 bytes to shared memory without passing through registers; `bytes` 0 writes zeros.
__device__ __forceinline__ void copy_async(uint32_t to, const void *from, int bytes) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// Brings the tiles of a block's units to shared memory, one stage (64 features of BM + BN rows) per call, running ahead
// of the arithmetic over the ends of units. Of THREADS threads, `thread` loads chunk thread % 8 of rows thread / 8,
// thread / 8 + THREADS / 8, ...
// Rows beyond a tile's end are left as they are: they only reach results that nobody reads.
template <int BM, int BN, int THREADS> struct TileLoader {
    static constexpr int ROWS_PER_PASS = THREADS / CHUNKS;
    static constexpr int PASSES = (BM + BN) / ROWS_PER_PASS;
    static constexpr int STAGE_BYTES = (BM + BN) * TILE_ROW_BYTES;

    const SimArgs<bf16> &args;
    int n_units, thread;
    int unit = blockIdx.x;
    int k = 0;
    int rows[PASSES];

    __device__ __forceinline__ TileLoader(const SimArgs<bf16> &args, int n_units, int thread)
        : args(args), n_units(n_units), thread(thread) {}

    // Offset of this thread's first chunk in a stage.
    __device__ __forceinline__ uint32_t own_chunk() const {
        int row = thread / CHUNKS, chunk = thread % CHUNKS;
        return row * TILE_ROW_BYTES + (chunk ^ row % 8) * 16;
    }

    __device__ __forceinline__ void load(uint32_t stage) {
        if (unit < n_units) {
            if (k == 0) find_rows();
            int feature = k + thread % CHUNKS * 8;
            int bytes = feature < args.width ? 16 : 0;
            const bf16 *from = args.x + (feature < args.width ? feature : 0);
#pragma unroll
            for (int pass = 0; pass < PASSES; pass++)
                if (rows[pass] >= 0)
                    copy_async(stage + own_chunk() + pass * ROWS_PER_PASS * TILE_ROW_BYTES,
                               from + rows[pass] * args.ld, bytes);
            k += TILE_K;
            if (k >= args.width) {
                k = 0;
                unit += gridDim.x;
            }
        }
        copy_commit();
    }

    __device__ __forceinline__ void find_rows() {
        Unit at = find_unit<BM, BN>(args, unit);
#pragma unroll
        for (int pass = 0; pass < PASSES; pass++) {
            int row = thread / CHUNKS + pass * ROWS_PER_PASS;
            if (row < BM) rows[pass] = row < at.n_sources ? args.sources[at.source + row] : -1;
            else rows[pass] = row - BM < at.n_targets ? args.targets[at.target + row - BM] : -1;
        }
    }

    // Negative features to zero (NaN stays NaN), in the chunks that this thread loaded itself: no barrier is needed before.
    __device__ __forceinline__ void clip(uint32_t stage) const {
#pragma unroll 4
        for (int pass = 0; pass < PASSES; pass++) {
            uint32_t at = stage + own_chunk() + pass * ROWS_PER_PASS * TILE_ROW_BYTES;
            uint32_t v[4];
            asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                         : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                         : "r"(at));
#pragma unroll
            for (int j = 0; j < 4; j++) asm("max.NaN.bf16x2 %0, %0, %1;" : "+r"(v[j]) : "r"(0));
            asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(v[0]), "r"(v[1]), "r"(v[2]),
                         "r"(v[3])
                         : "memory");
        }
    }
};

// Inverse norms and rows of the targets of a unit, fetched into registers while the products run, then shared. The
// caller puts a barrier after it.
template <int BN> struct TargetInfo {
    float inv_norm = 0.0f;
    int row = 0;

    __device__ __forceinline__ void fetch(const SimArgs<bf16> &args, Unit unit) {
        if (threadIdx.x < unit.n_targets) {
            row = args.targets[unit.target + threadIdx.x];
            inv_norm = args.inv_norm[row];
        }
    }
    __device__ __forceinline__ void share(float *inv_norms, int *target_rows) const {
        if (threadIdx.x < BN) {
            inv_norms[threadIdx.x] = inv_norm;
            target_rows[threadIdx.x] = row;
        }
    }
};

// Offers the products of one source with N_TILES x 2 targets, as the accumulators of a tensor core instruction hold
// them (four lanes share a row), and puts the best edge into `edges`. `product(tile, j)`: target first + 8 tile + j.
template <int N_TILES, typename Product>
__device__ __forceinline__ void keep_best(const SimArgs<bf16> &args, Unit unit, int source, int first,
                                          const float *inv_norms, const int *target_rows, Product product) {
    bool present = source < unit.n_sources;
    float inv_source = present ? args.inv_norm[args.sources[unit.source + source]] : 0.0f;
    first += threadIdx.x % 4 * 2;
    BestEdge best;
#pragma unroll
    for (int tile = 0; tile < N_TILES; tile++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = first + tile * 8 + j;
            if (unit.compares(source, column))
                best.offer(product(tile, j) * inv_source * inv_norms[column], column, unit.n_targets);
        }
    unsigned long long key = lane_max<4>(best.key(target_rows));
    if (threadIdx.x % 4 == 0 && present && key) atomicMax(&args.edges[unit.source + source], key);
}

#define SIM_ARGMAX_PARAMETERS(T)                                                                                       \
    const T *__restrict__ x, int64_t ld, int width, const float *__restrict__ inv_norm, int clip,                      \
        const int *__restrict__ sources, const int *__restrict__ targets, const int *__restrict__ src_off,             \
        const int *__restrict__ tgt_off, const int *__restrict__ unit_off, int n_segments, int window,                 \
        unsigned long long *__restrict__ edges
#define SIM_ARGS(T)                                                                                                    \
    SimArgs<T> { x, ld, width, inv_norm, sources, targets, src_off, tgt_off, unit_off, n_segments, window, edges }
