// One token through convolution, recurrence and gate of a Mamba-2 mixer.
//
// A block has one head of one sequence. Its state stays in place; of the inputs of the convolution the last D_CONV tokens stand in
// a ring, which every head reads and the first of a group writes: the new token goes where the oldest was, which none reads.
// What the layers round to bf16 is rounded here.
//
// Launch: blocks (nheads, sequences), THREADS threads, dynamic shared memory 3 headdim + 2 d_state
// floats. headdim is at most MAX_HEADDIM.
//
// Bound by the reading and writing of states: 8 headdim d_state bytes a head.
#include "decode.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / WARP;
constexpr int AHEAD = 8; // rows of the state in flight in each warp
constexpr int MAX_HEADDIM = 128;

struct Mamba2 {
    const bf16 *projected;                 // [sequences][ld]: z, x, B, C, dt
    float *ring;                           // [D_CONV][sequences][conv_dim]
    const int *counter;                    // [sequences]: tokens so far; the ring has token t at t % D_CONV
    const float *conv_weight, *conv_bias;  // [D_CONV][conv_dim], [conv_dim]
    const float *dt_bias, *a, *d;          // [nheads]
    float *state;                          // [sequences][nheads][headdim][d_state]
    const float *norm_weight;              // [d_inner]
    bf16 *gated;                           // [sequences][d_inner]: times the norm's weight
    float *parts;                          // [sequences][nheads]: sums of squares
    int ld, headdim, ngroups;
    float dt_min, dt_max;
};

// A value of the convolution, all but the newest of its inputs fetched: x of this head, or B or C of its group.
struct Convolved {
    int channel;
    bool there, keeps; // whether this block is the one that writes the newest input down
    float sum;         // bias and older inputs
    float newest;      // weight of the newest

    __device__ __forceinline__ void fetch(const Mamba2 &in, int at, int d_state, int token) {
        const int head = blockIdx.x, nheads = gridDim.x, sequence = blockIdx.y, sequences = gridDim.y;
        const int d_inner = nheads * in.headdim, conv_dim = d_inner + 2 * in.ngroups * d_state, group_heads = nheads / in.ngroups;
        const int map = at - in.headdim;
        there = map < 2 * d_state;
        keeps = there && (map < 0 || head % group_heads == 0);
        channel = map < 0 ? head * in.headdim + at : d_inner + (map / d_state * in.ngroups + head / group_heads) * d_state + map % d_state;
        if (!there) return;
        newest = in.conv_weight[(D_CONV - 1) * conv_dim + channel];
        sum = in.conv_bias[channel];
#pragma unroll
        for (int back = 1; back < D_CONV; back++) {
            const float before = in.ring[(int64_t((token - back) % D_CONV) * sequences + sequence) * conv_dim + channel];
            sum = fmaf(in.conv_weight[(D_CONV - 1 - back) * conv_dim + channel], before, sum);
        }
    }
};

// d_state is 32 WIDTH.
template <int WIDTH> struct alignas(4 * WIDTH) Lanes { float at[WIDTH]; };

template <int WIDTH> __device__ __forceinline__ void advance(const Mamba2 &in) {
    extern __shared__ float shared[]; // x, B, C, then the gate and the norm's weight of each channel of the head
    __shared__ float squares[WARPS];
    constexpr int D_STATE = WARP * WIDTH, PASSES = (MAX_HEADDIM + 2 * D_STATE + THREADS - 1) / THREADS;
    const int head = blockIdx.x, nheads = gridDim.x, sequence = blockIdx.y, sequences = gridDim.y;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int d_inner = nheads * in.headdim, conv_dim = d_inner + 2 * in.ngroups * D_STATE;
    float *const gates = shared + in.headdim + 2 * D_STATE, *const weights = gates + in.headdim;
    Lanes<WIDTH> *const state = reinterpret_cast<Lanes<WIDTH> *>(in.state) + int64_t(sequence * nheads + head) * in.headdim * WARP;
    // What no kernel of this step writes.
    Lanes<WIDTH> early[AHEAD];
#pragma unroll
    for (int row = 0; row < AHEAD; row++) {
        if (warp + row * WARPS < in.headdim) early[row] = state[(warp + row * WARPS) * WARP + lane];
    }
    const int token = in.counter[sequence];
    const float dt_bias = in.dt_bias[head], a = in.a[head], skip = in.d[head];
    for (int at = threadIdx.x; at < in.headdim; at += THREADS) weights[at] = in.norm_weight[head * in.headdim + at];
    Convolved values[PASSES];
#pragma unroll
    for (int pass = 0; pass < PASSES; pass++) values[pass].fetch(in, threadIdx.x + pass * THREADS, D_STATE, token);
    wait_for_inputs();
    let_next_start();
    const bf16 *const projected = in.projected + int64_t(sequence) * in.ld;
#pragma unroll
    for (int pass = 0; pass < PASSES; pass++) {
        const Convolved &value = values[pass];
        if (!value.there) continue;
        const float now = to_float(projected[d_inner + value.channel]);
        shared[threadIdx.x + pass * THREADS] = rounded(silu(fmaf(value.newest, now, value.sum)));
        if (value.keeps) in.ring[(int64_t(token % D_CONV) * sequences + sequence) * conv_dim + value.channel] = now;
    }
    for (int at = threadIdx.x; at < in.headdim; at += THREADS) gates[at] = silu(to_float(projected[head * in.headdim + at]));
    const float raw = to_float(projected[d_inner + conv_dim + head]) + dt_bias;
    const float dt = min_or_nan(max_or_nan(softplus(raw), in.dt_min), in.dt_max);
    const float decay = exp_fast(dt * a);
    __syncthreads();
    const Lanes<WIDTH> b = *reinterpret_cast<const Lanes<WIDTH> *>(shared + in.headdim + lane * WIDTH);
    const Lanes<WIDTH> c = *reinterpret_cast<const Lanes<WIDTH> *>(shared + in.headdim + D_STATE + lane * WIDTH);
    float own_squares = 0.0f;
    for (int first = 0; first * WARPS < in.headdim; first += AHEAD) {
#pragma unroll
        for (int step = 0; step < AHEAD; step++) {
            const int row = warp + (first + step) * WARPS;
            if (row >= in.headdim) break;
            Lanes<WIDTH> h = first == 0 ? early[step] : state[row * WARP + lane];
            const float x = shared[row], input = dt * x;
            float y = 0.0f;
#pragma unroll
            for (int i = 0; i < WIDTH; i++) {
                h.at[i] = fmaf(decay, h.at[i], input * b.at[i]);
                y = fmaf(h.at[i], c.at[i], y);
            }
            state[row * WARP + lane] = h;
            y = rounded(fmaf(skip, x, warp_sum(y)));
            const float gated = y * gates[row];
            own_squares = fmaf(gated, gated, own_squares);
            if (lane == 0) in.gated[int64_t(sequence) * d_inner + head * in.headdim + row] = from_float<bf16>(gated * weights[row]);
        }
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
        const bf16 *projected, float *ring, const int *counter, const float *conv_weight, const float *conv_bias,      \
        const float *dt_bias, const float *a, const float *d, float *state, const float *norm_weight, bf16 *gated,     \
        float *parts, int ld, int headdim, int ngroups, float dt_min, float dt_max) {                                  \
        advance<WIDTH>({projected, ring, counter, conv_weight, conv_bias, dt_bias, a, d, state, norm_weight, gated,    \
                        parts, ld, headdim, ngroups, dt_min, dt_max});                                                 \
    }

DECODE_MAMBA2(1, 32)
DECODE_MAMBA2(2, 64)
DECODE_MAMBA2(4, 128)
DECODE_MAMBA2(8, 256)
