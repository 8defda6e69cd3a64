// y = x W^T for up to 32 rows of x, bf16, summed in float32: weights stream through the tensor cores once.
//
// A block computes tiles of columns of y, one after the other, its warps a part of the sum each, in an order that follows from k
// alone. A warp has its part of the weights of the tiles to come copied into a ring in shared memory, and waits for no other warp
// before the sums. A thread's 16 bytes of a weight row serve as the operands of two products; x is taken in the same order, so
// both see the same permutation of the sum. A warp keeps its part of x in registers (KEPT steps), or reads it again for each tile (0).
// The ring is filled before the kernel waits for x. The first columns of a Mamba's in_proj are CONVOLVED: x_proj reads them so.
//
// Launch: THREADS threads; blocks up to the number of tiles; dynamic shared memory of WARPS slots slot_bytes for the rings
// and WARPS 8 TILES MAX_COLUMNS 4 for the sums. slots is at most MAX_SLOTS, columns of a tile at most MAX_COLUMNS. k is a multiple
// of 32; a warp has up to KEPT steps of 32 where x is kept, else more than 2 CHUNK.
//
// Bound by the reading of weights, 2 n k bytes, and of x from the L2 cache, 2 rows k bytes a block.
#include "decode.cuh"

namespace {

constexpr int THREADS = 256, WARPS = THREADS / WARP;
constexpr int CHUNK = 5; // steps in a slot; odd, so that neighbouring rows of a slot lie in different banks
constexpr int STRIDE = CHUNK * 4; // of rows of a slot, in pieces of 16 bytes
constexpr int MAX_COLUMNS = 32, BANDS = MAX_COLUMNS / 16, MAX_SLOTS = 16;

struct alignas(64) Map { unsigned char opaque[128]; }; // the driver's description of the weights

struct Product {
    const Map *weight; // [n][k], in boxes of `columns` rows and CHUNK 32 columns
    const bf16 *x;     // [rows][k]
    int n, k, rows, columns, slots;
    Squares squares; // of x, where a norm stands before the product
    bf16 *y;         // [rows][n], or null; without the columns that are convolved
    float *logits;   // [rows][n], or null
    float *residual; // [rows][n]: y is added to it, and what it becomes is what the next norm reads; or null
    NormedRows next;
    Convolution convolution; // of the first columns, where they are convolved
    bf16 *convolved;         // [rows][channels]
};

__device__ __forceinline__ uint32_t shared_address(const void *pointer) { return uint32_t(__cvta_generic_to_shared(pointer)); }
__device__ __forceinline__ void mma(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// A warp's part of the weights of its block's tiles, in the order of reading.
struct Stream {
    const Product &in;
    const int begin, end;   // steps of this warp
    uint4 *const ring;      // [slot][column][STRIDE], a slot a multiple of 128 bytes
    const uint32_t arrived; // [slot]: barriers in shared memory
    int tile, step, asked = 0; // of the next copy
    int slot = 0, phase = 0;   // of the next chunk to be read

    __device__ __forceinline__ Stream(const Product &in, int begin, int end, uint4 *ring, uint64_t *barriers)
        : in(in), begin(begin), end(end), ring(ring), arrived(shared_address(barriers)), tile(blockIdx.x), step(begin) {
        if (threadIdx.x % WARP == 0) {
            for (int i = 0; i < in.slots; i++) asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(arrived + i * 8) : "memory");
            asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory");
            for (int i = 0; i < in.slots; i++) ask();
        }
        __syncwarp();
    }
    static __device__ __forceinline__ int slot_size(int columns) { return (columns * STRIDE + 7) / 8 * 8; }
    // By the first lane. Outside of the matrix there are zeros.
    __device__ __forceinline__ void ask() {
        if (tile * in.columns >= in.n || step >= end) return;
        const uint32_t to = shared_address(ring + asked * slot_size(in.columns)), barrier = arrived + asked * 8;
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(CHUNK * 64 * in.columns) : "memory");
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                     "l"(in.weight), "r"(step * 32), "r"(tile * in.columns), "r"(barrier) : "memory");
        if (++asked == in.slots) asked = 0;
        step += CHUNK;
        if (step >= end) {
            step = begin;
            tile += gridDim.x;
        }
    }
    __device__ __forceinline__ const uint4 *wait() const {
        asm volatile("{\n.reg .pred there;\nagain: mbarrier.try_wait.parity.shared::cta.b64 there, [%0], %1;\n@!there bra again;\n}"
                     ::"r"(arrived + slot * 8), "r"(phase) : "memory");
        return ring + slot * slot_size(in.columns);
    }
    // The chunk has been read: its slot takes the next copy.
    __device__ __forceinline__ void next() {
        __syncwarp();
        if (threadIdx.x % WARP == 0) ask();
        if (++slot == in.slots) slot = 0, phase ^= 1;
    }
};

template <int TILES, int KEPT, bool CONVOLVED> __device__ __forceinline__ void multiply(const Product &in) {
    extern __shared__ __align__(128) uint4 shared[]; // ring of each warp, then sums [warp][row][MAX_COLUMNS]
    __shared__ uint64_t arrived[WARPS][MAX_SLOTS];
    __shared__ float scales[8 * TILES];
    constexpr int ROWS = 8 * TILES;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, steps = in.k / 32;
    const int begin = steps * warp / WARPS, end = steps * (warp + 1) / WARPS, ring_size = in.slots * Stream::slot_size(in.columns);
    float *const sums = reinterpret_cast<float *>(shared + WARPS * ring_size);
    Stream stream(in, begin, end, shared + warp * ring_size, arrived[warp]);
    // What the end of a tile needs; each lane has a column, rows are warp, warp + WARPS, ... The layer before wrote the residual, the
    // step before the ring of the convolution.
    float before[TILES], factor;
    int place[TILES];
    auto prepare = [&](int tile) {
        const int column = tile * in.columns + lane;
        const bool there = lane < in.columns && column < in.n, convolved = CONVOLVED && there && column < in.convolution.channels;
        factor = convolved ? in.convolution.newest(column) : there && in.residual ? in.next.weight[column] : 0.0f;
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            const int row = warp + i * WARPS;
            before[i] = 0.0f, place[i] = 0;
            if (!there || row >= in.rows) continue;
            if (convolved) before[i] = in.convolution.older(row, column, place[i]);
            else if (in.residual) before[i] = in.residual[int64_t(row) * in.n + column];
        }
    };
    prepare(blockIdx.x);
    wait_for_inputs();
    let_next_start();
    // Where this lane finds its pieces of a chunk. Columns beyond the last are read from the last and not stored.
    int places[BANDS][2];
#pragma unroll
    for (int i = 0; i < 2 * BANDS; i++) places[i / 2][i % 2] = min(i * 8 + lane / 4, in.columns - 1) * STRIDE + lane % 4;
    const bf16 *const x = in.x + int64_t(lane / 4) * in.k + lane % 4 * 8;
    auto read = [&](int step, uint4 (&to)[TILES]) {
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
            to[tile] = {};
            if (step < end && tile * 8 + lane / 4 < in.rows) to[tile] = *reinterpret_cast<const uint4 *>(x + int64_t(tile) * 8 * in.k + step * 32);
        }
    };
    constexpr int HELD = KEPT ? KEPT : 2 * CHUNK;
    uint4 held[HELD][TILES]; // of x: all of this warp's, or the chunk in use and the next
#pragma unroll
    for (int i = 0; i < HELD; i++) read(begin + i, held[i]);
    for (int row = warp; row < in.rows; row += WARPS) {
        const float scale = in.squares.scale(row);
        if (lane == 0) scales[row] = scale;
    }
    for (int tile = blockIdx.x; tile * in.columns < in.n; tile += gridDim.x) {
        if (tile != blockIdx.x) prepare(tile);
        float acc[2][BANDS][TILES][4] = {}; // of the first and the second product of a step: two shorter chains
        auto multiply_step = [&](const uint4 *chunk, int i, const uint4 (&from)[TILES]) {
#pragma unroll
            for (int band = 0; band < BANDS; band++) {
                if (band * 16 >= in.columns) break;
                const uint4 a = chunk[places[band][0] + i * 4], b = chunk[places[band][1] + i * 4];
#pragma unroll
                for (int tile = 0; tile < TILES; tile++) {
                    mma(acc[0][band][tile], a.x, b.x, a.y, b.y, from[tile].x, from[tile].y);
                    mma(acc[1][band][tile], a.z, b.z, a.w, b.w, from[tile].z, from[tile].w);
                }
            }
        };
        if constexpr (KEPT > 0) {
#pragma unroll
            for (int chunk = 0; chunk < KEPT / CHUNK; chunk++) {
                if (begin + chunk * CHUNK >= end) break;
                const uint4 *const weights = stream.wait();
#pragma unroll
                for (int i = 0; i < CHUNK; i++) {
                    if (begin + chunk * CHUNK + i < end) multiply_step(weights, i, held[chunk * CHUNK + i]);
                }
                stream.next();
            }
        } else {
            for (int step = begin; step < end; step += CHUNK) {
                const uint4 *const weights = stream.wait();
#pragma unroll
                for (int i = 0; i < CHUNK; i++) {
                    if (step + i < end) multiply_step(weights, i, held[i]);
                }
                // The chunk after the next; after the last one those of the next tile.
                int later = step + 2 * CHUNK;
                if (later >= end) later -= (end - begin + CHUNK - 1) / CHUNK * CHUNK;
#pragma unroll
                for (int i = 0; i < CHUNK; i++) {
#pragma unroll
                    for (int tile = 0; tile < TILES; tile++) held[i][tile] = held[CHUNK + i][tile];
                    read(later + i, held[CHUNK + i]);
                }
                stream.next();
            }
        }
#pragma unroll
        for (int i = 0; i < BANDS * TILES * 4; i++) {
            const int band = i / (4 * TILES), part = i / 4 % TILES, row = part * 8 + lane % 4 * 2 + i % 2;
            sums[(warp * ROWS + row) * MAX_COLUMNS + band * 16 + lane / 4 + i % 4 / 2 * 8] = acc[0][band][part][i % 4] + acc[1][band][part][i % 4];
        }
        __syncthreads();
        const int column = tile * in.columns + lane;
        const bool there = lane < in.columns && column < in.n;
        const bool convolved = CONVOLVED && there && column < in.convolution.channels;
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            const int row = warp + i * WARPS;
            if (row >= in.rows) break;
            float sum = 0.0f;
#pragma unroll
            for (int part = 0; part < WARPS; part++) sum += sums[(part * ROWS + row) * MAX_COLUMNS + lane];
            sum *= scales[row];
            const int64_t to = int64_t(row) * in.n + column;
            if (convolved) {
                const float now = rounded(sum);
                in.convolution.ring[place[i]] = now;
                in.convolved[int64_t(row) * in.convolution.channels + column] = from_float<bf16>(Convolution::result(now, factor, before[i]));
            } else if (in.y && there) {
                in.y[to] = from_float<bf16>(sum);
            }
            if (in.logits && there) in.logits[to] = sum;
            if (in.residual) {
                sum += before[i];
                if (there) in.residual[to] = sum;
                in.next.put(row, column, sum * factor, there);
                in.next.put_squares(row, tile, there ? sum * sum : 0.0f);
            }
        }
        __syncthreads();
    }
}

} // namespace

// Older cards never launch these kernels: they have no engine that copies boxes.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define MULTIPLY(TILES, KEPT, CONVOLVED, ...) __trap()
#else
#define MULTIPLY(TILES, KEPT, CONVOLVED, ...) multiply<TILES, KEPT, CONVOLVED>(__VA_ARGS__)
#endif

#define DECODE_PRODUCT(TILES, KEPT)                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) decode_product_##TILES##_##KEPT(                             \
        const __grid_constant__ Map weight, const bf16 *x, int n, int k, int rows, int columns, int slots,             \
        const float *parts, int n_parts, int width, float eps, bf16 *y, float *logits, float *residual,                \
        const float *next_weight, bf16 *next_rows, float *next_parts) {                                                \
        MULTIPLY(TILES, KEPT, false, {&weight, x, n, k, rows, columns, slots, {parts, n_parts, width, eps}, y, logits, \
                                      residual, {next_weight, next_rows, next_parts, n, (n + columns - 1) / columns},  \
                                      {}, nullptr});                                                                   \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) decode_convolved_##TILES##_##KEPT(                           \
        const __grid_constant__ Map weight, const bf16 *x, int n, int k, int rows, int columns, int slots,             \
        const float *parts, int n_parts, int width, float eps, bf16 *y, const float *conv_weight,                      \
        const float *conv_bias, float *ring, const int *counter, int channels, bf16 *convolved) {                      \
        MULTIPLY(TILES, KEPT, true, {&weight, x, n, k, rows, columns, slots, {parts, n_parts, width, eps}, y, nullptr, \
                                     nullptr, {}, {conv_weight, conv_bias, ring, counter, channels, rows},             \
                                     convolved});                                                                      \
    }

DECODE_PRODUCT(1, 10)
DECODE_PRODUCT(1, 0)
DECODE_PRODUCT(2, 10)
DECODE_PRODUCT(2, 0)
DECODE_PRODUCT(4, 10)
DECODE_PRODUCT(4, 0)
