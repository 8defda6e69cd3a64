// Selective scan for many sequences: as many threads as channels.
#pragma once

#include "scan.cuh"

constexpr int CHANNEL_THREADS = 128;

// Tokens unrolled, and the blocks that should fit one multiprocessor: measured, a trade of registers against warps.
template <typename T> constexpr int CHANNEL_GROUP = sizeof(T) == 2 ? 4 : 2;
template <typename T> constexpr int CHANNEL_BLOCKS = sizeof(T) == 2 ? 4 : 5;
// Tokens staged at a time.
template <typename T> constexpr int CHANNEL_TILE = 32 / sizeof(T);

// Shared memory of one block: two stages, one computed while the other is on its way. A warp's activations are its own
// affair: only B and C need the whole block. The gated output replaces x, each value by the thread that read it.
template <typename T> struct alignas(16) ChannelTile {
    float bc[2][CHANNEL_TILE<T>][2 * D_STATE]; // B | C
    struct Activations {
        T x[CHANNEL_TILE<T>][WARP], dt[CHANNEL_TILE<T>][WARP], z[CHANNEL_TILE<T>][WARP];
    } warp[CHANNEL_THREADS / WARP][2];
};

// One block scans CHANNEL_THREADS channels of one work item, token after token. A thread loads, gates and stores its own
// channel, but shares the states with its neighbour: of the channels of both it holds 8 of 16 states. So B and C of a
// token, which a thread must have in registers, are 16 values instead of 32: half the reads of shared memory.
template <typename T> struct ChannelScan {
    static constexpr int TILE = CHANNEL_TILE<T>;
    static constexpr int GROUP = CHANNEL_GROUP<T>;
    static constexpr int CHUNKS = WARP / WIDE<T>;                       // 16-byte accesses of one token of a warp
    static constexpr int ROWS = WARP / CHUNKS;                          // tokens of one access by the whole warp
    static constexpr int WARPS = CHANNEL_THREADS / WARP;
    static constexpr int STAGED = TILE / WARPS;                         // values of B and C of one thread
    using Activations = typename ChannelTile<T>::Activations;

    const ScanArguments<T> &in;
    ChannelTile<T> &tile;
    int lane;
    int warp_channel;         // of lane 0
    int channel, other;       // of this thread and its neighbour; the last one again where d_inner ends
    bool live, other_live;    // whether the channels exist
    bool wide;                // whether 16-byte accesses are legal
    int first_state;          // 0 or HALF
    const T *bc_column;       // the column of B or C that this lane stages
    float dt_bias, d;
    float a_own[HALF], a_other[HALF], h_own[HALF], h_other[HALF];

    __device__ __forceinline__ ChannelScan(const ScanArguments<T> &arguments, ChannelTile<T> &shared, int first_channel)
        : in(arguments), tile(shared) {
        lane = threadIdx.x % WARP;
        warp_channel = first_channel + (int)threadIdx.x - lane;
        channel = warp_channel + lane;
        other = channel ^ 1;
        live = channel < in.d_inner;
        other_live = other < in.d_inner;
        channel = min(channel, in.d_inner - 1);
        other = min(other, in.d_inner - 1);
        const uintptr_t addresses = (uintptr_t)in.x | (uintptr_t)in.dt_raw | (uintptr_t)in.z | (uintptr_t)in.gated;
        wide = addresses % 16 == 0 && in.d_inner % WIDE<T> == 0 && (in.z == nullptr || in.ld_z % WIDE<T> == 0);
        first_state = (lane & 1) * HALF;
        bc_column = in.projected + (lane < D_STATE ? in.b_start + lane : in.c_start + lane - D_STATE);
        dt_bias = in.dt_bias[channel];
        d = in.d[channel];
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            const float *row = in.a + (int64_t)(first_state + i) * in.d_inner;
            a_own[i] = row[channel] * LOG2_E;
            a_other[i] = row[other] * LOG2_E;
        }
    }

    __device__ __forceinline__ void load_states(const float *from) {
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            h_own[i] = from ? from[(int64_t)channel * D_STATE + first_state + i] : 0.0f;
            h_other[i] = from ? from[(int64_t)other * D_STATE + first_state + i] : 0.0f;
        }
    }
    __device__ __forceinline__ void store_states(float *to) const {
#pragma unroll
        for (int i = 0; i < HALF; ++i) {
            if (live) to[(int64_t)channel * D_STATE + first_state + i] = h_own[i];
            if (other_live) to[(int64_t)other * D_STATE + first_state + i] = h_other[i];
        }
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
#pragma unroll 1
            for (int t = 0; t < min(TILE, end - row); ++t) {
                to.x[t][lane] = at_row(in.x, row + t, in.d_inner)[channel];
                to.dt[t][lane] = at_row(in.dt_raw, row + t, in.d_inner)[channel];
                if (in.z) to.z[t][lane] = at_row(in.z, row + t, in.ld_z)[channel];
            }
            for (int t = max(end - row, 0); t < TILE; ++t) to.x[t][lane] = to.dt[t][lane] = from_float<T>(0.0f);
        }
    }

    __device__ __forceinline__ void store_gated(const T (*from)[WARP], int row, int end) const {
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
            for (int t = 0; t < TILE && row + t < end; ++t) at_row(in.gated, row + t, in.d_inner)[channel] = from[t][lane];
        }
        __syncwarp();
    }

    // One token: advances the states, returns the channel's sum of C h.
    __device__ __forceinline__ float token(float dt, float dtx, const float *bc) {
        const float dt_other = __shfl_xor_sync(ALL_LANES, dt, 1), dtx_other = __shfl_xor_sync(ALL_LANES, dtx, 1);
        const float *b = bc + first_state, *c = b + D_STATE;
        float own[HALF / 2], other[HALF / 2];
#pragma unroll
        for (int i = 0; i < HALF; i += 4) {
            const Wide<float> bs = load_wide(b + i), cs = load_wide(c + i);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const int n = i + j;
                h_own[n] = advance(h_own[n], decay(dt, a_own[n]), dtx, bs.at[j]);
                h_other[n] = advance(h_other[n], decay(dt_other, a_other[n]), dtx_other, bs.at[j]);
                if (j % 2 == 1) {
                    own[n / 2] = leaf(cs.at[j - 1], h_own[n - 1], cs.at[j], h_own[n]);
                    other[n / 2] = leaf(cs.at[j - 1], h_other[n - 1], cs.at[j], h_other[n]);
                }
            }
        }
        const float sum_own = __fadd_rn(__fadd_rn(own[0], own[1]), __fadd_rn(own[2], own[3]));
        const float sum_other = __fadd_rn(__fadd_rn(other[0], other[1]), __fadd_rn(other[2], other[3]));
        return __fadd_rn(sum_own, __shfl_xor_sync(ALL_LANES, sum_other, 1));
    }

    // GROUP tokens of a tile, the first being `row`. PLAIN: all exist, and the gated output alone is wanted. Otherwise
    // those at `end` and beyond get dt = 0, which changes no state.
    template <bool PLAIN>
    __device__ __forceinline__ void group(Activations &warp, const float (*bc)[2 * D_STATE], int t, int row, int end) {
        float dt[GROUP], y[GROUP];
#pragma unroll
        for (int u = 0; u < GROUP; ++u) {
            const float v = __fadd_rn(to_float(warp.dt[t + u][lane]), dt_bias);
            dt[u] = softplus_exact<T>(PLAIN || row + u < end ? v : -INFINITY);
        }
#pragma unroll
        for (int u = 0; u < GROUP; ++u) {
            const float x = to_float(warp.x[t + u][lane]);
            y[u] = fmaf(d, x, token(dt[u], __fmul_rn(dt[u], x), bc[t + u]));
        }
        if (!PLAIN) {
#pragma unroll
            for (int u = 0; u < GROUP; ++u) {
                if (live && row + u < end && in.y) at_row(in.y, row + u, in.d_inner)[channel] = from_float<T>(y[u]);
                if (live && row + u < end && in.dt) at_row(in.dt, row + u, in.d_inner)[channel] = dt[u];
            }
        }
#pragma unroll
        for (int u = 0; u < GROUP; ++u) {
            if (PLAIN || in.z) y[u] = gate(y[u], to_float(warp.z[t + u][lane]));
            warp.x[t + u][lane] = from_float<T>(y[u]);
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

template <typename T> __device__ __forceinline__ void channel_scan(const ScanArguments<T> &in) {
    __shared__ ChannelTile<T> tile;
    const int groups = (in.d_inner + CHANNEL_THREADS - 1) / CHANNEL_THREADS;
    ChannelScan<T> scan(in, tile, blockIdx.x % groups * CHANNEL_THREADS);
    scan.run(in.work[blockIdx.x / groups]);
}
