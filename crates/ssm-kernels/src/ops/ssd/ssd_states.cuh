// The states after the pieces of long segments, each as if its piece began at zero: headdim 64, d_state 64 or 128, bf16.
//
// With E_t the sum of dt a over the tokens after t up to the end of the piece, the state after it is
//   h = sum over t of exp(E_t) dt_t x_t^T B_t
// A block takes a piece and HEADS heads, a group of four warps a head. It walks the chunks from the last to the first: the decay to
// the end of the piece is part of the weight of a row of x, so the sum (64 x d_state, float32) stays in its registers untouched,
// and a head is done once its decay is zero in float32, however long its piece is. Groups share the tiles of B, which are copied
// two chunks ahead, and no numbers, so HEADS never changes a result.
//
// `pieces` (int4): first row, rows (a multiple of 64), slot, unused. Block b does piece b / teams, heads from b % teams * HEADS, with
// teams = ceil(nheads / HEADS).
#pragma once

#include "ssd_table.cuh"
#include "tile.cuh"

// log2 of a decay from which on nothing counts: the weights of rows are at most 2^-150 dt, which is below the smallest number
// that exponentials return for every dt below 2^24.
constexpr float FADED = -150.0f;

template <int HEADS, int STATE> struct StateLayout {
    static constexpr int STAGES = 3;
    static constexpr int WIDE_PANELS = STATE / 64;
    static constexpr int STAGE = (HEADS + WIDE_PANELS) * PANEL; // x of each head, B
    static constexpr int WEIGHTS = STAGES * STAGE;              // float [2][HEADS][CHUNK]
    static constexpr int LASTS = WEIGHTS + 2 * HEADS * CHUNK * int(sizeof(float)); // int [2][HEADS]
    static constexpr int BYTES = LASTS + 2 * HEADS * int(sizeof(int));             // dynamic shared memory to launch with
};

// Weights of the 64 rows of a chunk, by one warp; lane l has the steps of tokens 2 l and 2 l + 1. `after`: exponent of the decay from
// the end of the chunk to that of the piece; returns that from its start.
__device__ __forceinline__ float compute_weights(float *out, float dt0, float dt1, float a_log2, float after) {
    const Exponents own = chunk_exponents(dt0, dt1, a_log2);
    reinterpret_cast<float2 *>(out)[threadIdx.x % WARP] =
        make_float2(exp2_fast(own.total - own.source[0] + after), exp2_fast(own.total - own.source[1] + after));
    return own.total + after;
}

template <int HEADS, int STATE>
__device__ __forceinline__ void ssd_states(const bf16 *xbc, const float *dt, const float *a, float *slots, float *slot_decay,
                                           const int4 *pieces, int ld, int nheads, int ngroups) {
    using Shared = StateLayout<HEADS, STATE>;
    constexpr int N = STATE / 8, ROW_STEP = HEADS * 128 / 8;
    extern __shared__ __align__(1024) unsigned char shared[];
    const int lane = threadIdx.x % WARP;
    // From lane 0, so that the compiler knows that a warp agrees.
    const int warp_of_block = __shfl_sync(ALL_LANES, threadIdx.x / WARP, 0), warp = warp_of_block % 4, local = warp_of_block / 4;
    const int row = 16 * warp + lane / 4, column = 2 * (lane % 4); // of this thread's first fragment element
    const uint32_t base = shared_address(shared);
    float *const weights = reinterpret_cast<float *>(shared + Shared::WEIGHTS) + local * CHUNK; // of parity p: + p * HEADS * CHUNK
    int *const lasts = reinterpret_cast<int *>(shared + Shared::LASTS); // whether the head is done after the chunk

    const int teams = (nheads + HEADS - 1) / HEADS;
    const int4 piece = pieces[blockIdx.x / teams];
    const int first_head = blockIdx.x % teams * HEADS, heads = min(HEADS, nheads - first_head), head = first_head + local;
    const int chunks = piece.y / CHUNK;
    auto first_row = [&](int turn) { return piece.x + (chunks - 1 - turn) * CHUNK; };

    // Copies x of those heads that `wanted` has a bit for, and B, of the chunk of this turn.
    const int copied_row = threadIdx.x / 8, copied_piece = threadIdx.x % 8;
    const int b_column = nheads * HEADDIM + first_head / (nheads / ngroups) * STATE;
    auto copy_tiles = [&](int turn, unsigned wanted) {
        const uint32_t to = base + turn % Shared::STAGES * Shared::STAGE + piece_offset(copied_row, copied_piece);
        const bf16 *from = xbc + int64_t(first_row(turn) + copied_row) * ld + copied_piece * 8;
#pragma unroll
        for (int step = 0; step < CHUNK / ROW_STEP; step++, from += int64_t(ROW_STEP) * ld) {
            const uint32_t at = to + step * ROW_STEP * 128; // row numbers that agree modulo eight: the same swizzle
#pragma unroll
            for (int h = 0; h < HEADS; h++) {
                if (wanted >> h & 1) copy_async(at + h * PANEL, from + (first_head + h) * HEADDIM, true);
            }
#pragma unroll
            for (int panel = 0; panel < Shared::WIDE_PANELS; panel++) {
                copy_async(at + (HEADS + panel) * PANEL, from + b_column + panel * 64, true);
            }
        }
    };
    auto load_steps = [&](int turn, float &dt0, float &dt1) {
        const float *from = dt + size_t(first_row(turn) + 2 * lane) * nheads + head;
        dt0 = from[0], dt1 = from[nheads];
    };

    const unsigned all = (1u << heads) - 1;
    copy_tiles(0, all);
    copy_commit();
    if (chunks > 1) copy_tiles(1, all);
    copy_commit();
    bool goes_on = local < heads;                // this chunk counts for the head of this group
    const bool prepares = warp == 0 && goes_on;  // one warp of a group computes weights, a chunk ahead
    float exponent = 0.0f, dt0 = 0.0f, dt1 = 0.0f, a_log2 = 0.0f; // of the decay of what was prepared; steps of the chunk after it
    if (prepares) {
        a_log2 = a[head] * LOG2_E;
        load_steps(0, dt0, dt1);
        exponent = compute_weights(weights, dt0, dt1, a_log2, 0.0f);
        if (lane == 0) lasts[local] = exponent < FADED;
        if (chunks > 1) load_steps(1, dt0, dt1);
    } else if (warp == 0 && lane == 0) {
        lasts[local] = lasts[HEADS + local] = true;
    }
    float state[N][4];
#pragma unroll
    for (int j = 0; j < N; j++) state[j][0] = state[j][1] = state[j][2] = state[j][3] = 0.0f;

    for (int turn = 0;; turn++) {
        const int parity = turn % 2;
        copy_wait<1>();
        publish_to_products();
        __syncthreads(); // this chunk's tiles and weights are there; the stage of the chunk before is free
        unsigned wanted = 0; // heads for which the next chunk counts
#pragma unroll
        for (int h = 0; h < HEADS; h++) wanted |= unsigned(turn + 1 < chunks && !lasts[parity * HEADS + h]) << h;
        if (wanted != 0 && turn + 2 < chunks) copy_tiles(turn + 2, wanted);
        copy_commit();
        const bool next = wanted >> local & 1;
        if (prepares) {
            if (next) {
                exponent = compute_weights(weights + (parity ^ 1) * HEADS * CHUNK, dt0, dt1, a_log2, exponent);
                if (turn + 2 < chunks) load_steps(turn + 2, dt0, dt1);
            }
            if (lane == 0) lasts[(parity ^ 1) * HEADS + local] = !next || exponent < FADED;
        }
        if (goes_on) {
            const uint32_t x_tile = base + turn % Shared::STAGES * Shared::STAGE + local * PANEL;
            const uint32_t b_tile = base + turn % Shared::STAGES * Shared::STAGE + HEADS * PANEL;
            const float *const weight = weights + parity * HEADS * CHUNK;
            uint32_t weighted[4][4]; // (weight x)^T
#pragma unroll
            for (int k = 0; k < 4; k++) {
                load_matrices<true>(weighted[k], x_tile + piece_offset(16 * k + 8 * (lane >> 4) + (lane & 7), 2 * warp + ((lane >> 3) & 1)));
                const float2 early = *reinterpret_cast<const float2 *>(weight + 16 * k + column);
                const float2 late = *reinterpret_cast<const float2 *>(weight + 16 * k + 8 + column);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const float2 x = unpack(weighted[k][i]), by = i < 2 ? early : late;
                    weighted[k][i] = pack(x.x * by.x, x.y * by.y);
                }
            }
            products_begin();
            product(state, weighted, b_tile, true, CHUNK);
            products_commit();
            products_wait<0>(state);
        }
        goes_on = next;
        if (wanted == 0) break;
    }
    copy_wait<0>(); // what was copied for nobody
    if (local >= heads) return;
    const size_t to_head = size_t(piece.z) * nheads + head;
    float *const to = slots + to_head * HEADDIM * STATE;
#pragma unroll
    for (int j = 0; j < N; j++) {
        *reinterpret_cast<float2 *>(to + row * STATE + 8 * j + column) = make_float2(state[j][0], state[j][1]);
        *reinterpret_cast<float2 *>(to + (row + 8) * STATE + 8 * j + column) = make_float2(state[j][2], state[j][3]);
    }
    if (prepares && lane == 0) slot_decay[to_head] = exp2_fast(exponent);
}
