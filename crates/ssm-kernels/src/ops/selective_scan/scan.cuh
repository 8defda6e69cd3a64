// What the selective scan kernels share: their arguments and the arithmetic of one token. Every kernel for d_state 16
// rounds at the same places in the same order, so that the host may choose among them without changing a bit.
#pragma once

#include "common.cuh"

constexpr int D_STATE = 16;
constexpr int HALF = D_STATE / 2;

// In order of the parameters of the kernels; see selective_scan.cu.
template <typename T> struct ScanArguments {
    const T *x;               // [tokens, d_inner]
    const T *dt_raw;          // [tokens, d_inner]
    const float *dt_bias;     // [d_inner]
    const float *a;           // [d_state, d_inner]
    const T *projected;       // [tokens, ld_projected]
    int ld_projected;
    int b_start, c_start;     // first column of B and of C
    const float *d;           // [d_inner]
    const T *z;               // [tokens, ...], rows ld_z apart; or null
    int ld_z;
    const int *seg_off;       // [segments + 1]
    const int *parent;        // [segments]
    const int2 *work;         // (first segment, end segment) of each work item
    const float *initial;     // [segments, d_inner, d_state], or null
    float *states;            // [segments, d_inner, d_state], or null
    T *gated;                 // [tokens, d_inner]
    T *y;                     // [tokens, d_inner], or null
    float *dt;                // [tokens, d_inner], or null
    int d_inner;
    const float *dt_factor;   // [tokens]: factor on the step sizes after softplus, or null; read by split and any alone

    // The state that a segment starts from, or null for zero.
    __device__ __forceinline__ const float *start_state(int segment, int d_state = D_STATE) const {
        const int from = parent[segment];
        if (from >= 0) return states + (size_t)from * d_inner * d_state;
        return initial ? initial + (size_t)segment * d_inner * d_state : nullptr;
    }
};

// `from` moved down by `rows` rows of `ld` elements: one instruction, where the compiler's 64-bit product takes four.
template <typename T> __device__ __forceinline__ T *at_row(T *from, int rows, int ld) {
    T *to;
    asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(to) : "r"(rows), "r"(ld * (int)sizeof(T)), "l"(from));
    __builtin_assume(__isGlobal(to)); // lost in the assembly
    return to;
}

// ln(1 + e^v) to a few float32 roundings, also where it is tiny: max(v, 0) + log1p(q) with q = e^-|v| in (0, 1] and
// log1p(q) = q P(q), P a minimax polynomial (relative error 4e-8; 2e-6 for bfloat16, whose inputs are coarser by far).
template <typename T> __device__ __forceinline__ float softplus_exact(float v) {
    const float q = exp2_fast(__fmul_rn(-fabsf(v), LOG2_E));
    float p;
    if (sizeof(T) == 4) {
        p = fmaf(q, 0.005364829674363136f, -0.030065814033150673f);
        p = fmaf(p, q, 0.07920456677675247f);
        p = fmaf(p, q, -0.13753804564476013f);
        p = fmaf(p, q, 0.1915365606546402f);
        p = fmaf(p, q, -0.24857163429260254f);
        p = fmaf(p, q, 0.3332132399082184f);
        p = fmaf(p, q, -0.49999648332595825f);
    } else {
        p = fmaf(q, 0.01458833646029234f, -0.06785125285387039f);
        p = fmaf(p, q, 0.15102775394916534f);
        p = fmaf(p, q, -0.23611345887184143f);
        p = fmaf(p, q, 0.33140426874160767f);
        p = fmaf(p, q, -0.4999074637889862f);
    }
    p = fmaf(p, q, 1.0f);
    return fmaf(p, q, fmaxf(v, 0.0f));
}

// e^(dt a), with a already times log2 e.
__device__ __forceinline__ float decay(float dt, float a) { return exp2_fast(__fmul_rn(dt, a)); }

// The state after one token.
__device__ __forceinline__ float advance(float h, float decay, float dtx, float b) {
    return fmaf(decay, h, __fmul_rn(dtx, b));
}

// C h of states 2i and 2i + 1: the leaf of the fixed tree in which a channel's states are summed.
__device__ __forceinline__ float leaf(float c0, float h0, float c1, float h1) {
    return fmaf(c1, h1, __fmul_rn(c0, h0));
}

// 1 / x to 1 ulp, 0 for infinity.
__device__ __forceinline__ float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// y silu(z).
__device__ __forceinline__ float gate(float y, float z) {
    return __fmul_rn(y, __fmul_rn(z, reciprocal(__fadd_rn(1.0f, exp2_fast(__fmul_rn(-z, LOG2_E))))));
}

// Starts a copy of 16 bytes to shared memory, the last `16 - bytes` of them zeros.
template <typename T> __device__ __forceinline__ void copy_wide(T *to, const T *from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
}
