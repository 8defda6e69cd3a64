// Log-probability of one target per row of logits, and the greedy token.
//
//   log_prob = logit[target] - max - ln(sum(exp(logit - max)));  greedy = lowest index of the largest logit
//
// logits T [rows, vocabulary] without gaps, targets uint32 [rows] -> log_prob float32 [rows], greedy uint32 [rows].
// One pass: every thread keeps the largest logit it has seen and the sum of exponentials relative to it; the threads'
// sums are combined in float64 in a fixed order.
//
// Bound by memory: sizeof(T) bytes per logit (4096 rows of 50288 in bf16: 0.14 ms at 3 TB/s).
//
// Launch: block 256 (fewer whole warps work too; the result's last bits depend on how many), grid rows.
// `log_probs_` needs a vocabulary that 8 divides and 16-byte aligned logits; `log_probs_any_` takes any.
#include <float.h>

#include "rows.cuh"

namespace {

// What a thread knows of its logits.
struct Running {
    // Starts from the lowest finite number, so that masked logits (-inf) add nothing instead of making inf - inf.
    float largest = -FLT_MAX;
    int group = 0; // where it stood first

    // sum of 2^(logit * LOG2_E - shift): one fused multiply-add and one power a logit. The shift may fall behind the
    // largest logit by SLACK before the sum is rescaled, so that this branch is rare.
    float sum = 0.0f;
    float shift = -FLT_MAX;
};
constexpr float SLACK = 16.0f;

// Adds COUNT loaded groups of N logits.
template <int COUNT, int N>
__device__ __forceinline__ void add(Running &running, const float (&logit)[COUNT][N], int group) {
    float largest = logit[0][0];
#pragma unroll
    for (int c = 0; c < COUNT; ++c) {
#pragma unroll
        for (int i = 0; i < N; ++i) largest = fmaxf(largest, logit[c][i]);
    }
    if (largest > running.largest) {
        running.largest = largest;
        running.group = group;
    }
    if (largest * LOG2_E > running.shift + SLACK) {
        const float shift = largest * LOG2_E;
        running.sum *= exp2_fast(running.shift - shift);
        running.shift = shift;
    }
#pragma unroll
    for (int c = 0; c < COUNT; ++c) {
#pragma unroll
        for (int i = 0; i < N; ++i) running.sum += exp2_fast(fmaf(logit[c][i], LOG2_E, -running.shift));
    }
}

template <int N, int AHEAD, typename T>
__device__ __forceinline__ void score(const T *logits, const uint32_t *targets, float *log_prob, uint32_t *greedy,
                                      int vocabulary) {
    __shared__ float warp_largest[WARP];
    __shared__ int warp_index[WARP];
    __shared__ double warp_total[WARP];
    const int row = blockIdx.x;
    logits += static_cast<int64_t>(row) * vocabulary;

    // AHEAD loads in flight before the first use, one after the other at the end of the row.
    Running running;
    const int step = blockDim.x * N;
    int first = threadIdx.x * N;
    for (; first + (AHEAD - 1) * step < vocabulary; first += AHEAD * step) {
        float logit[AHEAD][N];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) load_floats(logits + first + a * step, logit[a]);
        add(running, logit, first);
    }
    for (; first < vocabulary; first += step) {
        float logit[1][N];
        load_floats(logits + first, logit[0]);
        add(running, logit, first);
    }

    float largest = running.largest;
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, offset));
    }
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP;
    const bool first_lane = threadIdx.x % WARP == 0;
    if (first_lane) warp_largest[warp] = largest;
    __syncthreads();
    for (int w = 0; w < warps; ++w) largest = fmaxf(largest, warp_largest[w]);

    // Threads that saw the largest logit look up where: the first hit from its group on.
    int index = INT32_MAX;
    if (running.largest == largest) {
        for (int a = AHEAD - 1; a >= 0; --a) {
            for (int i = N - 1; i >= 0; --i) {
                const int at = running.group + a * step + i;
                if (at < vocabulary && to_float(logits[at]) == largest) index = at;
            }
        }
    }
    // The sum relative to the largest logit, exactly what the shift left out.
    const double behind = running.shift - static_cast<double>(largest) * static_cast<double>(LOG2_E);
    double total = static_cast<double>(running.sum) * static_cast<double>(exp2_fast(static_cast<float>(behind)));
    total = warp_sum(total);
    index = __reduce_min_sync(ALL_LANES, index);
    if (first_lane) {
        warp_total[warp] = total;
        warp_index[warp] = index;
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    double sum = 0.0;
    for (int w = 0; w < warps; ++w) {
        sum += warp_total[w];
        index = min(index, warp_index[w]);
    }
    const double target = to_float(logits[targets[row]]);
    log_prob[row] = static_cast<float>(target - static_cast<double>(largest) - log(sum));
    greedy[row] = index == INT32_MAX ? 0 : index;
}

} // namespace

// Threads and blocks per multiprocessor bound the registers: many small blocks hide the two barriers at the end of a
// row.
#define LOG_PROBS(T, NAME, N, AHEAD, BLOCKS)                                                                           \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS)                                                          \
        log_probs_##NAME(const T *logits, const uint32_t *targets, float *log_prob, uint32_t *greedy,                  \
                         int vocabulary) {                                                                             \
        wait_for_inputs();                                                                                             \
        score<N, AHEAD>(logits, targets, log_prob, greedy, vocabulary);                                                \
    }

LOG_PROBS(float, f32, EIGHT, 2, 8)
LOG_PROBS(bf16, bf16, EIGHT, 2, 8)
LOG_PROBS(float, any_f32, 1, 8, 4)
LOG_PROBS(bf16, any_bf16, 1, 8, 4)
