// Selective scan for few sequences: the states of a channel split over 8 lanes, so that more threads work.
#pragma once

#include "scan.cuh"

constexpr int LANES = 8; // of one channel; lane j holds states 2j and 2j + 1

constexpr int SPLIT_THREADS = 128;
constexpr int SPLIT_CHANNELS = SPLIT_THREADS / LANES; // of one block
constexpr int TILE_TOKENS = 32;

// Values of 4 consecutive tokens.
template <typename T> struct alignas(4 * sizeof(T)) Four {
    T at[4];
};
template <typename T> __device__ __forceinline__ Four<T> load_four(const T *from) {
    return *reinterpret_cast<const Four<T> *>(from);
}

// One block scans SPLIT_CHANNELS channels of one work item. A tile of tokens passes three phases: every thread turns
// dt_raw of some (token, channel) into dt and dt x; the lanes of a channel scan its tokens in order; the same threads as
// at first gate and store their (token, channel).
// TIMED: step sizes are multiplied by a factor per token.
template <typename T, bool TIMED> struct SplitScan {
    static constexpr int TOKENS = TILE_TOKENS;
    static constexpr int ELEMENTS = TOKENS / LANES; // (token, channel) of one thread, LANES tokens apart
    static constexpr int WARPS = SPLIT_THREADS / WARP;
    static constexpr int STAGED = TOKENS / WARPS;   // values of B and C of one thread
    static constexpr int ROW = TOKENS + 4;          // padded: rows a lane apart lie in other banks

    // Shared memory. Time is contiguous: a lane reads 4 tokens at a time. B and C as they come, which halves what is read
    // of them in bfloat16.
    struct alignas(16) Tile {
        float dt[SPLIT_CHANNELS][ROW], dtx[SPLIT_CHANNELS][ROW], y[SPLIT_CHANNELS][ROW];
        T b[D_STATE][ROW], c[D_STATE][ROW]; // even states, then odd ones
    };
    // A tile on its way.
    struct Raw {
        T x[ELEMENTS], dt[ELEMENTS], z[ELEMENTS], bc[STAGED];
        float factor[TIMED ? ELEMENTS : 1];
    };

    const ScanArguments<T> &in;
    Tile &tile;
    int column;        // of this thread's channel in the block, in the phases before and after the scan
    int channel;       // the same in the matrix; the last one again where d_inner ends
    bool live;         // whether that channel exists
    int token;         // the first of this thread in those phases
    int scan_column, scan_channel; // the same in the scan
    bool scan_live;
    int lane;          // of the channel in the scan
    const T *bc_column; // the column of B or C that this thread stages,
    T *bc_row;          // and its row in shared memory
    float dt_bias, d;
    float a0, a1, h0, h1;

    __device__ __forceinline__ SplitScan(const ScanArguments<T> &arguments, Tile &shared, int first_channel)
        : in(arguments), tile(shared) {
        const int thread = threadIdx.x;
        column = thread % SPLIT_CHANNELS;
        token = thread / SPLIT_CHANNELS;
        live = first_channel + column < in.d_inner;
        channel = min(first_channel + column, in.d_inner - 1);
        scan_column = thread / LANES;
        scan_live = first_channel + scan_column < in.d_inner;
        scan_channel = min(first_channel + scan_column, in.d_inner - 1);
        lane = thread % LANES;
        const int staged = thread % WARP, state = staged % D_STATE;
        bc_column = in.projected + (staged < D_STATE ? in.b_start : in.c_start) + state;
        bc_row = (staged < D_STATE ? tile.b : tile.c)[state / 2 + state % 2 * LANES];
        dt_bias = in.dt_bias[channel];
        d = in.d[channel];
        const float *from = in.a + (int64_t)(2 * lane) * in.d_inner + scan_channel;
        a0 = from[0] * LOG2_E;
        a1 = from[in.d_inner] * LOG2_E;
    }

    __device__ __forceinline__ void load(Raw &raw, int row, int end) const {
        const int first = row + token, rows = end - first;
        const T *x = at_row(in.x + channel, first, in.d_inner), *dt = at_row(in.dt_raw + channel, first, in.d_inner);
        const T *z = at_row(in.z + channel, first, in.ld_z);
#pragma unroll
        for (int i = 0; i < ELEMENTS; ++i) {
            const bool exists = i * LANES < rows;
            raw.x[i] = exists ? *at_row(x, i * LANES, in.d_inner) : from_float<T>(0.0f);
            raw.dt[i] = exists ? *at_row(dt, i * LANES, in.d_inner) : from_float<T>(0.0f);
            raw.z[i] = exists && in.z ? *at_row(z, i * LANES, in.ld_z) : from_float<T>(0.0f);
            if constexpr (TIMED) raw.factor[i] = exists ? in.dt_factor[first + i * LANES] : 1.0f;
        }
        // Each warp a token, each lane a column; zero beyond the end, so that idle tokens add nothing.
        const int bc_first = row + (int)threadIdx.x / WARP;
        const T *bc = at_row(bc_column, bc_first, in.ld_projected);
#pragma unroll
        for (int i = 0; i < STAGED; ++i)
            raw.bc[i] = i * WARPS < end - bc_first ? *at_row(bc, i * WARPS, in.ld_projected) : from_float<T>(0.0f);
    }

    // To shared memory; tokens at `end` and beyond get dt = 0, which changes no state.
    __device__ __forceinline__ void stage(const Raw &raw, int row, int end) const {
#pragma unroll
        for (int i = 0; i < STAGED; ++i) bc_row[threadIdx.x / WARP + i * WARPS] = raw.bc[i];
        float *dt = tile.dt[column] + token, *dtx = tile.dtx[column] + token;
        const int rows = end - row - token;
#pragma unroll
        for (int i = 0; i < ELEMENTS; ++i) {
            const float v = __fadd_rn(to_float(raw.dt[i]), dt_bias);
            dt[i * LANES] = softplus_exact<T>(i * LANES < rows ? v : -INFINITY);
            dtx[i * LANES] = __fmul_rn(dt[i * LANES], to_float(raw.x[i]));
        }
        if (in.dt && live) {
            for (int i = 0; i < ELEMENTS && i * LANES < rows; ++i)
                at_row(in.dt, row + token + i * LANES, in.d_inner)[channel] = dt[i * LANES];
        }
        if constexpr (TIMED) {
            // What was shown is without the factor.
#pragma unroll
            for (int i = 0; i < ELEMENTS; ++i) {
                dt[i * LANES] = __fmul_rn(dt[i * LANES], raw.factor[i]);
                dtx[i * LANES] = __fmul_rn(dt[i * LANES], to_float(raw.x[i]));
            }
        }
    }

    // Sums each token of `v` over the lanes; lane j gets token j. Halves what is held at each step, in the order of the
    // fixed tree: states 2 apart, 4 apart, 8 apart.
    __device__ __forceinline__ float reduce(float (&v)[LANES]) const {
#pragma unroll
        for (int bit = 1; bit < LANES; bit *= 2) {
            const bool upper = lane & bit;
#pragma unroll
            for (int i = 0; i < LANES / 2 / bit; ++i) {
                const float keep = upper ? v[2 * i + 1] : v[2 * i], send = upper ? v[2 * i] : v[2 * i + 1];
                v[i] = __fadd_rn(keep, __shfl_xor_sync(ALL_LANES, send, bit));
            }
        }
        return v[0];
    }

    // LANES tokens of the tile, from `t` on; returns the sum of C h of token t + lane.
    __device__ __forceinline__ float group(int t) {
        float v[LANES];
#pragma unroll
        for (int u = 0; u < LANES; u += 4) {
            const Four<T> b0 = load_four(&tile.b[lane][t + u]), b1 = load_four(&tile.b[lane + LANES][t + u]);
            const Four<T> c0 = load_four(&tile.c[lane][t + u]), c1 = load_four(&tile.c[lane + LANES][t + u]);
            const Four<float> dt = load_four(&tile.dt[scan_column][t + u]), dtx = load_four(&tile.dtx[scan_column][t + u]);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                h0 = advance(h0, decay(dt.at[i], a0), dtx.at[i], to_float(b0.at[i]));
                h1 = advance(h1, decay(dt.at[i], a1), dtx.at[i], to_float(b1.at[i]));
                v[u + i] = leaf(to_float(c0.at[i]), h0, to_float(c1.at[i]), h1);
            }
        }
        return reduce(v);
    }

    // The first `rows` tokens of the tile. A whole tile is unrolled and stores its sums last, so that the loads of a
    // group need not wait for the group before.
    __device__ __forceinline__ void scan_tile(int rows) {
        float *y = tile.y[scan_column] + lane;
        if (rows >= TOKENS) {
            float sums[TOKENS / LANES];
#pragma unroll
            for (int i = 0; i < TOKENS / LANES; ++i) sums[i] = group(i * LANES);
#pragma unroll
            for (int i = 0; i < TOKENS / LANES; ++i) y[i * LANES] = sums[i];
        } else {
#pragma unroll 1
            for (int t = 0; t < rows; t += LANES) y[t] = group(t);
        }
    }

    __device__ __forceinline__ void finish(const Raw &raw, int row, int end) const {
        const int first = row + token, rows = live ? end - first : 0;
        T *gated = at_row(in.gated + channel, first, in.d_inner);
        const float *sums = tile.y[column] + token;
        float y[ELEMENTS];
#pragma unroll
        for (int i = 0; i < ELEMENTS; ++i) y[i] = fmaf(d, to_float(raw.x[i]), sums[i * LANES]);
        if (in.y) {
#pragma unroll
            for (int i = 0; i < ELEMENTS; ++i)
                if (i * LANES < rows) at_row(in.y, first + i * LANES, in.d_inner)[channel] = from_float<T>(y[i]);
        }
        if (in.z) {
#pragma unroll
            for (int i = 0; i < ELEMENTS; ++i) y[i] = gate(y[i], to_float(raw.z[i]));
        }
#pragma unroll
        for (int i = 0; i < ELEMENTS; ++i)
            if (i * LANES < rows) *at_row(gated, i * LANES, in.d_inner) = from_float<T>(y[i]);
    }

    __device__ __forceinline__ void run(int2 segments) {
        for (int segment = segments.x; segment < segments.y; ++segment) {
            const int begin = in.seg_off[segment], end = in.seg_off[segment + 1];
            const float *start = in.start_state(segment);
            const int64_t state = (int64_t)scan_channel * D_STATE + 2 * lane;
            h0 = start ? start[state] : 0.0f;
            h1 = start ? start[state + 1] : 0.0f;
            Raw next;
            load(next, begin, end);
            for (int row = begin; row < end; row += TOKENS) {
                const Raw raw = next;
                stage(raw, row, end);
                __syncthreads();
                load(next, row + TOKENS, end);
                scan_tile(end - row);
                __syncthreads();
                finish(raw, row, end);
            }
            if (in.states && scan_live) {
                float *to = in.states + (int64_t)segment * in.d_inner * D_STATE + state;
                to[0] = h0;
                to[1] = h1;
            }
        }
    }
};

template <bool TIMED, typename T> __device__ __forceinline__ void split_scan(const ScanArguments<T> &in) {
    __shared__ typename SplitScan<T, TIMED>::Tile tile;
    const int groups = (in.d_inner + SPLIT_CHANNELS - 1) / SPLIT_CHANNELS;
    SplitScan<T, TIMED> scan(in, tile, blockIdx.x % groups * SPLIT_CHANNELS);
    scan.run(in.work[blockIdx.x / groups]);
}
