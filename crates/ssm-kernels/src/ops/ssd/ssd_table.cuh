// What one launch of the SSD kernels works through: chunks of at most 64 rows, in items.
//
// `chunks[n_chunks]` (int4) lists the chunks of all items one after the other; item `i` is `chunks[item_off[i] .. item_off[i + 1]]`
// and is walked in order, for every head. Items of one launch do not depend on each other. Fields of a chunk:
//   x  first row
//   y  rows (0..64) | start << 8 | CARRY | STORE | LAST
//   z  where the state comes from, see Start
//   w  where the state goes to if STORE: index into `states`
#pragma once

#include "common.cuh"

constexpr int CHUNK = 64;
constexpr int HEADDIM = 64; // of the tensor core kernels

// The state before a chunk.
enum Start : int {
    CONTINUE = 0, // what the chunk before left
    ZERO = 1,
    INITIAL = 2, // initial[z]
    PARENT = 3,  // states[z], written by an earlier item of an earlier launch, or by this item
    SLOT = 4,    // slots[z], the state after a piece
};
constexpr int CARRY = 1 << 11; // the next chunk continues from this one
constexpr int STORE = 1 << 12; // keep the state after this chunk
constexpr int LAST = 1 << 13;  // the item ends here

__device__ __forceinline__ int chunk_rows(int4 chunk) { return chunk.y & 0xff; }
__device__ __forceinline__ int chunk_start(int4 chunk) { return (chunk.y >> 8) & 7; }

// Arguments shared by the kernels; `T` is the element type of xbc and y.
template <typename T> struct Ssd {
    const T *xbc;    // [tokens, ld]: x | B | C
    const float *dt; // [tokens, nheads]
    const float *a;  // [nheads]
    const float *d;  // [nheads]
    const float *initial; // [segments, nheads, headdim, d_state]
    float *states;        // [segments, nheads, headdim, d_state]
    const float *slots;   // [slots, nheads, headdim, d_state]
    T *y;                 // [tokens, nheads * headdim]
    const int4 *chunks;
    const int *item_off; // of ssd_any
    const int4 *works;   // of the others, see ssd_work.cuh
    int n_works, ld, nheads, headdim, ngroups, d_state;
};

// First state of a head (null: zero); `per_head` = headdim * d_state.
template <typename T>
__device__ __forceinline__ const float *start_state(const Ssd<T> &ssd, int4 chunk, int head, int per_head) {
    const int start = chunk_start(chunk);
    const float *from = start == INITIAL ? ssd.initial : start == PARENT ? ssd.states : start == SLOT ? ssd.slots : nullptr;
    return from == nullptr ? nullptr : from + (size_t(chunk.z) * ssd.nheads + head) * per_head;
}
