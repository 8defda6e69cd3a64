// The chunked form of the Mamba-2 recurrence on tensor cores: headdim 64, d_state 64 or 128, bf16.
//
// Per head and chunk of 64 tokens, with cum the running sum of dt a inside the chunk:
//   y     = (mask . C B^T . exp(cum_t - cum_s) dt_s) x + exp(cum_t) C h^T + D x
//   h     = exp(cum_last) h + (exp(cum_last - cum_t) dt_t x)^T B
// One group of four warps owns one head; h (64 x d_state, float32) stays in its registers from chunk to chunk, and a rounded copy
// in shared memory is the operand of C h^T. A block of HEADS groups shares the B and C tiles; the next chunk is copied while the
// current one is computed. Groups do not exchange numbers, so HEADS and the grid never change a result.
#pragma once

#include "ssd_work.cuh"

template <int HEADS, int STATE> struct Layout {
    static constexpr int WIDE_PANELS = STATE / 64;                      // of B, of C, of the state
    static constexpr int STAGE = (HEADS + 2 * WIDE_PANELS) * PANEL;     // x of each head, B, C
    static constexpr int STATES = 2 * STAGE;                            // rounded states
    static constexpr int DECAYS = STATES + HEADS * WIDE_PANELS * PANEL; // [stage][head]
    static constexpr int PIECES = DECAYS + 2 * HEADS * int(sizeof(Decays));
    static constexpr int BYTES = PIECES + 3 * int(sizeof(Piece)); // dynamic shared memory to launch with
};

// Starts copying x, B and C of a chunk into a stage.
template <int HEADS, int STATE>
__device__ __forceinline__ void copy_tiles(const Ssd<bf16> &ssd, uint32_t stage, const Piece &what) {
    constexpr int WIDE_PANELS = Layout<HEADS, STATE>::WIDE_PANELS, ROW_STEP = HEADS * 128 / 8;
    const int piece = threadIdx.x % 8, first = what.chunk.x, rows = chunk_rows(what.chunk), head = what.work.y, heads = what.work.z;
    int row = threadIdx.x / 8;
    const uint32_t to = stage + piece_offset(row, piece); // also in the rows after it: their numbers agree modulo eight
    const bf16 *x = ssd.xbc + int64_t(first + row) * ssd.ld + head * HEADDIM + piece * 8;
    const int to_b = (ssd.nheads - head) * HEADDIM + what.work.w * STATE, to_c = to_b + ssd.ngroups * STATE;
    const int64_t stride = int64_t(ROW_STEP) * ssd.ld;
#pragma unroll
    for (int step = 0; step < (CHUNK + ROW_STEP - 1) / ROW_STEP; step++, row += ROW_STEP, x += stride) {
        if (CHUNK % ROW_STEP != 0 && row >= CHUNK) break;
        // Nothing is read for rows behind the last, but the address must exist.
        const bool valid = row < rows;
        const bf16 *const from = valid ? x : ssd.xbc;
        const uint32_t at = to + step * ROW_STEP * 128;
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            if (h < heads) copy_async(at + h * PANEL, from + h * HEADDIM, valid);
        }
#pragma unroll
        for (int panel = 0; panel < WIDE_PANELS; panel++) {
            copy_async(at + (HEADS + panel) * PANEL, from + to_b + panel * 64, valid);
            copy_async(at + (HEADS + WIDE_PANELS + panel) * PANEL, from + to_c + panel * 64, valid);
        }
    }
}

// The four warps of a head.
__device__ __forceinline__ void group_barrier() { asm volatile("bar.sync %0, 128;" ::"r"(1 + threadIdx.x / 128) : "memory"); }

template <int N> __device__ __forceinline__ void publish_state(uint32_t tile, const float (&state)[N][4]) {
    const int warp = threadIdx.x / WARP % 4;
#pragma unroll
    for (int j = 0; j < N; j += 2) store_fragments(tile, 16 * warp, j, state[j], state[j + 1]);
    publish_to_products();
}

template <int HEADS, int STATE> __device__ __forceinline__ void ssd_scan(const Ssd<bf16> ssd) {
    using Shared = Layout<HEADS, STATE>;
    constexpr int SENDER = WARP; // who sends pieces: of a warp which waits for others anyway
    constexpr int N = STATE / 8;
    extern __shared__ __align__(1024) unsigned char shared[];
    const int lane = threadIdx.x % WARP;
    // From lane 0, so that the compiler knows that a warp agrees.
    const int warp_of_block = __shfl_sync(ALL_LANES, threadIdx.x / WARP, 0), warp = warp_of_block % 4, local = warp_of_block / 4;
    const int row = 16 * warp + lane / 4, column = 2 * (lane % 4); // of this thread's first fragment element
    const uint32_t base = shared_address(shared);
    const uint32_t state_tile = base + Shared::STATES + local * Shared::WIDE_PANELS * PANEL;
    Decays *const decays = reinterpret_cast<Decays *>(shared + Shared::DECAYS) + local;
    constexpr int PER_HEAD = HEADDIM * STATE;

    Piece *const pieces = reinterpret_cast<Piece *>(shared + Shared::PIECES); // ring: now, next, the one after
    Cursor cursor;
    cursor.start(ssd);
    if (threadIdx.x == SENDER) cursor.send(ssd, pieces, false);
    copy_commit();
    copy_wait();
    __syncthreads();
    if (pieces->work.z == 0) return;
    if (threadIdx.x == SENDER) cursor.send(ssd, pieces + 1, pieces->chunk.y & LAST);
    copy_tiles<HEADS, STATE>(ssd, base, *pieces);
    copy_commit();
    if (warp == 0 && local < pieces->work.z) {
        float dt0, dt1;
        const int head = pieces->work.y + local;
        load_steps(ssd, pieces->chunk, head, dt0, dt1);
        compute_decays(decays[0], dt0, dt1, ssd.a[head] * LOG2_E);
    }
    float state[N][4];
#pragma unroll
    for (int j = 0; j < N; j++) state[j][0] = state[j][1] = state[j][2] = state[j][3] = 0.0f;

    for (int stage = 0, turn = 0;; stage ^= 1, turn = turn == 2 ? 0 : turn + 1) {
        copy_wait();
        publish_to_products();
        __syncthreads(); // this chunk's tiles and decays are there; the other stage is free

        const Piece &now = pieces[turn], &next = pieces[turn == 2 ? 0 : turn + 1];
        const bool more = next.work.z > 0, decays_next = warp == 0 && local < next.work.z;
        Piece *const after = pieces + (turn == 0 ? 2 : turn - 1);
        if (local >= now.work.z) { // no head for these warps; they help copying
            if (!more) break;
            copy_tiles<HEADS, STATE>(ssd, base + (stage ^ 1) * Shared::STAGE, next);
            copy_commit();
            if (decays_next) {
                float dt0, dt1;
                load_steps(ssd, next.chunk, next.work.y + local, dt0, dt1);
                compute_decays(decays[(stage ^ 1) * HEADS], dt0, dt1, ssd.a[next.work.y + local] * LOG2_E);
            }
            continue;
        }

        const int4 chunk = now.chunk;
        const int head = now.work.y + local, rows = chunk_rows(chunk), start = chunk_start(chunk);
        const bool update = chunk.y & (CARRY | STORE); // else the state stays what it is
        const uint32_t x_tile = base + stage * Shared::STAGE + local * PANEL;
        const uint32_t b_tile = base + stage * Shared::STAGE + HEADS * PANEL, c_tile = b_tile + Shared::WIDE_PANELS * PANEL;
        const Decays &decay = decays[stage * HEADS];

        if (start != CONTINUE) {
            if (const float *from = start_state(ssd, chunk, head, PER_HEAD)) {
#pragma unroll
                for (int j = 0; j < N; j++) {
                    const float2 top = *reinterpret_cast<const float2 *>(from + row * STATE + 8 * j + column);
                    const float2 bottom = *reinterpret_cast<const float2 *>(from + (row + 8) * STATE + 8 * j + column);
                    state[j][0] = top.x, state[j][1] = top.y, state[j][2] = bottom.x, state[j][3] = bottom.y;
                }
            } else {
#pragma unroll
                for (int j = 0; j < N; j++) state[j][0] = state[j][1] = state[j][2] = state[j][3] = 0.0f;
            }
            publish_state(state_tile, state);
            group_barrier();
        }

        // Here, before any product is in flight.
        const float remaining = update ? decay.from_start[CHUNK - 1] : 1.0f;
#pragma unroll
        for (int j = 0; j < N; j++) {
#pragma unroll
            for (int i = 0; i < 4; i++) state[j][i] *= remaining;
        }
        pin(state);
        float scores[8][4], out[8][4];
        products_begin();
        product<STATE>(scores, c_tile, b_tile, min(16 * (warp + 1), rows));
        products_commit();
        product<STATE>(out, c_tile, state_tile, CHUNK);
        products_commit();

        float dt0, dt1, a_next;
        if (decays_next) {
            load_steps(ssd, next.chunk, next.work.y + local, dt0, dt1);
            a_next = ssd.a[next.work.y + local];
        }
        if (more) {
            copy_tiles<HEADS, STATE>(ssd, base + (stage ^ 1) * Shared::STAGE, next);
            if (threadIdx.x == SENDER) cursor.send(ssd, after, next.chunk.y & LAST);
        }
        copy_commit();

        const bool own_rows = 16 * warp < rows; // of the outputs
        uint32_t mixing[4][4];
        products_wait<1>(scores);
        const float running[2] = {decay.running[row], decay.running[row + 8]};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            mixing[k][0] = mixing[k][1] = mixing[k][2] = mixing[k][3] = 0;
            if (k > warp || !own_rows) continue;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int j = 2 * k + half, s = 8 * j + column;
                const float2 source = *reinterpret_cast<const float2 *>(decay.source + s);
                float value[4];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    value[i] = scores[j][i] * exp2_fast(running[i / 2] - (i % 2 ? source.y : source.x));
                    if (k == warp && s + i % 2 > row + 8 * (i / 2)) value[i] = 0.0f;
                }
                mixing[k][2 * half] = pack(value[0], value[1]);
                mixing[k][2 * half + 1] = pack(value[2], value[3]);
            }
        }
        // The first warp, which had least to do above, prepares the next chunk.
        if (decays_next) compute_decays(decays[(stage ^ 1) * HEADS], dt0, dt1, a_next * LOG2_E);
        products_wait<0>(out);
        const float top = decay.from_start[row], bottom = decay.from_start[row + 8];
#pragma unroll
        for (int j = 0; j < 8; j++) out[j][0] *= top, out[j][1] *= top, out[j][2] *= bottom, out[j][3] *= bottom;
        products_begin();
        product(out, mixing, x_tile, true, min(16 * (warp + 1), rows));
        products_commit();

        uint32_t weighted[4][4] = {}; // (to_end x)^T
        if (update) {
#pragma unroll
            for (int k = 0; k < 4; k++) {
                load_matrices<true>(weighted[k], x_tile + piece_offset(16 * k + 8 * (lane >> 4) + (lane & 7), 2 * warp + ((lane >> 3) & 1)));
                const float2 early = *reinterpret_cast<const float2 *>(decay.to_end + 16 * k + column);
                const float2 late = *reinterpret_cast<const float2 *>(decay.to_end + 16 * k + 8 + column);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const float2 x = unpack(weighted[k][i]), weight = i < 2 ? early : late;
                    weighted[k][i] = pack(x.x * weight.x, x.y * weight.y);
                }
            }
        }
        products_begin();
        product(state, weighted, b_tile, true, rows);
        products_commit();

        const float skip = ssd.d[head];
        const uint32_t fragments = x_tile + piece_offset(16 * warp + (lane & 15), lane >> 4); // piece j: ^ (16 * j)
        products_wait<1>(out);
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            uint32_t x[4];
            load_matrices<false>(x, fragments ^ (16 * j));
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float2 own = unpack(x[i]);
                float(&to)[4] = out[j + i / 2];
                to[i % 2 * 2] = fmaf(skip, own.x, to[i % 2 * 2]);
                to[i % 2 * 2 + 1] = fmaf(skip, own.y, to[i % 2 * 2 + 1]);
            }
        }
        group_barrier(); // all have read x and the old state: y is staged in the tile of x
        if (own_rows) {
#pragma unroll
            for (int j = 0; j < 8; j += 2) store_fragments(x_tile, 16 * warp, j, out[j], out[j + 1]);
            __syncwarp();
            const int r = 16 * warp + lane / 8, piece = lane % 8, d_inner = ssd.nheads * HEADDIM;
            const uint32_t staged = stage * Shared::STAGE + local * PANEL + piece_offset(r, piece);
            bf16 *to = ssd.y + int64_t(chunk.x + r) * d_inner + head * HEADDIM + piece * 8;
#pragma unroll
            for (int step = 0; step < 4; step++, to += int64_t(4) * d_inner) { // four rows each; odd steps swap half panels
                const uint4 *const from = reinterpret_cast<const uint4 *>(shared + (staged ^ (step % 2 * 64)) + step * 512);
                if (r + 4 * step < rows) *reinterpret_cast<uint4 *>(to) = *from;
            }
        }
        products_wait<0>(state);
        if (chunk.y & CARRY) publish_state(state_tile, state);
        if (chunk.y & STORE) {
            float *const to = ssd.states + (size_t(chunk.w) * ssd.nheads + head) * PER_HEAD;
#pragma unroll
            for (int j = 0; j < N; j++) {
                *reinterpret_cast<float2 *>(to + row * STATE + 8 * j + column) = make_float2(state[j][0], state[j][1]);
                *reinterpret_cast<float2 *>(to + (row + 8) * STATE + 8 * j + column) = make_float2(state[j][2], state[j][3]);
            }
        }
        if (!more) break;
    }
}
