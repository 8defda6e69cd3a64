// One token through the recurrence and gate of a Mamba mixer.
//
// A block has 32 channels, one a lane, of as many sequences as it has warps: they share the weights that dt is projected by.
//
// Launch: blocks (d_inner / 32, sequences / WARPS rounded up), THREADS threads, dynamic shared memory 32 (dt_rank + 8) 2
// bytes for dt_proj and WARPS (dt_rank + 2 D_STATE) 4 for the maps. dt_rank is a multiple of 8.
//
// Bound by the reading and writing of states, 8 D_STATE bytes a channel, and the reading of dt_proj, 2 dt_rank bytes a channel.
#include "decode.cuh"

namespace {

constexpr int THREADS = 256, WARPS = THREADS / WARP;
constexpr int D_STATE = 16;

} // namespace

// projected [sequences][2 d_inner]: the first half is not read, the second is z. x [sequences][d_inner]: after the convolution.
// maps [sequences][dt_rank + 2 D_STATE]: dt before its projection, B, C. dt_proj [d_inner][dt_rank]. a [D_STATE][d_inner].
// state [sequences][d_inner][D_STATE]. gated [sequences][d_inner].
extern "C" __global__ void __launch_bounds__(THREADS) decode_mamba_scan(const bf16 *projected, const bf16 *x, const bf16 *maps,
                                                                        const bf16 *dt_proj, const float *dt_bias, const float *a,
                                                                        const float *d, float *state, bf16 *gated, int d_inner,
                                                                        int dt_rank, int sequences) {
    extern __shared__ uint4 shared[];
    constexpr int PIECE = WIDE<bf16>;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, width = dt_rank + 2 * D_STATE, stride = dt_rank + PIECE;
    const int first = blockIdx.x * WARP, channel = first + lane, sequence = blockIdx.y * WARPS + warp;
    bf16 *const projection = reinterpret_cast<bf16 *>(shared); // [channel][stride]; no bank conflict where dt_rank is a multiple of 16
    float *const own_maps = reinterpret_cast<float *>(projection + WARP * stride) + warp * width;
    float4 *const states = reinterpret_cast<float4 *>(state) + (int64_t(sequence) * d_inner + channel) * (D_STATE / 4);
    float h[D_STATE], rate[D_STATE];
#pragma unroll
    for (int i = 0; i < D_STATE / 4; i++) *reinterpret_cast<float4 *>(h + 4 * i) = sequence < sequences ? states[i] : float4{};
#pragma unroll
    for (int i = 0; i < D_STATE; i++) rate[i] = a[i * d_inner + channel] * LOG2_E;
    const float bias = dt_bias[channel], skip = d[channel];
    const int pieces = dt_rank / PIECE;
    for (int at = threadIdx.x; at < WARP * pieces; at += THREADS) {
        const int row = at / pieces, piece = at % pieces;
        const bf16 *const from = dt_proj + int64_t(first + row) * dt_rank + piece * PIECE;
        *reinterpret_cast<uint4 *>(projection + row * stride + piece * PIECE) = *reinterpret_cast<const uint4 *>(from);
    }
    let_next_start();
    wait_for_inputs();
    __syncthreads();
    if (sequence >= sequences) return;
    for (int i = lane; i < width; i += WARP) own_maps[i] = to_float(maps[int64_t(sequence) * width + i]);
    const float input = to_float(x[int64_t(sequence) * d_inner + channel]);
    const float gate = silu(to_float(projected[int64_t(sequence) * 2 * d_inner + d_inner + channel]));
    __syncwarp();
    float raw = 0.0f;
    for (int i = 0; i < dt_rank; i += PIECE) {
        const Wide<bf16> weights = load_wide(projection + lane * stride + i);
#pragma unroll
        for (int j = 0; j < PIECE; j++) raw = fmaf(to_float(weights.at[j]), own_maps[i + j], raw);
    }
    const float dt = softplus(rounded(raw) + bias);
    float y = skip * input;
#pragma unroll
    for (int i = 0; i < D_STATE; i++) {
        h[i] = fmaf(exp2_fast(dt * rate[i]), h[i], dt * input * own_maps[dt_rank + i]);
        y = fmaf(h[i], own_maps[dt_rank + D_STATE + i], y);
    }
#pragma unroll
    for (int i = 0; i < D_STATE / 4; i++) states[i] = *reinterpret_cast<float4 *>(h + 4 * i);
    gated[int64_t(sequence) * d_inner + channel] = from_float<bf16>(y * gate);
}
