// The ends of a decoding step: the most likely token of each sequence, and the embedding of a token as the first layer reads it.
//
// Launch: blocks (sequences), THREADS threads.
#include "decode.cuh"

namespace {

constexpr int THREADS = 1024;

struct Embedding {
    const bf16 *table; // [vocab][next.width]
    float factor;
    float *residual;   // [sequences][next.width]
    NormedRows next;

    // The first part of the sum of squares is the whole, the others are zero.
    __device__ __forceinline__ void put(int sequence, int token) const {
        __shared__ float squares[THREADS / WARP];
        const int width = next.width, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
        float square = 0.0f;
        for (int channel = threadIdx.x; channel < width; channel += THREADS) {
            const float value = from_table(token, channel);
            residual[int64_t(sequence) * width + channel] = value;
            next.put(sequence, channel, value * next.weight[channel]);
            square = fmaf(value, value, square);
        }
        square = warp_sum(square);
        if (lane == 0) squares[warp] = square;
        __syncthreads();
        if (warp != 0) return;
        next.put_squares(sequence, 0, squares[lane]);
        for (int part = 1 + lane; part < next.n; part += WARP) next.parts[sequence * next.n + part] = 0.0f;
    }
    // The factor is applied in the table's dtype, as `LanguageModel::embed` does.
    __device__ __forceinline__ float from_table(int token, int channel) const {
        const float value = to_float(table[int64_t(token) * next.width + channel]);
        return factor == 1.0f ? value : to_float(from_float<bf16>(value * factor));
    }
};

// Larger logit first, then the smaller token; anything that is no number wins, so that it is seen.
__device__ __forceinline__ unsigned long long key(float logit, int token) {
    const uint32_t bits = __float_as_uint(logit);
    const uint32_t ordered = isnan(logit) ? 0xffffffffu : (bits & 0x80000000u ? ~bits : bits | 0x80000000u);
    return static_cast<unsigned long long>(ordered) << 32 | (0xffffffffu - token);
}

} // namespace

// Starts a sequence at `tokens`.
extern "C" __global__ void __launch_bounds__(THREADS) decode_embed(const bf16 *table, float factor, const int *tokens,
                                                                   float *residual, const float *norm_weight, bf16 *rows,
                                                                   float *parts, int width, int n_parts) {
    wait_for_inputs();
    Embedding{table, factor, residual, {norm_weight, rows, parts, width, n_parts}}.put(blockIdx.x, tokens[blockIdx.x]);
}

// history [room][sequences]: the chosen tokens, a ring that begins at `first`; -1 where a logit is no number (token 0 goes on).
// `counter` [sequences] counts the tokens read so far.
extern "C" __global__ void __launch_bounds__(THREADS) decode_choose(const float *logits, int vocab, const bf16 *table, float factor,
                                                                    int *history, int *counter, int first, int room, float *residual,
                                                                    const float *norm_weight, bf16 *rows, float *parts,
                                                                    int width, int n_parts) {
    __shared__ unsigned long long best[THREADS / WARP];
    wait_for_inputs();
    const int sequence = blockIdx.x;
    const float *own = logits + int64_t(sequence) * vocab;
    unsigned long long most = 0;
    for (int token = threadIdx.x; token < vocab; token += THREADS) most = max(most, key(own[token], token));
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) most = max(most, __shfl_xor_sync(ALL_LANES, most, offset));
    if (threadIdx.x % WARP == 0) best[threadIdx.x / WARP] = most;
    __syncthreads();
    most = best[threadIdx.x % (THREADS / WARP)];
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) most = max(most, __shfl_xor_sync(ALL_LANES, most, offset));
    const bool fault = most >> 32 == 0xffffffffu;
    const int token = fault ? 0 : static_cast<int>(0xffffffffu - static_cast<uint32_t>(most));
    if (threadIdx.x == 0) {
        history[(counter[sequence] - first) % room * static_cast<int>(gridDim.x) + sequence] = fault ? -1 : token;
        ++counter[sequence];
    }
    Embedding{table, factor, residual, {norm_weight, rows, parts, width, n_parts}}.put(sequence, token);
}
