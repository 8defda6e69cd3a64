// Forward pass of Mamba-2 (state space duality): h_t = exp(dt_t a) h_{t-1} + dt_t x_t B_t^T, y_t = h_t C_t + d x_t, per head.
//
// Tensors: xbc [tokens, ld] is x [nheads * headdim] | B [ngroups * d_state] | C [ngroups * d_state] after the convolution; dt
// [tokens, nheads] after bias, softplus and clamp; a = -exp(A_log) and d [nheads]; y [tokens, nheads * headdim]; states (initial,
// states, slots) [index, nheads, headdim, d_state], float32. Pointers that no chunk of the table refers to may be null.
// Tables: ssd_table.cuh.
//
// ssd_any_{f32,bf16}: any headdim, ngroups, ld and alignment; d_state <= 128 (ssd_any_wide_*: <= 512). float32 arithmetic.
//   grid: items * nheads * ceil(headdim / 32), block 256, dynamic shared memory 4 * TILE * (64 * S + 34) bytes with S = the
//   smallest of 1, 2, 4, 8, 16 that 32 * S >= d_state, TILE = S <= 4 ? 32 : 128 / S.
//
// ssd_bf16_h{1,3}_n{64,128}: headdim 64, d_state 64 or 128; xbc, y 16-byte aligned, ld a multiple of 8. h3 wants ngroups = 1 or heads
//   per group divisible by 3, and a card with so much shared memory. The same bits from h1 and h3, any division, any grid.
//   grid: min(works, blocks per multiprocessor * multiprocessors), blocks per multiprocessor 2 (h1), 1 (h3); block 128 * h;
//   dynamic shared memory (P = d_state / 64) 8192 * (2 * (h + 2 * P) + h * P) + 2048 * h + 96 bytes: h3_n128 170,080, h1_n128
//   100,448, h3_n64 112,736, h1_n64 59,488.
// ssd_state_bf16_h{1,2}_n{64,128}: for pieces of long segments (ssd_states.cuh), headdim, d_state, xbc and ld as above: the state after
//   each from zero into `slots`, and the decay over it into slot_decay [slots, nheads], zero where it is below 2^-126. h2 wants
//   ngroups = 1 or heads per group divisible by 2. The same bits from h1 and h2.
//   grid: pieces * ceil(nheads / h), block 128 * h; dynamic shared memory 24576 * (h + P) + 520 * h bytes.
// ssd_combine_f32: slots become the states after the pieces. grid (long segments, nheads, ceil(headdim * d_state / 1024)), block 256;
//   headdim * d_state a multiple of 4, states 16-byte aligned.
// A call with long segments: ssd_state, then ssd_combine, then ssd_bf16. A segment is long if it has more than 2048 tokens: a rule of
// its length alone, so that its result is the same in any company.
//
// Bounds at 16 x 2048 tokens, 80 heads, headdim 64, d_state 128, ngroups 1 (H100): 0.70 GB, 0.24 ms at 3 TB/s; 151 GFLOP on tensor
// cores, 0.17 ms; in practice the issue of instructions.
#include "ssd_any.cuh"
#include "ssd_fast.cuh"
#include "ssd_states.cuh"

#define SSD_ARGUMENTS(T)                                                                                                       \
    const T *xbc, const float *dt, const float *a, const float *d, const float *initial, float *states, const float *slots,   \
        T *y, const int4 *chunks

#define SSD_SCAN(name, heads, state, blocks)                                                                                   \
    extern "C" __global__ void __launch_bounds__(heads * 128, blocks)                                                          \
        name(SSD_ARGUMENTS(bf16), const int4 *works, int n_works, int ld, int nheads, int ngroups) {                           \
        wait_for_inputs();                                                                                                     \
        ssd_scan<heads, state>({xbc, dt, a, d, initial, states, slots, y, chunks, nullptr, works, n_works, ld, nheads,         \
                                HEADDIM, ngroups, state});                                                                     \
    }
SSD_SCAN(ssd_bf16_h1_n128, 1, 128, 2)
SSD_SCAN(ssd_bf16_h3_n128, 3, 128, 1)
SSD_SCAN(ssd_bf16_h1_n64, 1, 64, 2)
SSD_SCAN(ssd_bf16_h3_n64, 3, 64, 1)

#define SSD_STATES(name, heads, state, blocks)                                                                                 \
    extern "C" __global__ void __launch_bounds__(heads * 128, blocks)                                                          \
        name(const bf16 *xbc, const float *dt, const float *a, float *slots, float *slot_decay, const int4 *pieces, int ld,    \
             int nheads, int ngroups) {                                                                                        \
        wait_for_inputs();                                                                                                     \
        ssd_states<heads, state>(xbc, dt, a, slots, slot_decay, pieces, ld, nheads, ngroups);                                  \
    }
SSD_STATES(ssd_state_bf16_h1_n128, 1, 128, 3)
SSD_STATES(ssd_state_bf16_h2_n128, 2, 128, 2)
SSD_STATES(ssd_state_bf16_h1_n64, 1, 64, 4)
SSD_STATES(ssd_state_bf16_h2_n64, 2, 64, 2)

#define SSD_ANY(name, T, narrow, middle, wide)                                                                                 \
    extern "C" __global__ void __launch_bounds__(ANY_WARPS * WARP)                                                             \
        name(SSD_ARGUMENTS(T), const int *item_off, int ld, int nheads, int headdim, int ngroups, int d_state) {               \
        wait_for_inputs();                                                                                                     \
        const Ssd<T> ssd{xbc, dt, a, d, initial, states, slots, y, chunks, item_off, nullptr,                                  \
                         0, ld, nheads, headdim, ngroups, d_state};                                                            \
        if (d_state <= WARP * narrow) ssd_any_scan<T, narrow>(ssd);                                                            \
        else if (d_state <= WARP * middle) ssd_any_scan<T, middle>(ssd);                                                       \
        else ssd_any_scan<T, wide>(ssd);                                                                                       \
    }
SSD_ANY(ssd_any_f32, float, 1, 2, 4)
SSD_ANY(ssd_any_bf16, bf16, 1, 2, 4)
SSD_ANY(ssd_any_wide_f32, float, 8, 16, 16)
SSD_ANY(ssd_any_wide_bf16, bf16, 8, 16, 16)

// Turns the local states of a long segment's pieces into the states after them: slot k becomes decay_k (state before k) + slot k.
// A piece whose decay is zero hands nothing on: its slot is what it is, and is read only if the piece after it has a decay.
// Four state elements a thread; the state before the first piece comes from `initial` or `states`.
// segments[i] = (first slot, slots, index of the first state, Start).
extern "C" __global__ void __launch_bounds__(256)
    ssd_combine_f32(const int4 *segments, const float *initial, const float *states, float *slots, const float *slot_decay,
                    int nheads, int per_head) {
    wait_for_inputs();
    constexpr int AHEAD = 8; // loads in flight
    const int4 segment = segments[blockIdx.x];
    const int head = blockIdx.y, at = (blockIdx.z * blockDim.x + threadIdx.x) * 4;
    if (at >= per_head) return;
    const float *const from = segment.w == INITIAL ? initial : segment.w == PARENT ? states : nullptr;
    float4 state = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (from != nullptr) state = *reinterpret_cast<const float4 *>(from + (size_t(segment.z) * nheads + head) * per_head + at);
    const size_t stride = size_t(nheads) * per_head;
    float *slot = slots + (size_t(segment.x) * nheads + head) * per_head + at;
    const float *decay = slot_decay + size_t(segment.x) * nheads + head;
    for (int left = segment.y; left > 0; left -= AHEAD) {
        float4 local[AHEAD];
        float factor[AHEAD + 1]; // zero behind the last slot
#pragma unroll
        for (int k = 0; k <= AHEAD; k++) factor[k] = k < left ? decay[size_t(k) * nheads] : 0.0f;
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            local[k] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (factor[k] != 0.0f || factor[k + 1] != 0.0f) local[k] = *reinterpret_cast<const float4 *>(slot + k * stride);
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (factor[k] == 0.0f) {
                state = local[k];
                continue;
            }
            state.x = fmaf(factor[k], state.x, local[k].x);
            state.y = fmaf(factor[k], state.y, local[k].y);
            state.z = fmaf(factor[k], state.z, local[k].z);
            state.w = fmaf(factor[k], state.w, local[k].w);
            *reinterpret_cast<float4 *>(slot + k * stride) = state;
        }
        slot += AHEAD * stride;
        decay += size_t(AHEAD) * nheads;
    }
}
