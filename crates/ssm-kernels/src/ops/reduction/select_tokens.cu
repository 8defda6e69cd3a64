// Which tokens stay, by score; and what is known of the tokens that stay.
#include "select.cuh"

// What a kept row carries to the next site. Sizes and protection may be null, on either side.
struct TokenState {
    const float *sizes;
    const uint8_t *is_protected;
    float *sizes_out;
    uint8_t *protected_out;

    __device__ __forceinline__ void copy(int from, int to) const {
        if (sizes_out) sizes_out[to] = sizes ? sizes[from] : 1.0f;
        if (protected_out) protected_out[to] = is_protected ? is_protected[from] : 0;
    }
};

// `select_tokens`: per segment the protected tokens stay, and of the others as many as fill the segment's rows in the
// result: those with the highest scores (the lowest if `keep_highest` is 0), of equal scores the lower index.
// A segment whose length does not change stays as it is.
//
// - scores f32 [tokens]; is_protected u8 [tokens] or null; sizes f32 [tokens] or null (all 1)
// - seg_off, out_off int32 [S + 1]: rows of the segments before and after; a segment must not keep fewer rows than are
//   protected
// - keep int32 [rows_out]: arriving rows, ascending; sizes_out f32, protected_out u8 [rows_out] or null
// - faults uint32 [S], UINT32_MAX before: first row of a segment that loses rows whose score is no finite number
//
// Launch: grid S, block 1024, no dynamic shared memory. Bound by latency: about 10 us for segments of 2048 tokens.
extern "C" __global__ void __launch_bounds__(SELECT_THREADS, 1)
    select_tokens(const float *__restrict__ scores, const uint8_t *__restrict__ is_protected,
                  const float *__restrict__ sizes, const int *__restrict__ seg_off, const int *__restrict__ out_off,
                  int keep_highest, int *__restrict__ keep, float *__restrict__ sizes_out,
                  uint8_t *__restrict__ protected_out, uint32_t *__restrict__ faults) {
    wait_for_inputs();
    __shared__ SelectShared shared;
    int begin = seg_off[blockIdx.x], n = seg_off[blockIdx.x + 1] - begin;
    int out = out_off[blockIdx.x], n_out = out_off[blockIdx.x + 1] - out;
    TokenState state = {sizes, is_protected, sizes_out, protected_out};
    if (n_out == n) {
        for (int i = threadIdx.x; i < n; i += SELECT_THREADS) {
            keep[out + i] = begin + i;
            state.copy(begin + i, out + i);
        }
        return;
    }
    note_faults(n, faults + blockIdx.x, [&](int i) { return !isfinite(scores[begin + i]); });
    int n_protected = 0;
    for (int base = 0; is_protected && base < n; base += SELECT_THREADS) {
        int i = base + threadIdx.x;
        n_protected += __syncthreads_count(i < n && is_protected[begin + i]);
    }
    auto key_at = [&](int i, uint32_t &key) {
        key = score_key(scores[begin + i]);
        if (!keep_highest) key = ~key;
        return !is_protected || !is_protected[begin + i];
    };
    Threshold threshold = find_threshold(n, n_out - n_protected, key_at, shared);
    int ties = 0, kept = 0;
    for (int base = 0; base < n; base += SELECT_THREADS) {
        int i = base + threadIdx.x;
        uint32_t key = 0;
        bool part = i < n && key_at(i, key);
        bool stays = is_chosen(threshold, part, key, ties, shared.counts[0]) || (i < n && !part);
        int total;
        int rank = kept + block_rank(stays, shared.counts[1], total);
        kept += total;
        if (stays && rank < n_out) {
            keep[out + rank] = begin + i;
            state.copy(begin + i, out + rank);
        }
    }
}

// `gather_tokens`: sizes and protection of the kept rows of a plan that something else made.
//
// - keep int32 [rows_out]; the rest as above
//
// Launch: grid ceil(rows_out / 256), block 256.
extern "C" __global__ void gather_tokens(const int *__restrict__ keep, int rows_out, const float *__restrict__ sizes,
                                         const uint8_t *__restrict__ is_protected, float *__restrict__ sizes_out,
                                         uint8_t *__restrict__ protected_out) {
    wait_for_inputs();
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    TokenState state = {sizes, is_protected, sizes_out, protected_out};
    if (row < rows_out) state.copy(keep[row], row);
}
