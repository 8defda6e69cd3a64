// `protect_last`: protection of a stream in which the last candidates of each segment are protected too, as many as `last` says.
//
// - is_protected u8 [tokens]: the others are the candidates; seg_off int32 [S + 1]; last int32 [S], at most the candidates
// - protected_out u8 [tokens]
//
// Launch: grid S, block 1024. Bound by latency: about 5 us for segments of 2048 tokens.
#include "select.cuh"

extern "C" __global__ void __launch_bounds__(SELECT_THREADS, 1)
    protect_last(const uint8_t *__restrict__ is_protected, const int *__restrict__ seg_off, const int *__restrict__ last,
                 uint8_t *__restrict__ protected_out) {
    wait_for_inputs();
    __shared__ SelectShared shared;
    const int begin = seg_off[blockIdx.x], n = seg_off[blockIdx.x + 1] - begin;
    const int wanted = last[blockIdx.x];
    int counted = 0;
    for (int base = 0; base < n; base += SELECT_THREADS) {
        const int i = n - 1 - (base + (int)threadIdx.x);  // from the end
        const bool candidate = i >= 0 && !is_protected[begin + i];
        int total;
        const int rank = counted + block_rank(candidate, shared.counts[base / SELECT_THREADS % 2], total);
        counted += total;
        if (i >= 0) protected_out[begin + i] = !candidate || rank < wanted;
    }
}
