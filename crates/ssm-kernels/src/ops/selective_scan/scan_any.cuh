// Selective scan for any number of states: plain, one thread a channel.
#pragma once

#include "scan.cuh"

// States lie in dynamic shared memory, [d_state][threads]: no thread reads another's.
template <typename T> __device__ __forceinline__ void any_scan(const ScanArguments<T> &in, int d_state) {
    extern __shared__ float shared[];
    const int threads = blockDim.x, groups = (in.d_inner + threads - 1) / threads;
    const int channel = blockIdx.x % groups * threads + threadIdx.x;
    if (channel >= in.d_inner) return;
    float *h = shared + threadIdx.x;
    const float dt_bias = in.dt_bias[channel], d = in.d[channel];
    const int2 segments = in.work[blockIdx.x / groups];
    for (int segment = segments.x; segment < segments.y; ++segment) {
        const float *start = in.start_state(segment, d_state);
        for (int n = 0; n < d_state; ++n) h[n * threads] = start ? start[(size_t)channel * d_state + n] : 0.0f;
        for (int row = in.seg_off[segment]; row < in.seg_off[segment + 1]; ++row) {
            const int64_t at = (int64_t)row * in.d_inner + channel;
            const T *b = in.projected + (int64_t)row * in.ld_projected + in.b_start, *c = b - in.b_start + in.c_start;
            const float dt = softplus_exact<T>(to_float(in.dt_raw[at]) + dt_bias), x = to_float(in.x[at]);
            const float step = in.dt_factor ? dt * in.dt_factor[row] : dt, dtx = step * x;
            float y = d * x;
            for (int n = 0; n < d_state; ++n) {
                const float a = in.a[(size_t)n * in.d_inner + channel] * LOG2_E;
                const float state = advance(h[n * threads], exp2_fast(step * a), dtx, to_float(b[n]));
                h[n * threads] = state;
                y = fmaf(to_float(c[n]), state, y);
            }
            if (in.dt) in.dt[at] = dt;
            if (in.y) in.y[at] = from_float<T>(y);
            if (in.z) y = gate(y, to_float(in.z[(int64_t)row * in.ld_z + channel]));
            in.gated[at] = from_float<T>(y);
        }
        if (in.states) {
            float *to = in.states + ((size_t)segment * in.d_inner + channel) * d_state;
            for (int n = 0; n < d_state; ++n) to[n] = h[n * threads];
        }
    }
}
