// Choosing the k highest of a list with one block, ties to the lower index, and order-preserving compaction.
//
// Everything here runs in a block of SELECT_THREADS threads that works on one segment. Counts are integers, so the
// order in which threads add to them does not matter.
#pragma once

#include "common.cuh"

constexpr int SELECT_THREADS = 1024;
constexpr int SELECT_WARPS = SELECT_THREADS / WARP;
constexpr int RADIX_BITS = 8;
constexpr int RADIX_BINS = 1 << RADIX_BITS;

// A score as a number whose unsigned order is the order of scores: -0 counts as 0. A score that is no finite number is
// no score: whoever ranks notes it (`note_faults`), and the host discards the plan; it counts as negative infinity only so
// that the plan stays one.
__device__ __forceinline__ uint32_t score_key(float score) {
    float canonical = fmaxf(score, -INFINITY) + 0.0f;
    uint32_t bits = __float_as_uint(canonical);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The score of a key.
__device__ __forceinline__ float key_score(uint32_t key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// An edge from a source as one number: similarity first, then the lower target. 0 is less than any edge.
__device__ __forceinline__ unsigned long long edge_key(float similarity, uint32_t target) {
    return (unsigned long long)score_key(similarity) << 32 | (0xffffffffu - target);
}
__device__ __forceinline__ uint32_t edge_target(unsigned long long edge) { return 0xffffffffu - (uint32_t)edge; }
__device__ __forceinline__ uint32_t edge_similarity(unsigned long long edge) { return edge >> 32; }

// Whether the similarity of an edge is a finite number; 0, no edge, has none.
__device__ __forceinline__ bool is_finite_key(uint32_t key) {
    return key > 0x007fffffu && key < 0xff800000u;  // the keys of both infinities
}

// Writes down the first row of a segment of which `is_bad(i)` says that what it is ranked by is no finite number; threads
// of the block share the n rows. `fault` holds UINT32_MAX before.
template <typename IsBad> __device__ __forceinline__ void note_faults(int n, uint32_t *fault, IsBad is_bad) {
    for (int i = threadIdx.x; i < n; i += SELECT_THREADS)
        if (is_bad(i)) atomicMin(fault, (uint32_t)i);
}

// Shared memory of the functions below.
struct SelectShared {
    int bins[2][RADIX_BINS];
    int counts[2][SELECT_WARPS];
    uint32_t digit;
    int left;  // still to be chosen among the elements with this digit
    bool all;  // that is all of them
};

// Of the elements that take part: chosen are those with a higher key, and the first `ties` of those with this key.
struct Threshold {
    uint32_t key;
    int ties;
};

// Numbers the flagged threads of a block in thread order. Every call needs the other `counts` than the call before it,
// which is what makes one barrier per call enough.
__device__ __forceinline__ int block_rank(bool flag, int *counts, int &total) {
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    unsigned flags = __ballot_sync(ALL_LANES, flag);
    if (lane == 0) counts[warp] = __popc(flags);
    __syncthreads();
    int count = counts[lane];
    total = __reduce_add_sync(ALL_LANES, count);
    return __reduce_add_sync(ALL_LANES, lane < warp ? count : 0) + __popc(flags & ((1u << lane) - 1));
}

// Sum of `value` over the threads before this one; same rule for `counts`.
__device__ __forceinline__ int block_sum_before(int value, int *counts, int &total) {
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int inclusive = value;
#pragma unroll
    for (int offset = 1; offset < WARP; offset *= 2) {
        int other = __shfl_up_sync(ALL_LANES, inclusive, offset);
        if (lane >= offset) inclusive += other;
    }
    if (lane == WARP - 1) counts[warp] = inclusive;
    __syncthreads();
    int count = counts[lane];
    total = __reduce_add_sync(ALL_LANES, count);
    return __reduce_add_sync(ALL_LANES, lane < warp ? count : 0) + inclusive - value;
}

// The threshold above which the `k` highest of n elements lie: radix selection from the highest digit down.
// `key_at(i, key)` says whether element i takes part and sets its key. k must not exceed the number that take part.
template <typename KeyAt>
__device__ Threshold find_threshold(int n, int k, KeyAt key_at, SelectShared &shared) {
    if (k <= 0) return {0xffffffffu, 0};
    uint32_t prefix = 0;
    for (int bin = threadIdx.x; bin < RADIX_BINS; bin += SELECT_THREADS) shared.bins[0][bin] = 0;
    __syncthreads();
    for (int shift = 32 - RADIX_BITS; shift >= 0; shift -= RADIX_BITS) {
        int *bins = shared.bins[shift / RADIX_BITS % 2 ^ 1];
        // Digits above this one must be those found so far; the first round takes everything.
        uint32_t known = shift + RADIX_BITS == 32 ? 0u : ~0u << (shift + RADIX_BITS);
        for (int i = threadIdx.x; i < n; i += SELECT_THREADS) {
            uint32_t key;
            if (key_at(i, key) && (key & known) == prefix) atomicAdd(&bins[key >> shift & (RADIX_BINS - 1)], 1);
        }
        __syncthreads();
        if (threadIdx.x < WARP) {
            // Lane l looks after eight bins, highest first.
            constexpr int PER_LANE = RADIX_BINS / WARP;
            int highest = RADIX_BINS - 1 - (int)threadIdx.x * PER_LANE;
            int count[PER_LANE], own = 0;
#pragma unroll
            for (int j = 0; j < PER_LANE; j++) own += count[j] = bins[highest - j];
            int inclusive = own;
#pragma unroll
            for (int offset = 1; offset < WARP; offset *= 2) {
                int other = __shfl_up_sync(ALL_LANES, inclusive, offset);
                if (threadIdx.x >= offset) inclusive += other;
            }
            unsigned enough = __ballot_sync(ALL_LANES, inclusive >= k);
            if (threadIdx.x == __ffs(enough) - 1) {
                int left = k - (inclusive - own);
                bool found = false;
#pragma unroll
                for (int j = 0; j < PER_LANE; j++) {
                    if (!found && left <= count[j]) {
                        found = true;
                        shared.digit = highest - j;
                        shared.left = left;
                        shared.all = left == count[j];
                    }
                    left -= count[j];
                }
            }
        } else if (threadIdx.x < WARP + RADIX_BINS) {
            shared.bins[shift / RADIX_BITS % 2][threadIdx.x - WARP] = 0;  // for the next round
        }
        __syncthreads();
        prefix |= shared.digit << shift;
        k = shared.left;
        if (shared.all) return {prefix, n};  // all with these digits are at or above it
    }
    return {prefix, k};
}

// Number of entries of ascending `rows` below `row`.
__device__ __forceinline__ int count_below(const int *rows, int n, int row) {
    int low = 0;
    while (low < n) {
        int middle = (low + n) / 2;
        if (rows[middle] < row) low = middle + 1;
        else n = middle;
    }
    return low;
}

// Whether the element is chosen; `ties` counts the elements at the threshold in the chunks before this one.
// All threads call it, chunk after chunk in order of index; elements beyond the end do not take part.
__device__ __forceinline__ bool is_chosen(Threshold threshold, bool part, uint32_t key, int &ties, int *counts) {
    bool tie = part && key == threshold.key;
    int total;
    int rank = ties + block_rank(tie, counts, total);
    ties += total;
    return part && (key > threshold.key || (tie && rank < threshold.ties));
}
