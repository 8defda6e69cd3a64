// y = x W^T for up to 32 rows of x, bf16, summed in float32: weights stream through the tensor cores once.
//
// A block computes tiles of columns of y, one after the other, its warps a part of the sum each, in an order that follows from k
// alone. A warp has its part of the weights of the tiles to come copied into a ring in shared memory, and waits for no other warp
// before the sums. A thread's 16 bytes of a weight row serve as the operands of two products; x is taken in the same order, so
// both see the same permutation of the sum. A warp keeps its part of x in registers (KEPT steps), or reads it again for each tile (0).
// The ring is filled before the kernel waits for x. CONVOLVED: the kernel also convolves the first columns, a Mamba's x, which x_proj
// reads.
//
// Launch: THREADS threads; blocks up to the number of tiles; dynamic shared memory of WARPS slots slot_pieces(columns) 16 bytes for the
// rings and WARPS ROWS MAX_COLUMNS 4 bytes for the sums. slots is at most MAX_SLOTS, columns of a tile at most MAX_COLUMNS. k is a
// multiple of 32; a warp has up to KEPT steps of 32 where x is kept, else at least 2 CHUNK.
//
// Bound by the reading of weights, 2 n k bytes, and of x from the L2 cache, 2 rows k bytes a block. The last chunk of a warp reaches
// into the steps of the next: at k 768 and 1536 1.67 times the weights are copied, at 1024, 2048 and 4096 1.25 times, at 2560 and 5120
// once. With four ROW_TILES x fills the registers, and no block of another kernel runs on the same multiprocessor.
#include "decode.cuh"

namespace {

constexpr int THREADS = 256, WARPS = THREADS / WARP;
constexpr int CHUNK = 5; // steps in a slot; odd, so that neighbouring rows of a slot are in different banks
constexpr int STRIDE = CHUNK * 4; // of rows of a slot, in pieces of 16 bytes
constexpr int MAX_COLUMNS = 32, BANDS = MAX_COLUMNS / 16, MAX_SLOTS = 16;

struct alignas(128) Map { unsigned char opaque[128]; }; // a tensor map

struct Product {
    const Map *weight; // [n][k], in boxes of `columns` rows and CHUNK 32 columns
    const bf16 *x;     // [rows][k]
    int n, k, rows, columns, slots;
    Squares squares; // of x, where a norm comes before the product
    bf16 *y;         // [rows][n], or null; without the columns that are convolved
    float *logits;   // [rows][n], or null
    float *residual; // [rows][n]: y is added to it, and what it becomes is what the next norm reads; or null
    NormedRows next;
    Convolution convolution; // of the first columns, where they are convolved
    bf16 *convolved;         // [rows][channels]
};

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
            for (int i = 0; i < in.slots; i++) {
                asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(arrived + i * 8) : "memory");
            }
            asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory");
            for (int i = 0; i < in.slots; i++) ask();
        }
        __syncwarp();
    }
    static __device__ __forceinline__ int slot_pieces(int columns) { return (columns * STRIDE + 7) / 8 * 8; }
    // By the first lane. Outside of the matrix there are zeros.
    __device__ __forceinline__ void ask() {
        if (tile * in.columns >= in.n || step >= end) return;
        const uint32_t to = shared_address(ring + asked * slot_pieces(in.columns)), barrier = arrived + asked * 8;
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
        return ring + slot * slot_pieces(in.columns);
    }
    // The chunk has been read: its slot takes the next copy.
    __device__ __forceinline__ void next() {
        __syncwarp();
        if (threadIdx.x % WARP == 0) ask();
        if (++slot == in.slots) slot = 0, phase ^= 1;
    }
};

// The column of a tile that a lane finishes.
struct Column {
    int at;
    bool there, first; // first: before the end of what is convolved

    __device__ __forceinline__ Column(const Product &in, int tile) {
        const int lane = threadIdx.x % WARP;
        at = tile * in.columns + lane;
        there = lane < in.columns && at < in.n;
        first = there && at < in.convolution.channels;
    }
    template <bool CONVOLVED> __device__ __forceinline__ bool convolved() const { return CONVOLVED && first; }
};

template <int ROW_TILES, int KEPT, bool CONVOLVED> __device__ __forceinline__ void multiply(const Product &in) {
    extern __shared__ __align__(128) uint4 shared[]; // ring of each warp, then sums [warp][row][MAX_COLUMNS]
    __shared__ uint64_t arrived[WARPS][MAX_SLOTS];
    __shared__ float scales[8 * ROW_TILES];
    constexpr int ROWS = 8 * ROW_TILES;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, steps = in.k / 32;
    const int begin = steps * warp / WARPS, end = steps * (warp + 1) / WARPS, ring_pieces = in.slots * Stream::slot_pieces(in.columns);
    float *const sums = reinterpret_cast<float *>(shared + WARPS * ring_pieces);
    Stream stream(in, begin, end, shared + warp * ring_pieces, arrived[warp]);
    // What the end of a tile needs; each lane has a column, rows are warp, warp + WARPS, ... Where columns are convolved: the older part
    // of the sum, the newest weight and the place in the ring, which the step before wrote. Where a norm follows: the residual, which the
    // layer before or the embedding wrote, and the norm's weight.
    float addend[ROW_TILES], factor;
    int place[ROW_TILES];
    auto prepare = [&](int tile) {
        const Column own(in, tile);
        factor = own.convolved<CONVOLVED>() ? in.convolution.newest(own.at) : own.there && in.residual ? in.next.weight[own.at] : 0.0f;
#pragma unroll
        for (int i = 0; i < ROW_TILES; i++) {
            const int row = warp + i * WARPS;
            addend[i] = 0.0f, place[i] = 0;
            if (!own.there || row >= in.rows) continue;
            if (own.convolved<CONVOLVED>()) addend[i] = in.convolution.older(row, own.at, place[i]);
            else if (in.residual) addend[i] = __ldcg(in.residual + int64_t(row) * in.n + own.at);
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
    auto read = [&](int step, uint4 (&to)[ROW_TILES]) {
#pragma unroll
        for (int part = 0; part < ROW_TILES; part++) {
            to[part] = {};
            if (step >= end || part * 8 + lane / 4 >= in.rows) continue;
            to[part] = *reinterpret_cast<const uint4 *>(x + int64_t(part) * 8 * in.k + step * 32);
        }
    };
    constexpr int HELD = KEPT ? KEPT : 2 * CHUNK;
    uint4 held[HELD][ROW_TILES]; // of x: all of this warp's, or the chunk in use and the next
#pragma unroll
    for (int i = 0; i < HELD; i++) read(begin + i, held[i]);
    for (int row = warp; row < in.rows; row += WARPS) {
        const float scale = in.squares.scale(row);
        if (lane == 0) scales[row] = scale;
    }
    for (int tile = blockIdx.x; tile * in.columns < in.n; tile += gridDim.x) {
        if (tile != blockIdx.x) prepare(tile);
        float acc[2][BANDS][ROW_TILES][4] = {}; // of the first and the second product of a step: two shorter chains
        auto multiply_step = [&](const uint4 *chunk, int i, const uint4 (&from)[ROW_TILES]) {
#pragma unroll
            for (int band = 0; band < BANDS; band++) {
                if (band * 16 >= in.columns) break;
                const uint4 a = chunk[places[band][0] + i * 4], b = chunk[places[band][1] + i * 4];
#pragma unroll
                for (int part = 0; part < ROW_TILES; part++) {
                    mma(acc[0][band][part], a.x, b.x, a.y, b.y, from[part].x, from[part].y);
                    mma(acc[1][band][part], a.z, b.z, a.w, b.w, from[part].z, from[part].w);
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
                // x of the chunk after the next. After the last chunk, x of the first chunks again, for the next tile.
                int later = step + 2 * CHUNK;
                if (later >= end) later -= (end - begin + CHUNK - 1) / CHUNK * CHUNK;
#pragma unroll
                for (int i = 0; i < CHUNK; i++) {
#pragma unroll
                    for (int part = 0; part < ROW_TILES; part++) held[i][part] = held[CHUNK + i][part];
                    read(later + i, held[CHUNK + i]);
                }
                stream.next();
            }
        }
#pragma unroll
        for (int i = 0; i < BANDS * ROW_TILES * 4; i++) {
            const int band = i / (4 * ROW_TILES), part = i / 4 % ROW_TILES, row = part * 8 + lane % 4 * 2 + i % 2;
            const int column = band * 16 + lane / 4 + i % 4 / 2 * 8;
            sums[(warp * ROWS + row) * MAX_COLUMNS + column] = acc[0][band][part][i % 4] + acc[1][band][part][i % 4];
        }
        __syncthreads();
        const Column own(in, tile);
#pragma unroll
        for (int i = 0; i < ROW_TILES; i++) {
            const int row = warp + i * WARPS;
            if (row >= in.rows) break;
            float sum = 0.0f;
#pragma unroll
            for (int part = 0; part < WARPS; part++) sum += sums[(part * ROWS + row) * MAX_COLUMNS + lane];
            sum *= scales[row];
            const int64_t to = int64_t(row) * in.n + own.at;
            if (own.convolved<CONVOLVED>()) {
                const float now = rounded(sum);
                in.convolution.ring[place[i]] = now;
                const float result = Convolution::result(now, factor, addend[i]);
                in.convolved[int64_t(row) * in.convolution.channels + own.at] = from_float<bf16>(result);
            } else if (in.y && own.there) {
                in.y[to] = from_float<bf16>(sum);
            }
            if (in.logits && own.there) in.logits[to] = sum;
            if (in.residual) {
                sum += addend[i];
                if (own.there) {
                    in.residual[to] = sum;
                    in.next.put(row, own.at, __fmul_rn(sum, factor));
                }
                in.next.put_squares(row, tile, own.there ? __fmul_rn(sum, sum) : 0.0f);
            }
        }
        __syncthreads();
    }
}

} // namespace

// Older cards never launch these kernels: they have no TMA.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define MULTIPLY(ROW_TILES, KEPT, CONVOLVED, ...) __trap()
#else
#define MULTIPLY(ROW_TILES, KEPT, CONVOLVED, ...) multiply<ROW_TILES, KEPT, CONVOLVED>(__VA_ARGS__)
#endif

#define DECODE_PRODUCT(ROW_TILES, KEPT)                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) decode_product_##ROW_TILES##_##KEPT(                             \
        const __grid_constant__ Map weight, const bf16 *x, int n, int k, int rows, int columns, int slots,             \
        const float *parts, int n_parts, int width, float eps, bf16 *y, float *logits, float *residual,                \
        const float *next_weight, bf16 *next_rows, float *next_parts) {                                                \
        MULTIPLY(ROW_TILES, KEPT, false, {&weight, x, n, k, rows, columns, slots, {parts, n_parts, width, eps}, y, logits, \
                                      residual, {next_weight, next_rows, next_parts, n, (n + columns - 1) / columns},  \
                                      {}, nullptr});                                                                   \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) decode_convolved_##ROW_TILES##_##KEPT(                           \
        const __grid_constant__ Map weight, const bf16 *x, int n, int k, int rows, int columns, int slots,             \
        const float *parts, int n_parts, int width, float eps, bf16 *y, const float *conv_weight,                      \
        const float *conv_bias, float *ring, const int *counter, int channels, bf16 *convolved) {                      \
        MULTIPLY(ROW_TILES, KEPT, true, {&weight, x, n, k, rows, columns, slots, {parts, n_parts, width, eps}, y, nullptr, \
                                     nullptr, {}, {conv_weight, conv_bias, ring, counter, channels, rows},             \
                                     convolved});                                                                      \
    }

DECODE_PRODUCT(1, 10)
DECODE_PRODUCT(1, 0)
DECODE_PRODUCT(2, 10)
DECODE_PRODUCT(2, 0)
DECODE_PRODUCT(4, 10)
DECODE_PRODUCT(4, 0)
