// Selective scan of Mamba-1, forward: per channel of d_inner and token of a segment,
//     dt = softplus(dt_raw + dt_bias),   h[n] = e^(dt a[n]) h[n] + dt B[n] x,   y = sum over n of C[n] h[n] + d x,
// and gated = y silu(z), or y where z is null. All arithmetic in float32. A work item is a run of segments that one block
// scans one after the other: a tree of segments, or any part of one whose parents were finished by an earlier launch. A
// segment with a parent starts from states[parent], a root from initial[segment] or zero.
//
// Launch: a one-dimensional grid of items * ceil(d_inner / channels) blocks, static shared memory, the longest items first.
//     kernel                    threads   channels   legal
//     selective_scan_T          128       128        d_state 16; any d_inner, strides and alignment
//     selective_scan_pair_T     128       64         d_state 16; any d_inner, strides and alignment
//     selective_scan_split_T    128       16         d_state 16; any d_inner, strides and alignment
//     selective_scan_timed_T    128       16         as split, with dt_factor, which multiplies dt after softplus
//     selective_scan_any_T      k         k          d_state * k * 4 bytes of dynamic shared memory; dt_factor or null
// All but the last give the same bits, a factor of one being none: the first has the highest throughput, the others 2 and 8 times as many threads, for
// when the channels of all items together are too few to fill the device. The first two are fastest (16-byte copies) where x, dt_raw, z
// and gated are 16-byte aligned and d_inner and ld_z whole multiples of 16 bytes. states must not be null where a segment
// has a parent.
//
// Bound, at 16 x 2048 tokens and 5120 channels on an H100: 2.7e9 exponentials are 0.72 ms of the special function units at
// 1.755 GHz (0.64 at 1.98), softplus and gate 3/16 more; 1.34 GB in bfloat16 are 0.45 ms. A channel and token takes some
// 130 instructions besides. Measured time fell with the instructions, and rose where polynomials replaced exponentials.
#include "scan_any.cuh"
#include "scan_channel.cuh"
#include "scan_pair.cuh"
#include "scan_split.cuh"

#define SCAN_PARAMETERS(T)                                                                                                \
    const T *x, const T *dt_raw, const float *dt_bias, const float *a, const T *projected, int ld_projected, int b_start, \
        int c_start, const float *d, const T *z, int ld_z, const int *seg_off, const int *parent, const int2 *work,       \
        const float *initial, float *states, T *gated, T *y, float *dt, int d_inner
#define SCAN_ARGUMENTS                                                                                                   \
    x, dt_raw, dt_bias, a, projected, ld_projected, b_start, c_start, d, z, ld_z, seg_off, parent, work, initial, states, \
        gated, y, dt, d_inner

#define SCAN_KERNELS(T, suffix)                                                                                           \
    extern "C" __global__ void __launch_bounds__(SCAN_THREADS, CHANNEL_BLOCKS<T>)                                         \
        selective_scan_##suffix(SCAN_PARAMETERS(T)) {                                                                     \
        wait_for_inputs();                                                                                                \
        tiled_scan<ChannelScan<T>, T>({SCAN_ARGUMENTS});                                                                  \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(SCAN_THREADS, PAIR_BLOCKS<T>)                                            \
        selective_scan_pair_##suffix(SCAN_PARAMETERS(T)) {                                                                \
        wait_for_inputs();                                                                                                \
        tiled_scan<PairScan<T>, T>({SCAN_ARGUMENTS});                                                                     \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(SPLIT_THREADS) selective_scan_split_##suffix(SCAN_PARAMETERS(T)) {       \
        wait_for_inputs();                                                                                                \
        split_scan<false, T>({SCAN_ARGUMENTS});                                                                           \
    }                                                                                                                     \
    extern "C" __global__ void __launch_bounds__(SPLIT_THREADS)                                                           \
        selective_scan_timed_##suffix(SCAN_PARAMETERS(T), const float *dt_factor) {                                       \
        wait_for_inputs();                                                                                                \
        split_scan<true, T>({SCAN_ARGUMENTS, dt_factor});                                                                 \
    }                                                                                                                     \
    extern "C" __global__ void selective_scan_any_##suffix(SCAN_PARAMETERS(T), const float *dt_factor, int d_state) {     \
        wait_for_inputs();                                                                                                \
        any_scan<T>({SCAN_ARGUMENTS, dt_factor}, d_state);                                                                \
    }

SCAN_KERNELS(float, f32)
SCAN_KERNELS(bf16, bf16)
