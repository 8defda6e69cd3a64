// Selective scan for many sequences: two lanes a channel, token after token.
#pragma once

#include "scan.cuh"

constexpr int PAIR_THREADS = 128;
constexpr int PAIR_CHANNELS = PAIR_THREADS / 2; // of one block

// Tokens unrolled, and the blocks that should fit one multiprocessor: measured, a trade of registers against warps.
template <typename T> constexpr int PAIR_GROUP = sizeof(T) == 2 ? 8 : 4;
template <typename T> constexpr int PAIR_BLOCKS = sizeof(T) == 2 ? 5 : 6;
// Tokens staged at a time.
template <typename T> constexpr int PAIR_TILE = 32 / sizeof(T);

// Shared memory of one block: two stages, one computed while the other is on its way. A warp's activations are its own
// affair: only B and C need the whole block. The gated output replaces x, each value by the thread that read it.
template <typename T> struct alignas(16) PairTile {
    static constexpr int COLUMNS = WARP / 2; // channels of a warp
    float bc[2][PAIR_TILE<T>][2 * D_STATE];  // B | C
    struct Activations {
        T x[PAIR_TILE<T>][COLUMNS], dt[PAIR_TILE<T>][COLUMNS], z[PAIR_TILE<T>][COLUMNS];
    } warp[PAIR_THREADS / WARP][2];
};

// One block scans PAIR_CHANNELS channels of one work item. Of a channel's 16 states each lane of a pair holds 8, so B and
// C of a token are 16 values a thread. What a token needs besides its states (dt, gate, store) is the affair of one lane,
// the even tokens of the first and the odd ones of the second.
template <typename T> struct PairScan {
    static constexpr int TILE = PAIR_TILE<T>;
    static constexpr int GROUP = PAIR_GROUP<T>;
    static constexpr int COLUMNS = PairTile<T>::COLUMNS;
    static constexpr int CHUNKS = COLUMNS / WIDE<T>;   // 16-byte accesses of one token of a warp
    static constexpr int ROWS = WARP / CHUNKS;         // tokens of one access by the whole warp
    static constexpr int WARPS = PAIR_THREADS / WARP;
    static constexpr int STAGED = TILE / WARPS;        // values of B and C of one thread
    using Activations = typename PairTile<T>::Activations;

    const ScanArguments<T> &in;
    PairTile<T> &tile;
    int lane, odd;        // in the warp, in the pair
    int column;           // of this thread's channel in the warp
    int warp_channel;     // of column 0
    int channel;          // of this thread; the last one again where d_inner ends
    bool live;            // whether it exists
    bool wide;            // whether 16-byte accesses are legal
    const T *bc_column;   // the column of B or C that this lane stages
    float dt_bias, d;
    float a[HALF], h[HALF];

    __device__ __forceinline__ PairScan(const ScanArguments<T> &arguments, PairTile<T> &shared, int first_channel)
        : in(arguments), tile(shared) {
        lane = threadIdx.x % WARP;
        odd = lane & 1;
        column = lane / 2;
        warp_channel = first_channel + (int)threadIdx.x / WARP * COLUMNS;
        live = warp_channel + column < in.d_inner;
        channel = min(warp_channel + column, in.d_inner - 1);
        const uintptr_t addresses = (uintptr_t)in.x | (uintptr_t)in.dt_raw | (uintptr_t)in.z | (uintptr_t)in.gated;
        wide = addresses % 16 == 0 && in.d_inner % WIDE<T> == 0 && (in.z == nullptr || in.ld_z % WIDE<T> == 0);
        bc_column = in.projected + (lane < D_STATE ? in.b_start + lane : in.c_start + lane - D_STATE);
        dt_bias = in.dt_bias[channel];
        d = in.d[channel];
#pragma unroll
        for (int i = 0; i < HALF; ++i) a[i] = in.a[(int64_t)(odd * HALF + i) * in.d_inner + channel] * LOG2_E;
    }

    __device__ __forceinline__ void load_states(const float *from) {
#pragma unroll
        for (int i = 0; i < HALF; ++i) h[i] = from ? from[(int64_t)channel * D_STATE + odd * HALF + i] : 0.0f;
    }
    __device__ __forceinline__ void store_states(float *to) const {
        if (!live) return;
#pragma unroll
        for (int i = 0; i < HALF; ++i) to[(int64_t)channel * D_STATE + odd * HALF + i] = h[i];
    }

    // B and C of the tile at `row`: each warp a token, each lane a column; zero beyond the end, so that idle tokens add
    // nothing.
    __device__ __forceinline__ void load_bc(T (&part)[STAGED], int row, int end) const {
        const int first = row + (int)threadIdx.x / WARP;
        const T *from = at_row(bc_column, first, in.ld_projected);
#pragma unroll
        for (int i = 0; i < STAGED; ++i)
            part[i] = i * WARPS < end - first ? *at_row(from, i * WARPS, in.ld_projected) : from_float<T>(0.0f);
    }
    __device__ __forceinline__ void stage_bc(const T (&part)[STAGED], float (*to)[2 * D_STATE]) const {
#pragma unroll
        for (int i = 0; i < STAGED; ++i) to[threadIdx.x / WARP + i * WARPS][lane] = to_float(part[i]);
    }

    // Starts the copy of this warp's part of the tile at `row`; zeros beyond the end.
    __device__ __forceinline__ void stage(Activations &to, int row, int end) const {
        if (wide) {
            const int first = lane / CHUNKS, chunk = lane % CHUNKS * WIDE<T>;
            const int rows = warp_channel + chunk < in.d_inner ? end - row - first : 0;
            const T *x = at_row(in.x + (warp_channel + chunk), row + first, in.d_inner);
            const T *dt = at_row(in.dt_raw + (warp_channel + chunk), row + first, in.d_inner);
            const T *z = at_row(in.z + (warp_channel + chunk), row + first, in.ld_z);
#pragma unroll
            for (int t = 0; t < TILE; t += ROWS) {
                const int bytes = t < rows ? 16 : 0; // nothing is read where it is 0
                copy_wide(&to.x[first + t][chunk], at_row(x, t, in.d_inner), bytes);
                copy_wide(&to.dt[first + t][chunk], at_row(dt, t, in.d_inner), bytes);
                copy_wide(&to.z[first + t][chunk], at_row(z, t, in.ld_z), in.z ? bytes : 0);
            }
        } else {
            // A lane of the pair takes every other token.
#pragma unroll 1
            for (int t = odd; t < TILE; t += 2) {
                const bool there = row + t < end;
                to.x[t][column] = there ? at_row(in.x, row + t, in.d_inner)[channel] : from_float<T>(0.0f);
                to.dt[t][column] = there ? at_row(in.dt_raw, row + t, in.d_inner)[channel] : from_float<T>(0.0f);
                if (in.z && there) to.z[t][column] = at_row(in.z, row + t, in.ld_z)[channel];
            }
        }
    }

    __device__ __forceinline__ void store_gated(const T (*from)[COLUMNS], int row, int end) const {
        __syncwarp();
        if (wide) {
            const int first = lane / CHUNKS, chunk = lane % CHUNKS * WIDE<T>;
            const int rows = warp_channel + chunk < in.d_inner ? end - row - first : 0;
            T *to = at_row(in.gated + (warp_channel + chunk), row + first, in.d_inner);
#pragma unroll
            for (int t = 0; t < TILE; t += ROWS)
                if (t < rows) store_wide(at_row(to, t, in.d_inner), load_wide(&from[first + t][chunk]));
        } else if (live) {
#pragma unroll 1
            for (int t = odd; t < TILE && row + t < end; t += 2)
                at_row(in.gated, row + t, in.d_inner)[channel] = from[t][column];
        }
        __syncwarp();
    }

    // One token: advances the states, returns the channel's sum of C h.
    __device__ __forceinline__ float token(float dt, float dtx, const float *bc) {
        const float *b = bc + odd * HALF, *c = b + D_STATE;
        float sum[HALF / 2];
#pragma unroll
        for (int i = 0; i < HALF; i += 4) {
            const Wide<float> bs = load_wide(b + i), cs = load_wide(c + i);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int n = i + j;
                h[n] = advance(h[n], decay(dt, a[n]), dtx, bs.at[j]);
                if (j % 2 == 1) sum[n / 2] = leaf(cs.at[j - 1], h[n - 1], cs.at[j], h[n]);
            }
        }
        const float own = __fadd_rn(__fadd_rn(sum[0], sum[1]), __fadd_rn(sum[2], sum[3]));
        return __fadd_rn(own, __shfl_xor_sync(ALL_LANES, own, 1));
    }

    // GROUP tokens of a tile, the first being `row`. PLAIN: all exist, and the gated output alone is wanted. Otherwise
    // those at `end` and beyond get dt = 0, which changes no state.
    template <bool PLAIN>
    __device__ __forceinline__ void group(Activations &warp, const float (*bc)[2 * D_STATE], int t, int row, int end) {
        // Of the tokens that are this lane's: t + odd, t + odd + 2, ...
        float dt[GROUP / 2], x[GROUP / 2], dtx[GROUP / 2], y[GROUP / 2];
#pragma unroll
        for (int u = 0; u < GROUP / 2; ++u) {
            const int own = 2 * u + odd;
            const float v = __fadd_rn(to_float(warp.dt[t + own][column]), dt_bias);
            dt[u] = softplus_exact<T>(PLAIN || row + own < end ? v : -INFINITY);
            x[u] = to_float(warp.x[t + own][column]);
            dtx[u] = __fmul_rn(dt[u], x[u]);
        }
#pragma unroll
        for (int u = 0; u < GROUP; ++u) {
            const int owner = (lane & ~1) | (u & 1);
            const float dt_u = __shfl_sync(ALL_LANES, dt[u / 2], owner), dtx_u = __shfl_sync(ALL_LANES, dtx[u / 2], owner);
            const float sum = token(dt_u, dtx_u, bc[t + u]);
            if ((u & 1) == odd) y[u / 2] = sum;
        }
#pragma unroll
        for (int u = 0; u < GROUP / 2; ++u) {
            const int own = 2 * u + odd;
            y[u] = fmaf(d, x[u], y[u]);
            if (!PLAIN && live && row + own < end) {
                if (in.y) at_row(in.y, row + own, in.d_inner)[channel] = from_float<T>(y[u]);
                if (in.dt) at_row(in.dt, row + own, in.d_inner)[channel] = dt[u];
            }
            if (PLAIN || in.z) y[u] = gate(y[u], to_float(warp.z[t + own][column]));
            warp.x[t + own][column] = from_float<T>(y[u]);
        }
    }

    template <bool PLAIN>
    __device__ __forceinline__ void scan_tile(Activations &warp, const float (*bc)[2 * D_STATE], int row, int end) {
#pragma unroll 1
        for (int t = 0; t < TILE && (PLAIN || row + t < end); t += GROUP)
            group<PLAIN>(warp, bc, t, row + t, end);
    }

    __device__ __forceinline__ void run(int2 segments) {
        Activations *warp = tile.warp[threadIdx.x / WARP];
        const bool plain = in.z && !in.y && !in.dt;
        int buffer = 0;
        for (int segment = segments.x; segment < segments.y; ++segment) {
            const int begin = in.seg_off[segment], end = in.seg_off[segment + 1];
            T part[STAGED];
            if (begin < end) stage(warp[buffer], begin, end);
            asm volatile("cp.async.commit_group;");
            load_bc(part, begin, end);
            load_states(in.start_state(segment));
            for (int row = begin; row < end; row += TILE) {
                if (row + TILE < end) stage(warp[buffer ^ 1], row + TILE, end);
                asm volatile("cp.async.commit_group;");
                stage_bc(part, tile.bc[buffer]);
                asm volatile("cp.async.wait_group 1;" ::: "memory");
                // One barrier a tile: whoever passes it has left the other half of B and C, which is written next.
                __syncthreads();
                load_bc(part, row + TILE, end);
                if (plain && row + TILE <= end) {
                    scan_tile<true>(warp[buffer], tile.bc[buffer], row, end);
                } else {
                    scan_tile<false>(warp[buffer], tile.bc[buffer], row, end);
                }
                store_gated(warp[buffer].x, row, end);
                buffer ^= 1;
            }
            if (in.states) store_states(in.states + (int64_t)segment * in.d_inner * D_STATE);
        }
    }
};

template <typename T> __device__ __forceinline__ void pair_scan(const ScanArguments<T> &in) {
    __shared__ PairTile<T> tile;
    const int groups = (in.d_inner + PAIR_CHANNELS - 1) / PAIR_CHANNELS;
    PairScan<T> scan(in, tile, blockIdx.x % groups * PAIR_CHANNELS);
    scan.run(in.work[blockIdx.x / groups]);
}
