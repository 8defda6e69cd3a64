// Tokens decided in order (`blocks::online` of the crate reduction-strategies).
//
// `novelty_{f32,bf16}`: minus the largest cosine similarity of each row with the `window` rows of its segment before it (all of them
// where window is 0); 1 for a segment's first row.
// - x T [tokens, ld], `width` columns used; inv_norm f32 [tokens]; row_segment-free: seg_off int32 [S + 1] -> scores f32 [tokens]
// Launch: block 256 (a warp per row), grid (ceil(longest segment / 8), S). Reads `window` rows per row.
//
// `earlier_ranks`: for each candidate, how many candidates before it there are, and how many of those score at least as high.
// Launch: block 256, grid (ceil(longest segment / 256), S).
//
// `decide_in_order`: fates from these, block by block of `block` candidates with the quota that `ceil(keep_ratio * n)` leaves it.
// - flags f32 [tokens]: 1 where a candidate is kept, 0 where it is removed, NaN where a score is NaN or infinite; rows of a segment
//   that keeps all of them are not written
// Launch: block 32, grid S. Bound by latency: about 20 ns a token.
#include "select.cuh"

constexpr int TILE = 256;

template <typename T>
__device__ __forceinline__ void novelty(const T *x, int64_t ld, int width, const float *inv_norm, bool clip, const int *seg_off,
                                        int window, float *scores) {
    const int begin = seg_off[blockIdx.y], n = seg_off[blockIdx.y + 1] - begin;
    const int own = blockIdx.x * (TILE / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (own >= n) return;
    const T *row = x + (begin + own) * ld;
    auto feature = [&](const T *of, int column) {
        const float value = to_float(of[column]);
        return (double)(clip ? max_or_nan(value, 0.0f) : value);
    };
    double largest = -1.0;
    bool any = false;
    for (int other = window > 0 ? max(own - window, 0) : 0; other < own; ++other) {
        const T *earlier = x + (begin + other) * ld;
        double dot = 0.0;
        for (int column = lane; column < width; column += WARP) dot += feature(row, column) * feature(earlier, column);
        dot = warp_sum(dot) * inv_norm[begin + own] * inv_norm[begin + other];
        if (!any || dot > largest || isnan(dot)) largest = dot;
        any = true;
    }
    if (lane == 0) scores[begin + own] = isfinite(inv_norm[begin + own]) ? (float)-largest : NAN;
}

#define NOVELTY(name, T)                                                                                               \
    extern "C" __global__ void __launch_bounds__(TILE)                                                                 \
        name(const T *__restrict__ x, int64_t ld, int width, const float *__restrict__ inv_norm, int clip,             \
             const int *__restrict__ seg_off, int window, float *__restrict__ scores) {                                \
        wait_for_inputs();                                                                                             \
        novelty<T>(x, ld, width, inv_norm, clip != 0, seg_off, window, scores);                                        \
    }
NOVELTY(novelty_f32, float)
NOVELTY(novelty_bf16, bf16)

extern "C" __global__ void __launch_bounds__(TILE)
    earlier_ranks(const float *__restrict__ scores, const uint8_t *__restrict__ is_protected,
                  const int *__restrict__ seg_off, int *__restrict__ earlier, int *__restrict__ as_high) {
    wait_for_inputs();
    __shared__ uint32_t keys[TILE];
    __shared__ uint8_t takes_part[TILE];
    const int begin = seg_off[blockIdx.y], n = seg_off[blockIdx.y + 1] - begin;
    if (blockIdx.x * TILE >= n) return;
    const int own = blockIdx.x * TILE + threadIdx.x;
    const uint32_t key = own < n ? score_key(scores[begin + own]) : 0u;
    int before = 0, high = 0;
    for (int base = 0; base <= blockIdx.x * TILE; base += TILE) {
        const int i = base + threadIdx.x;
        __syncthreads();
        keys[threadIdx.x] = i < n ? score_key(scores[begin + i]) : 0u;
        takes_part[threadIdx.x] = i < n && !(is_protected && is_protected[begin + i]);
        __syncthreads();
#pragma unroll 8
        for (int j = 0; j < TILE; j++) {
            const bool part = takes_part[j] && base + j < own;
            before += part;
            high += part && keys[j] >= key;
        }
    }
    if (own >= n) return;
    earlier[begin + own] = before;
    as_high[begin + own] = high;
}

// `schedule::n_keep` of the crate reduction-strategies, to the bit.
__device__ __forceinline__ int n_keep(double keep_ratio, int n) {
    return min((int)ceil(__dmul_rn(__dmul_rn(keep_ratio, (double)n), 1.0 - 1e-9)), n);
}

extern "C" __global__ void __launch_bounds__(WARP)
    decide_in_order(const float *__restrict__ scores, const uint8_t *__restrict__ is_protected,
                    const int *__restrict__ earlier, const int *__restrict__ as_high, const int *__restrict__ seg_off,
                    const int *__restrict__ out_off, double keep_ratio, int block, float *__restrict__ flags) {
    wait_for_inputs();
    const int begin = seg_off[blockIdx.x], n = seg_off[blockIdx.x + 1] - begin;
    if (out_off[blockIdx.x + 1] - out_off[blockIdx.x] == n) return;
    const int lane = threadIdx.x;
    auto takes_part = [&](int i) { return i < n && !(is_protected && is_protected[begin + i]); };
    int candidates = 0;
    for (int base = 0; base < n; base += WARP) candidates += __popc(__ballot_sync(ALL_LANES, takes_part(base + lane)));
    // All lanes walk through the tokens with the same numbers.
    long long quota = 0;
    for (int base = 0; base < n; base += WARP) {
        const int i = base + lane;
        const unsigned parts = __ballot_sync(ALL_LANES, takes_part(i));
        const int before = i < n ? earlier[begin + i] : 0, high = i < n ? as_high[begin + i] : 0;
        bool kept = true;
        for (int j = 0; j < WARP; j++) {
            const long long index = __shfl_sync(ALL_LANES, before, j), above = __shfl_sync(ALL_LANES, high, j);
            if (!(parts >> j & 1)) continue;
            const long long rest = min((long long)block - index % block, candidates - index);
            if (index % block == 0) quota = n_keep(keep_ratio, (int)(index + rest)) - n_keep(keep_ratio, (int)index);
            const bool keeps = quota > 0 && (quota >= rest || above * rest < quota * (index + 1));
            quota -= keeps;
            if (lane == j) kept = keeps;
        }
        if (i < n) flags[begin + i] = isfinite(scores[begin + i]) ? (kept ? 1.0f : 0.0f) : NAN;
    }
}
