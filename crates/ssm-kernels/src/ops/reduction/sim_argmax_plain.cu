// `sim_argmax` in float32 arithmetic: for float32 models, and for bf16 rows of any width and alignment.
//
// Arguments and results as in sim_argmax_mma.cu, x T [tokens, ld], units of 128 x 128. Products of 64 features are
// summed by themselves before they join the total, which keeps a similarity within about 3e-7 of the exact one.
//
// Launch: block 256, grid any up to unit_off[S], no dynamic shared memory.
// - `sim_argmax_f32`: x 16 bytes aligned, width and ld multiples of 4
// - `sim_argmax_any_f32`, `sim_argmax_any_bf16`: anything
// Bound by FLOPs: 86 GFLOP, 1.3 ms at the float32 peak of an H100.
#include "sim_tile.cuh"

constexpr int BM = 128, BN = 128, BK = 16;
constexpr int THREADS = 256;
constexpr int PITCH = BM + 4;
constexpr int BLOCK_STEPS = 4;  // steps of BK features per partial sum

// Four neighbouring features of a row from `at`, zero beyond the width and for no row.
template <typename T, bool ALIGNED>
__device__ __forceinline__ float4 load_features(const T *x, int64_t ld, int row, int at, int width, bool clip) {
    float v[4] = {};
    if (row >= 0) {
        const T *from = x + row * ld + at;
        if (ALIGNED) {
            if (at < width) {
                float4 values = *reinterpret_cast<const float4 *>(from);
                v[0] = values.x, v[1] = values.y, v[2] = values.z, v[3] = values.w;
            }
        } else {
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (at + j < width) v[j] = to_float(from[j]);
        }
    }
    if (clip) {
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = max_or_nan(v[j], 0.0f);
    }
    return {v[0], v[1], v[2], v[3]};
}

// Threads 16 x 16; each computes 8 sources x 8 targets, in two halves 64 apart.
template <typename T, bool ALIGNED> __device__ __forceinline__ void sim_argmax(const SimArgs<T> &args, bool clip) {
    __shared__ __align__(16) float tiles[2][BK][PITCH];  // sources, targets; feature-major
    __shared__ float inv_norms[BN];
    __shared__ int target_rows[BN];
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    int load_row = threadIdx.x / 4, load_at = threadIdx.x % 4 * 4;
    int n_units = args.unit_off[args.n_segments];
    for (int index = blockIdx.x; index < n_units; index += gridDim.x) {
        Unit unit = find_unit<BM, BN>(args, index);
        int rows[2][2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = load_row + half * 64;
            rows[0][half] = row < unit.n_sources ? args.sources[unit.source + row] : -1;
            rows[1][half] = row < unit.n_targets ? args.targets[unit.target + row] : -1;
        }
        if (threadIdx.x < BN) {
            bool present = threadIdx.x < unit.n_targets;
            int row = present ? args.targets[unit.target + threadIdx.x] : 0;
            target_rows[threadIdx.x] = row;
            inv_norms[threadIdx.x] = present ? args.inv_norm[row] : 0.0f;
        }
        float4 next[2][2];
        auto fetch = [&](int k) {
#pragma unroll
            for (int side = 0; side < 2; side++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    next[side][half] =
                        load_features<T, ALIGNED>(args.x, args.ld, rows[side][half], k + load_at, args.width, clip);
        };
        float total[8][8] = {}, part[8][8] = {};
        fetch(0);
        int step = 0;
        for (int k = 0; k < args.width; k += BK) {
#pragma unroll
            for (int side = 0; side < 2; side++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float4 v = next[side][half];
                    int row = load_row + half * 64;
                    tiles[side][load_at][row] = v.x;
                    tiles[side][load_at + 1][row] = v.y;
                    tiles[side][load_at + 2][row] = v.z;
                    tiles[side][load_at + 3][row] = v.w;
                }
            __syncthreads();
            if (k + BK < args.width) fetch(k + BK);
#pragma unroll
            for (int feature = 0; feature < BK; feature++) {
                float a[8], b[8];
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    *reinterpret_cast<float4 *>(a + half * 4) =
                        *reinterpret_cast<const float4 *>(&tiles[0][feature][half * 64 + ty * 4]);
                    *reinterpret_cast<float4 *>(b + half * 4) =
                        *reinterpret_cast<const float4 *>(&tiles[1][feature][half * 64 + tx * 4]);
                }
#pragma unroll
                for (int i = 0; i < 8; i++)
#pragma unroll
                    for (int j = 0; j < 8; j++) part[i][j] += a[i] * b[j];
            }
            if (++step % BLOCK_STEPS == 0 || k + BK >= args.width) {
#pragma unroll
                for (int i = 0; i < 8; i++)
#pragma unroll
                    for (int j = 0; j < 8; j++) {
                        total[i][j] += part[i][j];
                        part[i][j] = 0.0f;
                    }
            }
            __syncthreads();
        }
        if (args.width <= 0) __syncthreads();
#pragma unroll
        for (int i = 0; i < 8; i++) {
            int source = i / 4 * 64 + ty * 4 + i % 4;
            bool present = source < unit.n_sources;
            float inv_source = present ? args.inv_norm[args.sources[unit.source + source]] : 0.0f;
            BestEdge best;
#pragma unroll
            for (int j = 0; j < 8; j++) {
                int column = j / 4 * 64 + tx * 4 + j % 4;
                if (unit.compares(source, column))
                    best.offer(total[i][j] * inv_source * inv_norms[column], column, unit.n_targets);
            }
            unsigned long long key = lane_max<16>(best.key(target_rows));
            if (tx == 0 && present && key) atomicMax(&args.edges[unit.source + source], key);
        }
        __syncthreads();
    }
}

#define SIM_ARGMAX_PLAIN(name, T, ALIGNED)                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) name(SIM_ARGMAX_PARAMETERS(T)) {                          \
        wait_for_inputs();                                                                                             \
        sim_argmax<T, ALIGNED>(SIM_ARGS(T), clip != 0);                                                                \
    }

SIM_ARGMAX_PLAIN(sim_argmax_f32, float, true)
SIM_ARGMAX_PLAIN(sim_argmax_any_f32, float, false)
SIM_ARGMAX_PLAIN(sim_argmax_any_bf16, bf16, false)
