// Selective scan for many sequences: two lanes a channel, token after token.
#pragma once

#include "scan_tiles.cuh"

// Tokens unrolled, and the blocks that should fit one multiprocessor: measured, a trade of registers against warps.
template <typename T> constexpr int PAIR_GROUP = sizeof(T) == 2 ? 8 : 4;
template <typename T> constexpr int PAIR_BLOCKS = sizeof(T) == 2 ? 5 : 6;

// Of a channel's 16 states each lane of a pair holds 8, so B and C of a token are 16 values a thread. What a token needs besides
// its states (dt, gate, store) is done by one lane: even tokens by the first, odd ones by the second.
template <typename T> struct PairScan : TiledScan<PairScan<T>, T, WARP / 2> {
    using Base = TiledScan<PairScan<T>, T, WARP / 2>;
    using Base::channel, Base::column, Base::d, Base::dt_bias, Base::in, Base::lane, Base::live, Base::turn;
    using typename Base::Activations;
    static constexpr int GROUP = PAIR_GROUP<T>;

    float a[HALF], h[HALF];

    __device__ __forceinline__ PairScan(const ScanArguments<T> &arguments, typename Base::Tile &shared, int first_channel)
        : Base(arguments, shared, first_channel) {
#pragma unroll
        for (int i = 0; i < HALF; ++i) a[i] = in.a[(int64_t)(turn * HALF + i) * in.d_inner + channel] * LOG2_E;
    }

    __device__ __forceinline__ void load_states(const float *from) {
#pragma unroll
        for (int i = 0; i < HALF; ++i) h[i] = from ? from[(int64_t)channel * D_STATE + turn * HALF + i] : 0.0f;
    }
    __device__ __forceinline__ void store_states(float *to) const {
        if (!live) return;
#pragma unroll
        for (int i = 0; i < HALF; ++i) to[(int64_t)channel * D_STATE + turn * HALF + i] = h[i];
    }

    // One token: advances the states, returns the channel's sum of C h.
    __device__ __forceinline__ float token(float dt, float dtx, const float *bc) {
        const float *b = bc + turn * HALF, *c = b + D_STATE;
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
        // Of the tokens that are this lane's: t + turn, t + turn + 2, ...
        float dt[GROUP / 2], x[GROUP / 2], dtx[GROUP / 2], y[GROUP / 2];
#pragma unroll
        for (int u = 0; u < GROUP / 2; ++u) {
            const int own = 2 * u + turn;
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
            if ((u & 1) == turn) y[u / 2] = sum;
        }
#pragma unroll
        for (int u = 0; u < GROUP / 2; ++u) {
            const int own = 2 * u + turn;
            y[u] = fmaf(d, x[u], y[u]);
            if (!PLAIN && live && row + own < end) {
                if (in.y) at_row(in.y, row + own, in.d_inner)[channel] = from_float<T>(y[u]);
                if (in.dt) at_row(in.dt, row + own, in.d_inner)[channel] = dt[u];
            }
            if (PLAIN || in.z) y[u] = gate(y[u], to_float(warp.z[t + own][column]));
            warp.x[t + own][column] = from_float<T>(y[u]);
        }
    }
};
