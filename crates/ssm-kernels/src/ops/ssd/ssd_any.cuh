// The Mamba-2 recurrence in float32, one token after the other: any headdim, ngroups and element type.
//
// A warp owns four channels of a head, its lanes share the states of each channel (STATES per lane and channel, all in
// registers). x, B, C, dt are staged in shared memory as float32. Outputs of eight tokens are summed over the lanes at once.
// The decay is applied as h + (exp(dt a) - 1) h, which does not lose the small exponents of slow heads.
#pragma once

#include "ssd_table.cuh"

constexpr int ANY_WARPS = 8, ANY_CHANNELS = 4, ANY_SLICE = ANY_WARPS * ANY_CHANNELS, ANY_TOKENS = 8;

template <int STATES> struct AnyLayout {
    static constexpr int TILE = STATES <= 4 ? 32 : 128 / STATES; // tokens staged at once
    static constexpr int WIDTH = WARP * STATES;
    static constexpr int FLOATS = TILE * (2 * WIDTH + ANY_SLICE + 2);
};

// After it lane v holds in values[0] the sum over all lanes of values[v], in a fixed tree.
template <int OFFSET = WARP / 2> __device__ __forceinline__ void transposed_sum(float (&values)[WARP]) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int i = 0; i < OFFSET; i++) {
        const float kept = lane & OFFSET ? values[i + OFFSET] : values[i];
        const float sent = lane & OFFSET ? values[i] : values[i + OFFSET];
        values[i] = kept + __shfl_xor_sync(ALL_LANES, sent, OFFSET);
    }
    if constexpr (OFFSET > 1) transposed_sum<OFFSET / 2>(values);
}

template <typename T, int STATES> __device__ __forceinline__ void ssd_any_scan(const Ssd<T> &ssd) {
    using Shared = AnyLayout<STATES>;
    constexpr int TILE = Shared::TILE, WIDTH = Shared::WIDTH, VECTOR = STATES < 4 ? STATES : 4;
    extern __shared__ __align__(16) float staged[];
    float *const b_tile = staged, *const c_tile = b_tile + TILE * WIDTH, *const x_tile = c_tile + TILE * WIDTH;
    float *const step = x_tile + TILE * ANY_SLICE, *const growth = step + TILE;

    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int slices = (ssd.headdim + ANY_SLICE - 1) / ANY_SLICE;
    const int slice = blockIdx.x % slices, head = blockIdx.x / slices % ssd.nheads, item = blockIdx.x / slices / ssd.nheads;
    const int slice_start = slice * ANY_SLICE, channel = slice_start + warp * ANY_CHANNELS;
    const int d_inner = ssd.nheads * ssd.headdim, group = head / (ssd.nheads / ssd.ngroups);
    const int b_start = d_inner + group * ssd.d_state, c_start = b_start + ssd.ngroups * ssd.d_state;
    const int per_head = ssd.headdim * ssd.d_state;
    const float a = ssd.a[head], skip = ssd.d[head];
    auto state_index = [&](int i) { return i / VECTOR * VECTOR * WARP + lane * VECTOR + i % VECTOR; };

    float state[ANY_CHANNELS][STATES];
    for (int at = ssd.item_off[item]; at < ssd.item_off[item + 1]; at++) {
        const int4 chunk = ssd.chunks[at];
        const int rows = chunk_rows(chunk);
        if (chunk_start(chunk) != CONTINUE) {
            const float *from = start_state(ssd, chunk, head, per_head);
#pragma unroll
            for (int q = 0; q < ANY_CHANNELS; q++) {
#pragma unroll
                for (int i = 0; i < STATES; i++) {
                    const bool inside = from != nullptr && channel + q < ssd.headdim && state_index(i) < ssd.d_state;
                    state[q][i] = inside ? from[(channel + q) * ssd.d_state + state_index(i)] : 0.0f;
                }
            }
        }
        for (int first = 0; first < rows; first += TILE) {
            __syncthreads();
#pragma unroll 8
            for (int index = threadIdx.x; index < TILE * WIDTH; index += ANY_WARPS * WARP) {
                const int t = index / WIDTH, n = index % WIDTH;
                const bool inside = first + t < rows && n < ssd.d_state;
                const T *const from = ssd.xbc + size_t(chunk.x + first + t) * ssd.ld + n;
                b_tile[index] = inside ? to_float(from[b_start]) : 0.0f;
                c_tile[index] = inside ? to_float(from[c_start]) : 0.0f;
            }
#pragma unroll 4
            for (int index = threadIdx.x; index < TILE * ANY_SLICE; index += ANY_WARPS * WARP) {
                const int t = index / ANY_SLICE, p = slice_start + index % ANY_SLICE;
                const bool inside = first + t < rows && p < ssd.headdim;
                x_tile[index] = inside ? to_float(ssd.xbc[size_t(chunk.x + first + t) * ssd.ld + head * ssd.headdim + p]) : 0.0f;
            }
            if (threadIdx.x < TILE) {
                const int t = threadIdx.x;
                const float dt = first + t < rows ? ssd.dt[size_t(chunk.x + first + t) * ssd.nheads + head] : 0.0f;
                step[t] = dt;
                growth[t] = expm1f(dt * a);
            }
            __syncthreads();
            for (int base = 0; base < TILE && first + base < rows; base += ANY_TOKENS) {
                float sums[ANY_TOKENS * ANY_CHANNELS];
#pragma unroll
                for (int u = 0; u < ANY_TOKENS; u++) {
                    const int t = base + u;
                    float b[STATES], c[STATES];
#pragma unroll
                    for (int i = 0; i < STATES; i += VECTOR) {
                        struct alignas(4 * VECTOR) Vector {
                            float at[VECTOR];
                        };
                        const Vector b_part = *reinterpret_cast<const Vector *>(b_tile + t * WIDTH + state_index(i));
                        const Vector c_part = *reinterpret_cast<const Vector *>(c_tile + t * WIDTH + state_index(i));
#pragma unroll
                        for (int v = 0; v < VECTOR; v++) b[i + v] = b_part.at[v], c[i + v] = c_part.at[v];
                    }
                    const float4 x = *reinterpret_cast<const float4 *>(x_tile + t * ANY_SLICE + warp * ANY_CHANNELS);
                    const float in[ANY_CHANNELS] = {step[t] * x.x, step[t] * x.y, step[t] * x.z, step[t] * x.w};
                    const float grow = growth[t];
#pragma unroll
                    for (int q = 0; q < ANY_CHANNELS; q++) {
                        float sum = 0.0f;
#pragma unroll
                        for (int i = 0; i < STATES; i++) {
                            state[q][i] = fmaf(in[q], b[i], fmaf(grow, state[q][i], state[q][i]));
                            sum = fmaf(c[i], state[q][i], sum);
                        }
                        sums[u * ANY_CHANNELS + q] = sum;
                    }
                }
                transposed_sum(sums);
                const int t = base + lane / ANY_CHANNELS, q = lane % ANY_CHANNELS;
                if (first + t < rows && channel + q < ssd.headdim) {
                    const float y = fmaf(skip, x_tile[t * ANY_SLICE + warp * ANY_CHANNELS + q], sums[0]);
                    ssd.y[size_t(chunk.x + first + t) * d_inner + head * ssd.headdim + channel + q] = from_float<T>(y);
                }
            }
        }
        if (chunk.y & STORE) {
            float *const to = ssd.states + (size_t(chunk.w) * ssd.nheads + head) * per_head;
#pragma unroll
            for (int q = 0; q < ANY_CHANNELS; q++) {
#pragma unroll
                for (int i = 0; i < STATES; i++) {
                    if (channel + q < ssd.headdim && state_index(i) < ssd.d_state) {
                        to[(channel + q) * ssd.d_state + state_index(i)] = state[q][i];
                    }
                }
            }
        }
    }
}
