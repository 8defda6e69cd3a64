// Importance scores and inverse norms of tokens in one read.
//
// `token_scores_{f32,bf16}`: x T [tokens, ld] (row stride `ld` elements, `width` of them used) ->
// - scores f32 [tokens] (may be null), by `metric`: 0 clip, mean of the positive parts; 1 l1, mean magnitude;
//   2 l2, Euclidean norm; 3 mean; 4 l_inf, largest magnitude; 5 mean, the most negative number where it is 0
// - inv_norm f32 [tokens] (may be null): 1 / Euclidean norm of the row, negative values taken as zero if `clip_norm`;
//   0 for a zero row
// Both are NaN or infinite where a value of the row that counts is.
//
// Sums are float64 in a fixed tree and rounded to float32 once. A row's results depend on that row alone.
//
// Launch: block 256 (a warp per row), grid ceil(tokens / 8), no dynamic shared memory.
// Bound by bytes: one read of x; 168 MB = 0.055 ms for 32768 x 2560 bf16 on an H100.
// Alignment: x 16 bytes, width and ld multiples of 16 / sizeof(T). `token_scores_any_*` takes anything.
#include "common.cuh"
#include <cfloat>

constexpr int ROWS_PER_BLOCK = 8;
constexpr int LOADS = 5;

enum Metric { CLIP = 0, L1 = 1, L2 = 2, MEAN = 3, L_INF = 4, RELEASED_MEAN = 5, NO_METRIC = 6 };
enum Norm { NO_NORM = 0, PLAIN_NORM = 1, CLIPPED_NORM = 2 };

// The larger of two numbers, NaN if either is.
__device__ __forceinline__ double larger(double a, double b) { return b > a || isnan(b) ? b : a; }

template <int METRIC, int NORM> struct Sums {
    double score = 0.0, squares = 0.0;

    __device__ __forceinline__ void add(float value) {
        double exact = value;
        // A comparison that NaN fails, so that it is not taken for a negative number.
        double positive = value <= 0.0f ? 0.0 : exact;
        if (METRIC == CLIP) score += positive;
        if (METRIC == L1) score += fabs(exact);
        if (METRIC == L2) score += exact * exact;
        if (METRIC == MEAN || METRIC == RELEASED_MEAN) score += exact;
        if (METRIC == L_INF) score = larger(score, fabs(exact));
        if (NORM == PLAIN_NORM) squares += exact * exact;
        if (NORM == CLIPPED_NORM) squares += positive * positive;
    }
    template <typename T> __device__ __forceinline__ void add(const Wide<T> &values) {
#pragma unroll
        for (int j = 0; j < WIDE<T>; j++) add(to_float(values.at[j]));
    }
};

template <typename T, bool ALIGNED, int METRIC, int NORM>
__device__ __forceinline__ void score_row(const T *row, int width, float *score, float *inv_norm) {
    int lane = threadIdx.x % WARP;
    Sums<METRIC, NORM> sums;
    if (ALIGNED) {
        // Several loads in flight before the first use.
        constexpr int STEP = WARP * WIDE<T>;
        int at = lane * WIDE<T>;
        for (; at + (LOADS - 1) * STEP < width; at += LOADS * STEP) {
            Wide<T> values[LOADS];
#pragma unroll
            for (int l = 0; l < LOADS; l++) values[l] = load_wide(row + at + l * STEP);
#pragma unroll
            for (int l = 0; l < LOADS; l++) sums.add(values[l]);
        }
        for (; at < width; at += STEP) sums.add(load_wide(row + at));
    } else {
#pragma unroll 4
        for (int at = lane; at < width; at += WARP) sums.add(to_float(row[at]));
    }
    if (METRIC != NO_METRIC) {
        double sum = sums.score;
        if (METRIC == L_INF) {
#pragma unroll
            for (int offset = WARP / 2; offset > 0; offset /= 2)
                sum = larger(sum, __shfl_xor_sync(ALL_LANES, sum, offset));
        } else {
            sum = warp_sum(sum);
        }
        double result = METRIC == L2 ? sqrt(sum) : METRIC == L_INF ? sum : width > 0 ? sum / width : 0.0;
        if (METRIC == RELEASED_MEAN && result == 0.0) result = -(double)FLT_MAX;
        if (lane == 0) *score = (float)result;
    }
    if (NORM != NO_NORM) {
        double norm = sqrt(warp_sum(sums.squares));
        // The bound keeps the inverse of a denormal norm finite, so that it never meets a zero as infinity. NaN passes.
        double inverse = norm == 0.0 ? 0.0 : 1.0 / norm;
        if (lane == 0) *inv_norm = (float)(inverse > (double)FLT_MAX ? (double)FLT_MAX : inverse);
    }
}

template <typename T, bool ALIGNED, int METRIC>
__device__ __forceinline__ void score_row(const T *row, int width, int norm, float *score, float *inv_norm) {
    if (norm == PLAIN_NORM) score_row<T, ALIGNED, METRIC, PLAIN_NORM>(row, width, score, inv_norm);
    else if (norm == CLIPPED_NORM) score_row<T, ALIGNED, METRIC, CLIPPED_NORM>(row, width, score, inv_norm);
    else score_row<T, ALIGNED, METRIC, NO_NORM>(row, width, score, inv_norm);
}

template <typename T, bool ALIGNED>
__device__ __forceinline__ void token_scores(const T *x, int64_t ld, int tokens, int width, int metric, int clip_norm,
                                             float *scores, float *inv_norm) {
    int token = blockIdx.x * ROWS_PER_BLOCK + threadIdx.x / WARP;
    if (token >= tokens) return;
    const T *row = x + token * ld;
    float *score = scores + token, *inverse = inv_norm + token;
    int norm = !inv_norm ? NO_NORM : clip_norm ? CLIPPED_NORM : PLAIN_NORM;
    if (!scores) score_row<T, ALIGNED, NO_METRIC>(row, width, norm, score, inverse);
    else if (metric == CLIP) score_row<T, ALIGNED, CLIP>(row, width, norm, score, inverse);
    else if (metric == L1) score_row<T, ALIGNED, L1>(row, width, norm, score, inverse);
    else if (metric == L2) score_row<T, ALIGNED, L2>(row, width, norm, score, inverse);
    else if (metric == L_INF) score_row<T, ALIGNED, L_INF>(row, width, norm, score, inverse);
    else if (metric == RELEASED_MEAN) score_row<T, ALIGNED, RELEASED_MEAN>(row, width, norm, score, inverse);
    else score_row<T, ALIGNED, MEAN>(row, width, norm, score, inverse);
}

#define TOKEN_SCORES(name, T, ALIGNED)                                                                                 \
    extern "C" __global__ void __launch_bounds__(ROWS_PER_BLOCK *WARP, 4)                                              \
        name(const T *__restrict__ x, int64_t ld, int tokens, int width, int metric, int clip_norm,                    \
             float *__restrict__ scores, float *__restrict__ inv_norm) {                                               \
        wait_for_inputs();                                                                                             \
        token_scores<T, ALIGNED>(x, ld, tokens, width, metric, clip_norm, scores, inv_norm);                           \
    }

TOKEN_SCORES(token_scores_f32, float, true)
TOKEN_SCORES(token_scores_bf16, bf16, true)
TOKEN_SCORES(token_scores_any_f32, float, false)
TOKEN_SCORES(token_scores_any_bf16, bf16, false)
