// One token through convolution, recurrence and gate of a Mamba-2 mixer.
//
// A block has one head of one sequence. Its state stays in place. Every head reads the ring of the convolution, and the first of a
// group writes what is the group's. What the layers round to bf16 is rounded here.
//
// Launch: blocks (nheads, sequences), THREADS threads, dynamic shared memory headdim (d_state + 3) + 2 d_state
// floats. headdim is at most MAX_HEADDIM.
//
// Bound by the reading and writing of states: 8 headdim d_state bytes a head.
#include <type_traits>

#include "decode.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / WARP;
constexpr int MAX_HEADDIM = 128;

struct Mamba2 {
    const bf16 *projected;        // [sequences][ld]: z, x, B, C, dt
    Convolution convolution;      // of x, B, C
    const float *dt_bias, *a, *d; // [nheads]
    float *state;                 // [sequences][nheads][headdim][d_state]
    const float *norm_weight;     // [d_inner]
    bf16 *gated;                  // [sequences][d_inner]: times the norm's weight
    float *parts;                 // [sequences][nheads]: sums of squares
    int ld, headdim, ngroups;
    float dt_min, dt_max;
};

// A value of the convolution that waits for its newest input: x of this head, or B or C of its group.
struct Pending {
    int channel = -1, place;
    bool keeps; // whether this block writes the newest input down
    float older, newest;
};

// d_state is 32 WIDTH.
template <int WIDTH> struct alignas(4 * WIDTH) Lanes { float at[WIDTH]; };

// A lane's states of a row are read and written once a step, and should not displace weights from the L2 cache. Here they are fetched in
// the background.
template <int WIDTH> __device__ __forceinline__ void fetch(Lanes<WIDTH> *to, const Lanes<WIDTH> *from) {
    constexpr int BYTES = WIDTH < 4 ? 4 * WIDTH : 16;
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
#pragma unroll
    for (int at = 0; at < 4 * WIDTH; at += BYTES) {
        const uint32_t there = shared_address(to) + at;
        const char *const here = reinterpret_cast<const char *>(from) + at;
        if constexpr (BYTES == 16) {
            asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(there), "l"(here), "l"(policy) : "memory");
        } else {
            asm volatile("cp.async.ca.shared.global.L2::cache_hint [%0], [%1], %2, %3;" ::"r"(there), "l"(here), "n"(BYTES), "l"(policy)
                         : "memory");
        }
    }
}
template <int WIDTH> __device__ __forceinline__ void write(Lanes<WIDTH> *to, const Lanes<WIDTH> &from) {
    using Piece = std::conditional_t<WIDTH % 4 == 0, float4, std::conditional_t<WIDTH == 2, float2, float>>;
#pragma unroll
    for (int at = 0; at < int(sizeof(from) / sizeof(Piece)); at++) {
        __stcs(reinterpret_cast<Piece *>(to) + at, reinterpret_cast<const Piece *>(&from)[at]);
    }
}

template <int WIDTH> __device__ __forceinline__ void advance(const Mamba2 &in) {
    constexpr int D_STATE = WARP * WIDTH, PASSES = (MAX_HEADDIM + 2 * D_STATE + THREADS - 1) / THREADS;
    extern __shared__ float4 memory[]; // the head's states, then B, C, x, the gate and the norm's weight of each of its channels
    Lanes<WIDTH> *const before = reinterpret_cast<Lanes<WIDTH> *>(memory);
    float *const maps = reinterpret_cast<float *>(before + in.headdim * WARP), *const xs = maps + 2 * D_STATE;
    __shared__ float squares[WARPS];
    const int head = blockIdx.x, nheads = gridDim.x, sequence = blockIdx.y;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int d_inner = nheads * in.headdim, conv_dim = d_inner + 2 * in.ngroups * D_STATE;
    float *const gates = xs + in.headdim, *const weights = gates + in.headdim;
    Lanes<WIDTH> *const state = reinterpret_cast<Lanes<WIDTH> *>(in.state) + int64_t(sequence * nheads + head) * in.headdim * WARP;
    // What no earlier kernel of this step writes.
    for (int row = warp; row < in.headdim; row += WARPS) fetch(before + row * WARP + lane, state + row * WARP + lane);
    copy_commit();
    const float dt_bias = in.dt_bias[head], a = in.a[head], skip = in.d[head];
    for (int at = threadIdx.x; at < in.headdim; at += THREADS) weights[at] = in.norm_weight[head * in.headdim + at];
    const int group_heads = nheads / in.ngroups;
    Pending values[PASSES];
#pragma unroll
    for (int pass = 0; pass < PASSES; pass++) {
        Pending &value = values[pass];
        const int at = threadIdx.x + pass * THREADS, map = at - in.headdim; // of B, then C
        if (map >= 2 * D_STATE) continue;
        const int group_channel = (map / D_STATE * in.ngroups + head / group_heads) * D_STATE + map % D_STATE;
        value.channel = map < 0 ? head * in.headdim + at : d_inner + group_channel;
        value.keeps = map < 0 || head % group_heads == 0;
        value.newest = in.convolution.newest(value.channel);
        value.older = in.convolution.older(sequence, value.channel, value.place);
    }
    let_next_start();
    wait_for_inputs();
    const bf16 *const projected = in.projected + int64_t(sequence) * in.ld;
#pragma unroll
    for (int pass = 0; pass < PASSES; pass++) {
        const Pending &value = values[pass];
        if (value.channel < 0) continue;
        const float now = to_float(projected[d_inner + value.channel]);
        const int at = threadIdx.x + pass * THREADS;
        (at < in.headdim ? xs + at : maps + at - in.headdim)[0] = rounded(Convolution::result(now, value.newest, value.older));
        if (value.keeps) in.convolution.ring[value.place] = now;
    }
    for (int at = threadIdx.x; at < in.headdim; at += THREADS) gates[at] = silu(to_float(projected[head * in.headdim + at]));
    const float raw = to_float(projected[d_inner + conv_dim + head]) + dt_bias;
    const float dt = min_or_nan(max_or_nan(softplus(raw), in.dt_min), in.dt_max);
    const float decay = exp_fast(dt * a);
    __syncthreads();
    const Lanes<WIDTH> b = *reinterpret_cast<const Lanes<WIDTH> *>(maps + lane * WIDTH);
    const Lanes<WIDTH> c = *reinterpret_cast<const Lanes<WIDTH> *>(maps + D_STATE + lane * WIDTH);
    float own_squares = 0.0f;
    copy_wait();
#pragma unroll 4
    for (int row = warp; row < in.headdim; row += WARPS) {
        Lanes<WIDTH> h = before[row * WARP + lane];
        const float x = xs[row], input = dt * x;
        float y = 0.0f;
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            h.at[i] = fmaf(decay, h.at[i], input * b.at[i]);
            y = fmaf(h.at[i], c.at[i], y);
        }
        write(state + row * WARP + lane, h);
        y = rounded(fmaf(skip, x, warp_sum(y)));
        const float gated = y * gates[row];
        own_squares = fmaf(gated, gated, own_squares);
        if (lane == 0) in.gated[int64_t(sequence) * d_inner + head * in.headdim + row] = from_float<bf16>(gated * weights[row]);
    }
    if (lane == 0) squares[warp] = own_squares;
    __syncthreads();
    if (threadIdx.x != 0) return;
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < WARPS; i++) sum += squares[i];
    in.parts[sequence * nheads + head] = sum;
}

} // namespace

#define DECODE_MAMBA2(WIDTH, D_STATE)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) decode_mamba2_##D_STATE(                                     \
        const bf16 *projected, const float *conv_weight, const float *conv_bias, float *ring, const int *counter,      \
        const float *dt_bias, const float *a, const float *d, float *state, const float *norm_weight, bf16 *gated,     \
        float *parts, int ld, int headdim, int ngroups, float dt_min, float dt_max) {                                  \
        const int channels = gridDim.x * headdim + 64 * WIDTH * ngroups;                                               \
        advance<WIDTH>({projected, {conv_weight, conv_bias, ring, counter, channels, int(gridDim.y)}, dt_bias, a, d,   \
                        state, norm_weight, gated, parts, ld, headdim, ngroups, dt_min, dt_max});                      \
    }

DECODE_MAMBA2(1, 32)
DECODE_MAMBA2(2, 64)
DECODE_MAMBA2(4, 128)
DECODE_MAMBA2(8, 256)
