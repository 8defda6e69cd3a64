// The matching of the released code between ranks (`blocks::released` of the crate reduction-strategies): every channel of the
// candidates' unit rows is sorted by itself, and what is sorted is compared as if it were rows.
//
// `candidate_rows`: lists from the two sides of `partition`: rows int32 [candidates] in order, and of the sorted matrix the lower half as
// sources, the upper half as targets. Launch: grid S, block 256.
// `unit_columns_{f32,bf16}`: x T [tokens, ld] -> columns f32 [width, candidates], the unit rows transposed.
// `sort_columns`: each segment of each column, largest first; in shared memory of 4 * n bytes where `shared_values` holds n. Launch: grid
// (width, S), block of 512 or fewer: any number sorts.
// `rank_rows`: columns f32 [width, candidates] -> out f32 [candidates, width]. Both transposes: grid (ceil(width / 32),
// ceil(candidates / 32)), block (32, 8).
//
// Bound by the sorts: 66 passes through shared memory for 2048 candidates, about 1 ms for 16 segments and 2560 channels on an H200.
#include "select.cuh"

extern "C" __global__ void candidate_rows(const int *__restrict__ even, const int *__restrict__ odd,
                                          const int *__restrict__ src_off, const int *__restrict__ tgt_off,
                                          int *__restrict__ rows, int *__restrict__ sources, int *__restrict__ targets) {
    wait_for_inputs();
    const int src = src_off[blockIdx.x], n_even = src_off[blockIdx.x + 1] - src;
    const int tgt = tgt_off[blockIdx.x], n_odd = tgt_off[blockIdx.x + 1] - tgt;
    const int first = src + tgt;
    for (int i = threadIdx.x; i < n_even; i += blockDim.x) {
        rows[first + 2 * i] = even[src + i];
        sources[src + i] = first + n_odd + i;
    }
    for (int i = threadIdx.x; i < n_odd; i += blockDim.x) {
        rows[first + 2 * i + 1] = odd[tgt + i];
        targets[tgt + i] = first + i;
    }
}

constexpr int EDGE = 32, STRIPE = 8;

template <typename T>
__device__ __forceinline__ void unit_columns(const T *x, int64_t ld, int width, const float *inv_norm, bool clip,
                                             const int *rows, int n, float *columns) {
    __shared__ float tile[EDGE][EDGE + 1];
    const int column = blockIdx.x * EDGE + threadIdx.x;
    for (int y = threadIdx.y; y < EDGE; y += STRIPE) {
        const int candidate = blockIdx.y * EDGE + y;
        float value = 0.0f;
        if (candidate < n && column < width) {
            value = to_float(x[rows[candidate] * ld + column]);
            if (clip) value = max_or_nan(value, 0.0f);
            value *= inv_norm[rows[candidate]];
        }
        tile[y][threadIdx.x] = value;
    }
    __syncthreads();
    const int candidate = blockIdx.y * EDGE + threadIdx.x;
    for (int y = threadIdx.y; y < EDGE; y += STRIPE)
        if (candidate < n && blockIdx.x * EDGE + y < width)
            columns[(int64_t)(blockIdx.x * EDGE + y) * n + candidate] = tile[threadIdx.x][y];
}

#define UNIT_COLUMNS(name, T)                                                                                          \
    extern "C" __global__ void __launch_bounds__(EDGE *STRIPE)                                                         \
        name(const T *__restrict__ x, int64_t ld, int width, const float *__restrict__ inv_norm, int clip,             \
             const int *__restrict__ rows, int n, float *__restrict__ columns) {                                       \
        wait_for_inputs();                                                                                             \
        unit_columns<T>(x, ld, width, inv_norm, clip != 0, rows, n, columns);                                          \
    }
UNIT_COLUMNS(unit_columns_f32, float)
UNIT_COLUMNS(unit_columns_bf16, bf16)

// A network that sorts any number of values: each comparison puts the larger value at the lower place, so values that are thought of
// beyond the end, smaller than all, never move.
__device__ void sort_down(float *values, int n) {
    auto compare = [&](int a, int b) {
        if (b >= n) return;
        const float x = values[a], y = values[b];
        if (x < y) {
            values[a] = y;
            values[b] = x;
        }
    };
    // Powers of two by their exponents: divisions by them are shifts.
    for (int k = 0; 1 << k < n; k++) {
        __syncthreads();
        for (int t = threadIdx.x; (t >> k) << (k + 1) < n; t += blockDim.x) {
            const int base = (t >> k) << (k + 1), at = t & ((1 << k) - 1);
            compare(base + at, base + (2 << k) - 1 - at);
        }
        for (int j = k - 1; j >= 0; j--) {
            __syncthreads();
            for (int t = threadIdx.x; (t >> j) << (j + 1) < n; t += blockDim.x) {
                const int at = ((t >> j) << (j + 1)) + (t & ((1 << j) - 1));
                compare(at, at + (1 << j));
            }
        }
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(512)
    sort_columns(float *__restrict__ columns, const int *__restrict__ src_off, const int *__restrict__ tgt_off,
                 int shared_values) {
    wait_for_inputs();
    extern __shared__ float shared[];
    const int s = blockIdx.y, first = src_off[s] + tgt_off[s], n = src_off[s + 1] + tgt_off[s + 1] - first;
    float *values = columns + (int64_t)blockIdx.x * (src_off[gridDim.y] + tgt_off[gridDim.y]) + first;
    if (n > shared_values) return sort_down(values, n);
    for (int i = threadIdx.x; i < n; i += blockDim.x) shared[i] = values[i];
    sort_down(shared, n);
    for (int i = threadIdx.x; i < n; i += blockDim.x) values[i] = shared[i];
}

extern "C" __global__ void __launch_bounds__(EDGE *STRIPE)
    rank_rows(const float *__restrict__ columns, int width, int n, float *__restrict__ out) {
    wait_for_inputs();
    __shared__ float tile[EDGE][EDGE + 1];
    const int candidate = blockIdx.y * EDGE + threadIdx.x;
    for (int y = threadIdx.y; y < EDGE; y += STRIPE) {
        const int column = blockIdx.x * EDGE + y;
        tile[y][threadIdx.x] = candidate < n && column < width ? columns[(int64_t)column * n + candidate] : 0.0f;
    }
    __syncthreads();
    const int column = blockIdx.x * EDGE + threadIdx.x;
    for (int y = threadIdx.y; y < EDGE; y += STRIPE)
        if (blockIdx.y * EDGE + y < n && column < width)
            out[(int64_t)(blockIdx.y * EDGE + y) * width + column] = tile[threadIdx.x][y];
}
