// One importance of a sum of ranks (`blocks::rank_sum` of the crate reduction-strategies): to `sums` of every row it adds
// weight * r, with r the number of candidates of the row's segment that score lower, those that score the same counting half; or, if
// `highest` is 0, what is missing from r to the best place. After the last term `out` is the sum over the number of other candidates.
//
// - scores f32 [tokens]; is_protected u8 [tokens] or null: the others are the candidates; seg_off int32 [S + 1]
// - sums f64 [tokens], read unless `first`; out f32 [tokens], written if `last`: NaN where a score is NaN or infinite
//
// Sums are those of the host to the bit: float64 without fused multiply-add.
//
// Launch: block 256, grid (ceil(longest segment / 256), S). Work grows with the square of a segment, one comparison a pair:
// 0.1 ms for 32768 tokens of one sequence on an H200.
#include "select.cuh"

constexpr int TILE = 256;

extern "C" __global__ void __launch_bounds__(TILE)
    rank_term(const float *__restrict__ scores, const uint8_t *__restrict__ is_protected, const int *__restrict__ seg_off,
              double weight, int highest, int first, int last, double *__restrict__ sums, float *__restrict__ out) {
    wait_for_inputs();
    __shared__ uint32_t keys[TILE];
    __shared__ uint8_t takes_part[TILE];
    const int begin = seg_off[blockIdx.y], n = seg_off[blockIdx.y + 1] - begin;
    if (blockIdx.x * TILE >= n) return;
    const int own = blockIdx.x * TILE + threadIdx.x;
    const bool present = own < n;
    const float score = present ? scores[begin + own] : 0.0f;
    const uint32_t key = score_key(score);
    int lower = 0, equal = 0, candidates = 0;
    for (int base = 0; base < n; base += TILE) {
        const int i = base + threadIdx.x;
        __syncthreads();
        keys[threadIdx.x] = i < n ? score_key(scores[begin + i]) : 0u;
        takes_part[threadIdx.x] = i < n && !(is_protected && is_protected[begin + i]);
        __syncthreads();
#pragma unroll 8
        for (int j = 0; j < TILE; j++) {
            candidates += takes_part[j];
            lower += takes_part[j] && keys[j] < key;
            equal += takes_part[j] && keys[j] == key;
        }
    }
    if (!present) return;
    const double others = candidates - 1;
    const double place = lower + (equal - 1) / 2.0;
    const double rank = highest ? place : others - place;
    double sum = __dadd_rn(first ? 0.0 : sums[begin + own], __dmul_rn(weight, rank));
    if (!isfinite(score)) sum = NAN;
    sums[begin + own] = sum;
    if (last) out[begin + own] = (float)__ddiv_rn(sum, others > 1.0 ? others : 1.0);
}
