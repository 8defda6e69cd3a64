// Selective scan for many sequences: as many threads as channels.
#pragma once

#include "scan_tiles.cuh"

// Tokens unrolled, and the blocks that should fit one multiprocessor: measured, a trade of registers against warps.
template <typename T> constexpr int CHANNEL_GROUP = sizeof(T) == 2 ? 4 : 2;
template <typename T> constexpr int CHANNEL_BLOCKS = sizeof(T) == 2 ? 4 : 5;

// Token after token. A thread loads, gates and stores its own channel, but shares the states with its neighbour: of the channels
// of both it holds 8 of 16 states. So B and C of a token, which a thread must have in registers, are 16 values instead of 32:
// half the reads of shared memory.
template <typename T> struct ChannelScan : TiledScan<ChannelScan<T>, T, WARP> {
    using Base = TiledScan<ChannelScan<T>, T, WARP>;
    using Base::channel, Base::d, Base::dt_bias, Base::in, Base::lane, Base::live, Base::warp_channel;
    using typename Base::Activations;
    static constexpr int GROUP = CHANNEL_GROUP<T>;

    int other;         // the neighbour's channel; the last one again where d_inner ends
    bool other_live;   // whether it exists
    int first_state;   // 0 or HALF
    float a_own[HALF], a_other[HALF], h_own[HALF], h_other[HALF];

    __device__ __forceinline__ ChannelScan(const ScanArguments<T> &arguments, typename Base::Tile &shared, int first_channel)
        : Base(arguments, shared, first_channel) {
        other = (warp_channel + lane) ^ 1;
        other_live = other < in.d_inner;
        other = min(other, in.d_inner - 1);
        first_state = (lane & 1) * HALF;
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
};
