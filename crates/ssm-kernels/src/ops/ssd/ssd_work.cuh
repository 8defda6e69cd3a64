// What a block of the tensor core kernels works on next, and the decays of a chunk.
//
// `works[n_works]` (int4: first chunk, first head, heads, group of B and C) lists the works, longest first: an item and some heads of
// it. Block b does works b, b + grid, ... one after the other, loading across their borders. Heads which share a work share the
// tiles of B and C, nothing else.
#pragma once

#include "ssd_table.cuh"
#include "tile.cuh"

// What a block computes at a time: a chunk of some heads. No heads: nothing is left.
struct Piece {
    int4 chunk;
    int4 work; // first chunk, first head, heads, group
};

// Walks the works of this block, and the chunks of each. One thread sends every piece to shared memory two steps ahead of its use.
struct Cursor {
    int work, at, coming; // the work, the chunk to send next, and the first chunk of the work after it (-1: none)

    __device__ __forceinline__ int first_chunk(const Ssd<bf16> &ssd, int of_work) const {
        return of_work < ssd.n_works ? ssd.works[of_work].x : -1;
    }
    __device__ __forceinline__ void start(const Ssd<bf16> &ssd) {
        work = blockIdx.x;
        at = first_chunk(ssd, work);
        coming = first_chunk(ssd, work + gridDim.x);
    }
    // Sends the next piece to `to` (complete after copy_wait). `ends`: the piece sent before was the last of its work.
    __device__ __forceinline__ void send(const Ssd<bf16> &ssd, Piece *to, bool ends) {
        if (ends) {
            work += gridDim.x;
            at = coming;
            coming = first_chunk(ssd, work + gridDim.x);
        }
        if (at < 0) {
            to->work.z = 0;
            to->chunk.y = 0;
            return;
        }
        copy_async(shared_address(&to->chunk), ssd.chunks + at, true);
        copy_async(shared_address(&to->work), ssd.works + work, true);
        at++;
    }
};

// Decays of one chunk and head, all relative to the chunk. Exponents are powers of two.
struct alignas(16) Decays {
    float running[CHUNK];    // cum, as exponent
    float source[CHUNK];     // cum_s - log2(dt_s): exp2(running_t - source_s) = exp(cum_t - cum_s) dt_s
    float to_end[CHUNK];     // exp(cum_last - cum_t) dt_t
    float from_start[CHUNK]; // exp(cum_t)
};

// Of a lane's two tokens, and of the whole chunk.
struct Exponents {
    float running[2], source[2], total;
};

// By one warp; lane l has the steps of tokens 2 l and 2 l + 1, zero behind the last token.
__device__ __forceinline__ Exponents chunk_exponents(float dt0, float dt1, float a_log2) {
    const int lane = threadIdx.x % WARP;
    const float first = dt0 * a_log2;
    float sum = first + dt1 * a_log2;
#pragma unroll
    for (int offset = 1; offset < WARP; offset *= 2) {
        const float other = __shfl_up_sync(ALL_LANES, sum, offset);
        if (lane >= offset) sum += other;
    }
    float before = __shfl_up_sync(ALL_LANES, sum, 1);
    before = lane == 0 ? 0.0f : before;
    const float total = __shfl_sync(ALL_LANES, sum, WARP - 1);
    const float running[2] = {before + first, sum};
    return {{running[0], running[1]}, {running[0] - __log2f(dt0), running[1] - __log2f(dt1)}, total};
}

// By one warp, as above.
__device__ __forceinline__ void compute_decays(Decays &out, float dt0, float dt1, float a_log2) {
    const int lane = threadIdx.x % WARP;
    const Exponents own = chunk_exponents(dt0, dt1, a_log2);
    const float *running = own.running, *source = own.source;
    reinterpret_cast<float2 *>(out.running)[lane] = make_float2(running[0], running[1]);
    reinterpret_cast<float2 *>(out.source)[lane] = make_float2(source[0], source[1]);
    reinterpret_cast<float2 *>(out.to_end)[lane] = make_float2(exp2_fast(own.total - source[0]), exp2_fast(own.total - source[1]));
    reinterpret_cast<float2 *>(out.from_start)[lane] = make_float2(exp2_fast(running[0]), exp2_fast(running[1]));
}

// The steps of compute_decays.
__device__ __forceinline__ void load_steps(const Ssd<bf16> &ssd, int4 chunk, int head, float &dt0, float &dt1) {
    const int row = 2 * (threadIdx.x % WARP), rows = chunk_rows(chunk);
    const float *from = ssd.dt + size_t(chunk.x + row) * ssd.nheads + head;
    dt0 = row < rows ? from[0] : 0.0f;
    dt1 = row + 1 < rows ? from[ssd.nheads] : 0.0f;
}
