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
// Launch: block of whole warps (the result's last bits depend on how many: choose by vocabulary alone), grid rows.
// `log_probs_` needs a vocabulary that 8 divides and 16-byte aligned logits; `log_probs_any_` takes any.
#include <float.h>

#include "rows.cuh"

namespace {

// What a thread knows of its logits. Starts from the lowest finite number, so that masked logits (-inf) add nothing
// instead of making inf - inf.
struct Running {
    float largest = -FLT_MAX;
    float sum = 0.0f; // of exp(logit - largest)
    int index = INT32_MAX;

    // Takes the larger of two, the lower index among equals; the sum is the caller's business.
    __device__ __forceinline__ void take_larger(float other, int other_index) {
        if (other > largest || (other == largest && other_index < index)) {
            largest = other;
            index = other_index;
        }
    }
};

template <int N> __device__ __forceinline__ void add(Running &running, const float (&logit)[N], int first) {
    float largest = logit[0];
#pragma unroll
    for (int i = 1; i < N; ++i) largest = fmaxf(largest, logit[i]);
    if (largest > running.largest) {
        running.sum *= exp_fast(running.largest - largest);
        running.largest = largest;
#pragma unroll
        for (int i = N - 1; i >= 0; --i) {
            if (logit[i] == largest) running.index = first + i;
        }
    }
#pragma unroll
    for (int i = 0; i < N; ++i) running.sum += exp_fast(logit[i] - running.largest);
}

template <int N, int AHEAD, typename T>
__device__ __forceinline__ void score(const T *logits, const uint32_t *targets, float *log_prob, uint32_t *greedy,
                                      int vocabulary) {
    __shared__ float warp_largest[WARP];
    __shared__ int warp_index[WARP];
    __shared__ double warp_total[WARP];
    const int row = blockIdx.x;
    logits += static_cast<int64_t>(row) * vocabulary;

    Running running;
    const int step = blockDim.x * N;
    for (int first = threadIdx.x * N; first < vocabulary; first += AHEAD * step) {
        // Several loads in flight before the first use.
        float logit[AHEAD][N];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
            if (first + a * step < vocabulary) load_floats(logits + first + a * step, logit[a]);
        }
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
            if (first + a * step < vocabulary) add(running, logit[a], first + a * step);
        }
    }

    Running best = running;
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, best.largest, offset);
        best.take_larger(other, __shfl_xor_sync(ALL_LANES, best.index, offset));
    }
    const int warps = blockDim.x / WARP, warp = threadIdx.x / WARP;
    const bool first_lane = threadIdx.x % WARP == 0;
    if (first_lane) {
        warp_largest[warp] = best.largest;
        warp_index[warp] = best.index;
    }
    __syncthreads();
    for (int w = 0; w < warps; ++w) best.take_larger(warp_largest[w], warp_index[w]);

    const double total =
        warp_sum(static_cast<double>(running.sum) * static_cast<double>(exp_fast(running.largest - best.largest)));
    if (first_lane) warp_total[warp] = total;
    __syncthreads();
    if (threadIdx.x != 0) return;
    double sum = 0.0;
    for (int w = 0; w < warps; ++w) sum += warp_total[w];
    const double target = to_float(logits[targets[row]]);
    log_prob[row] = static_cast<float>(target - static_cast<double>(best.largest) - log(sum));
    greedy[row] = best.index == INT32_MAX ? 0 : best.index;
}

} // namespace

#define LOG_PROBS(T, NAME, N, AHEAD)                                                                                   \
    extern "C" __global__ void __launch_bounds__(1024)                                                                 \
        log_probs_##NAME(const T *logits, const uint32_t *targets, float *log_prob, uint32_t *greedy, int vocabulary) { \
        score<N, AHEAD>(logits, targets, log_prob, greedy, vocabulary);                                                \
    }

LOG_PROBS(float, f32, EIGHT, 2)
LOG_PROBS(bf16, bf16, EIGHT, 4)
LOG_PROBS(float, any_f32, 1, 8)
LOG_PROBS(bf16, any_bf16, 1, 8)
