// The gated RMSNorm of Mamba-2, and the plain gate.
//
//   gate first: out = norm(y * silu(z)) * weight      norm first: out = norm(y) * weight * silu(z)
//   norm(x) = x / sqrt(mean(x^2) + eps), over each of `groups` equal parts of the d_inner columns
//   gate:       out = y * silu(z)
//
// y T [rows, d_inner] with row stride ld_y, z T likewise with row stride ld_z (a view into a wider matrix: the
// pointer is its first column), weight float32 [d_inner], out T [rows, d_inner] without gaps.
//
// Bound by memory: 3 * sizeof(T) bytes per element (30.7 KB a row at d_inner 5120 in bf16; 32768 rows: 0.33 ms at
// 3 TB/s).
//
// Launch of the norm: a part is one group of one row; there are rows * groups parts, each `width = d_inner / groups`
// columns. The `_vN_` kernels hold a part in registers, N times eight elements a thread: width, ld_y and ld_z
// multiples of 8, every pointer 16-byte aligned, block (x, y) with x a multiple of 32, x * 8 * N >= width, x * y at
// most 512; grid ceil(parts / y). The `_any_` kernels take any width and alignment: block (x, 1), grid parts.
// N and x decide the order of the sum: choose them by width alone.
// Launch of the gate: block (x, y), y rows at a time, x threads striding over the columns; grid ceil(rows / y).
// `gate_` needs what `_vN_` needs, `gate_any_` nothing.
// Where ld_y = d_inner the result may be written over y.
#include "rows.cuh"

namespace {

template <typename T> struct Gated {
    const T *y;
    int64_t ld_y;
    const T *z;
    int64_t ld_z;
    const float *weight;
    T *out;
    int rows;
    int d_inner;
    int groups;
    float eps;
    int gate_first;
};

// One group of one row.
template <typename T> struct Part {
    const T *y;
    const T *z;
    const float *weight;
    T *out;

    __device__ __forceinline__ Part(const Gated<T> &gated, int part, int width) {
        const int64_t row = part / gated.groups;
        const int column = part % gated.groups * width;
        y = gated.y + row * gated.ld_y + column;
        z = gated.z + row * gated.ld_z + column;
        weight = gated.weight + column;
        out = gated.out + row * gated.d_inner + column;
    }
};

// A whole part in the registers of its threads.
template <bool GATE_FIRST, int VECTORS, typename T>
__device__ __forceinline__ void in_registers(const Gated<T> &gated) {
    const int width = gated.d_inner / gated.groups;
    const int parts = gated.rows * gated.groups;
    const int index = row_of_thread();
    const Part<T> part(gated, min(index, parts - 1), width);
    Eight<T> y[VECTORS], z[VECTORS];
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        const int column = (threadIdx.x + v * blockDim.x) * EIGHT;
        if (column >= width) break;
        y[v] = load_eight(part.y + column);
        z[v] = load_eight(part.z + column);
    }
    // What is normalised; the gate is applied to it before or after.
    float value[VECTORS][EIGHT];
    float squares = 0.0f;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        if ((threadIdx.x + v * blockDim.x) * EIGHT >= width) break;
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) {
            value[v][i] = element(y[v], i);
            if constexpr (GATE_FIRST) value[v][i] *= silu_for<T>(element(z[v], i));
            squares = fmaf(value[v][i], value[v][i], squares);
        }
    }
    const float scale = rms_scale(row_sum(squares), width, gated.eps);
    if (index >= parts) return;
#pragma unroll
    for (int v = 0; v < VECTORS; ++v) {
        const int column = (threadIdx.x + v * blockDim.x) * EIGHT;
        if (column >= width) break;
        float weight[EIGHT];
        load_floats(part.weight + column, weight);
#pragma unroll
        for (int i = 0; i < EIGHT; ++i) {
            value[v][i] = value[v][i] * scale * weight[i];
            if constexpr (!GATE_FIRST) value[v][i] *= silu_for<T>(element(z[v], i));
        }
        store_eight(part.out + column, value[v]);
    }
}

template <typename T> __device__ __forceinline__ void any_width(const Gated<T> &gated) {
    const int width = gated.d_inner / gated.groups;
    const Part<T> part(gated, blockIdx.x, width);
    float squares = 0.0f;
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
        float value = to_float(part.y[column]);
        if (gated.gate_first) value *= silu_for<T>(to_float(part.z[column]));
        squares = fmaf(value, value, squares);
    }
    const float scale = rms_scale(row_sum(squares), width, gated.eps);
    for (int column = threadIdx.x; column < width; column += blockDim.x) {
        const float value = to_float(part.y[column]), gate = silu_for<T>(to_float(part.z[column]));
        const float weight = part.weight[column];
        const float normed = gated.gate_first ? value * gate * scale * weight : value * scale * weight * gate;
        part.out[column] = from_float<T>(normed);
    }
}

template <int N, typename T>
__device__ __forceinline__ void gate_rows(const T *y, int64_t ld_y, const T *z, int64_t ld_z, T *out, int rows,
                                          int d_inner) {
    const int row = row_of_thread();
    if (row >= rows) return;
    for (int column = threadIdx.x * N; column < d_inner; column += blockDim.x * N) {
        float value[N], gate[N];
        load_floats(y + row * ld_y + column, value);
        load_floats(z + row * ld_z + column, gate);
#pragma unroll
        for (int i = 0; i < N; ++i) value[i] *= silu_for<T>(gate[i]);
        store_floats(out + static_cast<int64_t>(row) * d_inner + column, value);
    }
}

} // namespace

#define GATED_PARAMETERS(T)                                                                                            \
    const T *y, int64_t ld_y, const T *z, int64_t ld_z, const float *weight, T *out, int rows, int d_inner,            \
        int groups, float eps, int gate_first
#define GATED(T)                                                                                                       \
    Gated<T> { y, ld_y, z, ld_z, weight, out, rows, d_inner, groups, eps, gate_first }

#define GATED_RMS_NORM(T, SUFFIX, VECTORS, THREADS)                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        gated_rms_norm_v##VECTORS##_##SUFFIX(GATED_PARAMETERS(T)) {                                                    \
        wait_for_inputs();                                                                                             \
        if (gate_first) {                                                                                              \
            in_registers<true, VECTORS>(GATED(T));                                                                     \
        } else {                                                                                                       \
            in_registers<false, VECTORS>(GATED(T));                                                                    \
        }                                                                                                              \
    }
#define GATED_RMS_NORM_ANY(T, SUFFIX)                                                                                  \
    extern "C" __global__ void gated_rms_norm_any_##SUFFIX(GATED_PARAMETERS(T)) {                                      \
        wait_for_inputs();                                                                                             \
        any_width<T>(GATED(T));                                                                                        \
    }
#define GATE(T, NAME, N)                                                                                               \
    extern "C" __global__ void gate_##NAME(const T *y, int64_t ld_y, const T *z, int64_t ld_z, T *out, int rows,       \
                                           int d_inner) {                                                              \
        wait_for_inputs();                                                                                             \
        gate_rows<N>(y, ld_y, z, ld_z, out, rows, d_inner);                                                            \
    }

GATED_RMS_NORM(float, f32, 1, 512)
GATED_RMS_NORM(float, f32, 2, 512)
GATED_RMS_NORM(bf16, bf16, 1, 512)
GATED_RMS_NORM(bf16, bf16, 2, 512)
GATED_RMS_NORM_ANY(float, f32)
GATED_RMS_NORM_ANY(bf16, bf16)
GATE(float, f32, EIGHT)
GATE(bf16, bf16, EIGHT)
GATE(float, any_f32, 1)
GATE(bf16, any_bf16, 1)
