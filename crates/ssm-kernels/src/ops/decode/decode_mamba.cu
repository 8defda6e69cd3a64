// One token through the convolution, and through the recurrence and gate of a Mamba mixer; the projection between them is a product.
//
// Launch: blocks (d_inner / THREADS rounded up, sequences), THREADS threads, one per channel; the scan with dynamic shared memory
// dt_rank + 2 D_STATE floats.
//
// Bound by the reading and writing of states, 8 D_STATE bytes a channel, and the reading of dt_proj, 2 dt_rank bytes a channel.
#include "decode.cuh"

namespace {

constexpr int THREADS = 128;
constexpr int D_STATE = 16;

} // namespace

// projected [sequences][2 d_inner]: x, z. ring [D_CONV][sequences][d_inner]: token t at t % D_CONV. conv_weight [D_CONV][d_inner].
// x [sequences][d_inner]: the result, after silu.
extern "C" __global__ void __launch_bounds__(THREADS) decode_mamba_conv(const bf16 *projected, float *ring, const int *counter,
                                                                        const float *conv_weight, const float *conv_bias, bf16 *x,
                                                                        int d_inner) {
    const int channel = blockIdx.x * THREADS + threadIdx.x, sequence = blockIdx.y, sequences = gridDim.y;
    const bool there = channel < d_inner;
    const int token = counter[sequence];
    auto at = [&](int back) { return (int64_t((token - back) % D_CONV) * sequences + sequence) * d_inner + channel; };
    float sum = 0.0f, newest = 0.0f;
    if (there) {
        newest = conv_weight[(D_CONV - 1) * d_inner + channel];
        sum = conv_bias[channel];
#pragma unroll
        for (int back = 1; back < D_CONV; back++) sum = fmaf(conv_weight[(D_CONV - 1 - back) * d_inner + channel], ring[at(back)], sum);
    }
    let_next_start();
    wait_for_inputs();
    if (!there) return;
    const float now = to_float(projected[int64_t(sequence) * 2 * d_inner + channel]);
    ring[at(0)] = now;
    x[int64_t(sequence) * d_inner + channel] = from_float<bf16>(silu(fmaf(newest, now, sum)));
}

// maps [sequences][dt_rank + 2 D_STATE]: dt before its projection, B, C. dt_proj [d_inner][dt_rank], dt_rank a multiple of 8.
// a [D_STATE][d_inner]. state [sequences][d_inner][D_STATE]. gated [sequences][d_inner].
extern "C" __global__ void __launch_bounds__(THREADS) decode_mamba_scan(const bf16 *projected, const bf16 *x, const bf16 *maps,
                                                                        const bf16 *dt_proj, const float *dt_bias, const float *a,
                                                                        const float *d, float *state, bf16 *gated, int d_inner,
                                                                        int dt_rank) {
    extern __shared__ float shared[];
    const int channel = blockIdx.x * THREADS + threadIdx.x, sequence = blockIdx.y, width = dt_rank + 2 * D_STATE;
    const bool there = channel < d_inner;
    const int own = there ? channel : d_inner - 1;
    float4 *const states = reinterpret_cast<float4 *>(state) + (int64_t(sequence) * d_inner + own) * (D_STATE / 4);
    float h[D_STATE], rate[D_STATE];
#pragma unroll
    for (int i = 0; i < D_STATE / 4; i++) *reinterpret_cast<float4 *>(h + 4 * i) = states[i];
#pragma unroll
    for (int i = 0; i < D_STATE; i++) rate[i] = a[i * d_inner + own] * LOG2_E;
    const float bias = dt_bias[own], skip = d[own];
    let_next_start();
    wait_for_inputs();
    for (int i = threadIdx.x; i < width; i += THREADS) shared[i] = to_float(maps[int64_t(sequence) * width + i]);
    const float input = to_float(x[int64_t(sequence) * d_inner + own]);
    const float gate = silu(to_float(projected[int64_t(sequence) * 2 * d_inner + d_inner + own]));
    __syncthreads();
    float raw = 0.0f;
    for (int i = 0; i < dt_rank; i += WIDE<bf16>) {
        const Wide<bf16> weights = load_wide(dt_proj + int64_t(own) * dt_rank + i);
#pragma unroll
        for (int j = 0; j < WIDE<bf16>; j++) raw = fmaf(to_float(weights.at[j]), shared[i + j], raw);
    }
    const float dt = softplus(rounded(raw) + bias);
    float y = skip * input;
#pragma unroll
    for (int i = 0; i < D_STATE; i++) {
        h[i] = fmaf(exp2_fast(dt * rate[i]), h[i], dt * input * shared[dt_rank + i]);
        y = fmaf(h[i], shared[dt_rank + D_STATE + i], y);
    }
    if (!there) return;
#pragma unroll
    for (int i = 0; i < D_STATE / 4; i++) states[i] = *reinterpret_cast<float4 *>(h + 4 * i);
    gated[int64_t(sequence) * d_inner + channel] = from_float<bf16>(y * gate);
}
