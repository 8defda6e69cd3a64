// y = x W^T for up to 32 rows of x, bf16, summed in float32: weights stream through the tensor cores once.
//
// A block computes 16 columns of y, its warps a part of the sum each, in an order that follows from k alone. A thread's 16 bytes of a
// weight row serve as the operands of two products; x is taken in the same order, so both see the same permutation of the sum.
// The first weights are fetched before the kernel waits for x.
//
// Launch: blocks n / 16 rounded up, THREADS threads, dynamic shared memory 8 TILES (THREADS / 2 + 1) floats. k is a multiple of
// 32; n is one of 16 where `residual` is given.
//
// Bound by the reading of weights: 2 n k bytes.
#include "decode.cuh"

namespace {

constexpr int AHEAD = 4; // reads of 32 columns of weights in flight in each warp
constexpr int THREADS = 256;

__device__ __forceinline__ uint4 read_once(const bf16 *from) {
    uint4 value;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w) : "l"(from));
    return value;
}
__device__ __forceinline__ void mma(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

template <int VALUE> struct Count { static constexpr int value = VALUE; };

struct Product {
    const bf16 *weight, *x;
    int n, k, ld_x, rows;
    Squares squares; // of x, where a norm stands before the product
    bf16 *y;         // [rows][n], or null
    float *logits;   // [rows][n], or null
    float *residual; // [rows][n]: y is added to it, and what it becomes is what the next norm reads; or null
    NormedRows next;
    Coming coming;
};

template <int TILES> __device__ __forceinline__ void multiply(const Product &in) {
    extern __shared__ float shared[];
    constexpr int ROWS = 8 * TILES, WARPS = THREADS / WARP;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float *const sums = shared, *const scales = shared + WARPS * 16 * ROWS; // [warp][row][16], [row]
    const int first = blockIdx.x * 16, steps = in.k / 32, begin = steps * warp / WARPS, end = steps * (warp + 1) / WARPS;
    // Columns beyond the last are computed from the last and not stored.
    const bf16 *const upper = in.weight + int64_t(min(first + lane / 4, in.n - 1)) * in.k + lane % 4 * 8;
    const bf16 *const lower = in.weight + int64_t(min(first + lane / 4 + 8, in.n - 1)) * in.k + lane % 4 * 8;
    const bf16 *const x = in.x + int64_t(lane / 4) * in.ld_x + lane % 4 * 8;
    float acc[TILES][4] = {};
    bool waited = false;
    auto wait = [&] {
        if (waited) return;
        in.coming.ask();
        wait_for_inputs();
        let_next_start();
        waited = true;
    };
    auto advance = [&](int step, auto count) {
        constexpr int COUNT = decltype(count)::value;
        uint4 a[COUNT], b[COUNT];
#pragma unroll
        for (int ahead = 0; ahead < COUNT; ahead++) {
            a[ahead] = read_once(upper + (step + ahead) * 32);
            b[ahead] = read_once(lower + (step + ahead) * 32);
        }
        wait();
#pragma unroll
        for (int ahead = 0; ahead < COUNT; ahead++) {
#pragma unroll
            for (int tile = 0; tile < TILES; tile++) {
                uint4 from = {};
                if (tile * 8 + lane / 4 < in.rows) {
                    from = *reinterpret_cast<const uint4 *>(x + int64_t(tile) * 8 * in.ld_x + (step + ahead) * 32);
                }
                mma(acc[tile], a[ahead].x, b[ahead].x, a[ahead].y, b[ahead].y, from.x, from.y);
                mma(acc[tile], a[ahead].z, b[ahead].z, a[ahead].w, b[ahead].w, from.z, from.w);
            }
        }
    };
    int step = begin;
    for (; step + AHEAD <= end; step += AHEAD) advance(step, Count<AHEAD>{});
    for (; step < end; step++) advance(step, Count<1>{});
    wait();
    for (int row = warp; row < in.rows; row += WARPS) {
        const float scale = in.squares.scale(row);
        if (lane == 0) scales[row] = scale;
    }
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int row = tile * 8 + lane % 4 * 2 + i % 2, column = lane / 4 + i / 2 * 8;
            sums[(warp * ROWS + row) * 16 + column] = acc[tile][i];
        }
    }
    __syncthreads();
    for (int at = threadIdx.x; at < ROWS * 16; at += THREADS) {
        const int row = at / 16, column = first + at % 16;
        const bool there = row < in.rows && column < in.n;
        float sum = 0.0f;
#pragma unroll
        for (int part = 0; part < WARPS; part++) sum += sums[part * ROWS * 16 + at];
        sum *= there ? scales[row] : 0.0f;
        const int64_t to = int64_t(row) * in.n + column;
        if (in.y && there) in.y[to] = from_float<bf16>(sum);
        if (in.logits && there) in.logits[to] = sum;
        if (in.residual) {
            if (there) in.residual[to] = sum += in.residual[to];
            in.next.put(row, column, sum, there);
        }
    }
}

} // namespace

#define DECODE_PRODUCT(TILES)                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) decode_product_##TILES(                                      \
        const bf16 *weight, const bf16 *x, int n, int k, int ld_x, int rows, const float *parts, int n_parts,          \
        int width, float eps, bf16 *y, float *logits, float *residual, const float *next_weight, bf16 *next_rows,      \
        float *next_parts, const unsigned char *coming, int coming_bytes) {                                            \
        multiply<TILES>({weight, x, n, k, ld_x, rows, {parts, n_parts, width, eps}, y, logits, residual,               \
                         {next_weight, next_rows, next_parts, n}, {coming, coming_bytes}});                            \
    }

DECODE_PRODUCT(1)
DECODE_PRODUCT(2)
DECODE_PRODUCT(4)
