// Attention in bf16 on tensor cores: the same softmax over what each row sees as in causal_attention.cu, with products of bf16
// summed in float32, weights rounded to bf16 before they multiply values, and sums of weights taken before the rounding.
//
// A block computes 64 GROUPS rows of one segment and head, each group of four warps 64 of them, over tiles of KEYS keys that begin
// at multiples of KEYS in the chain. A row's arithmetic follows from its place in the chain alone: tiles of which a group's rows see
// nothing are left out, and would multiply by one and add zeros. Scores of the next tile and the weighted values of this one run
// on the tensor cores while weights of the next are computed; tiles are copied STAGES - 2 ahead.
//
// Launch: blocks (tiles, heads), 128 GROUPS threads, STAGES * 2 * panels * PANEL bytes of dynamic shared memory; the number in a
// kernel's name is HEAD_DIM, at least head_dim. head_dim and kv_width are multiples of 8 and rows 16-byte aligned.
//
// Bound by the tensor cores (4 * head_dim FLOPs per row, key and head) and, below 128 channels, by the exponentials: 16 a clock.
#include "chains.cuh"
#include "tile.cuh"

namespace {

constexpr int KEYS = 64;
constexpr int STAGES = 3;

// Copies this thread's pieces of rows of keys and values. Neighbouring threads take the eight pieces of a panel's row.
template <int HEAD_DIM, int THREADS> struct TileCopier {
    static constexpr int PANELS = (HEAD_DIM + 63) / 64;
    static constexpr int TILE = PANELS * PANEL;
    static constexpr int STEP = THREADS / 8; // rows that all threads copy at once
    static constexpr int STEPS = (KEYS + STEP - 1) / STEP;

    const Attention<bf16> &in;
    const int end, first_column;
    int piece[STEPS]; // of the chain, where the last row of each step was

    __device__ __forceinline__ TileCopier(const Attention<bf16> &arguments, const Tile &tile)
        : in(arguments), end(tile.place + tile.rows), first_column(blockIdx.y / arguments.shared * arguments.head_dim) {
#pragma unroll
        for (int &own : piece) own = tile.piece;
    }

    // Keys from place `first` on to `stage`, their values behind them; zeros beyond the chain and the head.
    __device__ __forceinline__ void copy(uint32_t stage, int first) {
        const int at = threadIdx.x % 8;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            const int row = threadIdx.x / 8 + step * STEP, place = first + row;
            if (KEYS % STEP != 0 && row >= KEYS) break;
            const bf16 *keys = in.queries, *values = in.queries; // read by nobody, but the address must exist
            const bool there = place < end;
            if (there) {
                while (place >= in.pieces[piece[step]].end) ++piece[step];
                const Piece<bf16> &from = in.pieces[piece[step]];
                const int64_t offset = (place - from.begin) * in.kv_width + first_column;
                keys = from.keys + offset;
                values = from.values + offset;
            }
#pragma unroll
            for (int panel = 0; panel < PANELS; panel++) {
                const int channel = panel * 64 + at * 8;
                if (channel >= HEAD_DIM) continue;
                const bool valid = there && channel < in.head_dim;
                const int column = valid ? channel : 0;
                const uint32_t to = stage + piece_offset(row, panel * 8 + at);
                copy_async(to, keys + column, valid);
                copy_async(to + TILE, values + column, valid);
            }
        }
    }
};

// The 64 rows of a group, in the fragments of `tile.cuh`: a thread has two rows, eight apart.
template <int HEAD_DIM> struct Rows {
    static constexpr int STEPS = HEAD_DIM / 16, COLUMNS = HEAD_DIM / 8;

    const Attention<bf16> &in;
    const int row, rows;         // first row in the stream, and how many
    const int place;             // of the first row in its chain
    const int own, column;       // the thread's upper row, and its first channel in eight
    uint32_t queries[STEPS][4];
    uint32_t weights[KEYS / 16][4];
    float scores[KEYS / 8][4], mean[COLUMNS][4];
    float largest[2], sum[2], correction[2];

    __device__ __forceinline__ Rows(const Attention<bf16> &arguments, const Tile &tile, int group)
        : in(arguments), row(tile.row + 64 * group), rows(tile.rows - 64 * group), place(tile.place + 64 * group),
          own(threadIdx.x % 128 / WARP * 16 + threadIdx.x % WARP / 4), column(threadIdx.x % 4 * 2) {
        const int64_t from = int64_t(row + own) * in.width + blockIdx.y * in.head_dim + column;
#pragma unroll
        for (int k = 0; k < STEPS; k++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int down = i % 2 * 8, channel = 16 * k + i / 2 * 8;
                const bool there = own + down < rows && channel + column < in.head_dim;
                queries[k][i] = there ? *reinterpret_cast<const uint32_t *>(in.queries + from + int64_t(down) * in.width + channel) : 0u;
            }
        }
    }

    // How many tiles of keys the rows see some of.
    __device__ __forceinline__ int tiles() const { return rows > 0 ? (place + min(rows, 64) + KEYS - 1) / KEYS : 0; }

    // Scores of the keys from place `first` on become weights, not yet rounded. Every row sees place 0, so that after the first
    // tile the largest score is finite.
    __device__ __forceinline__ void weigh(int first) {
        if (place + 1 < first + KEYS) {
#pragma unroll
            for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    if (first + 8 * j + column + i % 2 > place + own + i / 2 * 8) scores[j][i] = -INFINITY;
                }
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = largest[half];
#pragma unroll
            for (int j = 0; j < KEYS / 8; j++) most = fmaxf(most, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
            correction[half] = exp2_fast((largest[half] - most) * in.scale);
            largest[half] = most;
            float more = 0.0f;
#pragma unroll
            for (int j = 0; j < KEYS / 8; j++) {
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    scores[j][i] = exp2_fast((scores[j][i] - most) * in.scale);
                    more += scores[j][i];
                }
            }
            sum[half] = fmaf(sum[half], correction[half], more);
        }
    }

    __device__ __forceinline__ void round_weights() {
#pragma unroll
        for (int k = 0; k < KEYS / 16; k++) {
#pragma unroll
            for (int i = 0; i < 4; i++) weights[k][i] = pack(scores[2 * k + i / 2][i % 2 * 2], scores[2 * k + i / 2][i % 2 * 2 + 1]);
        }
    }

    __device__ __forceinline__ void start(uint32_t keys) {
        largest[0] = largest[1] = -INFINITY;
        sum[0] = sum[1] = 0.0f;
        products_begin();
        product(scores, queries, keys);
        products_commit();
        products_wait<0>(scores);
        weigh(0);
        round_weights();
    }

    // Adds the values of tile `index`, and weighs the keys of the next one.
    __device__ __forceinline__ void advance(int index, uint32_t values, uint32_t next_keys) {
        products_begin();
        product(scores, queries, next_keys);
        products_commit();
        product(mean, weights, values, index > 0, KEYS);
        products_commit();
        products_wait<1>(scores);
        weigh((index + 1) * KEYS);
        products_wait<0>(mean);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
#pragma unroll
            for (int i = 0; i < 4; i++) mean[j][i] *= correction[i / 2];
        }
        round_weights();
    }

    // Adds the values of the last tile, and writes the means.
    __device__ __forceinline__ void finish(int index, uint32_t values) {
        products_begin();
        product(mean, weights, values, index > 0, KEYS);
        products_commit();
        products_wait<0>(mean);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float total = sum[half];
            total += __shfl_xor_sync(ALL_LANES, total, 1);
            total += __shfl_xor_sync(ALL_LANES, total, 2);
            if (own + 8 * half >= rows) continue;
            const float inverse = 1.0f / total;
            bf16 *out = in.out + int64_t(row + own + 8 * half) * in.width + blockIdx.y * in.head_dim + column;
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                if (8 * j >= in.head_dim) break;
                *reinterpret_cast<uint32_t *>(out + 8 * j) = pack(mean[j][2 * half] * inverse, mean[j][2 * half + 1] * inverse);
            }
        }
    }
};

template <int HEAD_DIM, int GROUPS> __device__ __forceinline__ void attend(const Attention<bf16> &in) {
    extern __shared__ __align__(1024) unsigned char shared[];
    using Copier = TileCopier<HEAD_DIM, 128 * GROUPS>;
    constexpr uint32_t TILE = Copier::TILE;
    const uint32_t base = shared_address(shared);
    auto stage = [&](int index) { return base + index % STAGES * 2 * TILE; };
    const Tile tile = in.tiles[blockIdx.x];
    const int n_tiles = (tile.place + tile.rows + KEYS - 1) / KEYS;
    Copier copier(in, tile);
    auto copy = [&](int index) {
        if (index < n_tiles) copier.copy(stage(index), index * KEYS);
        copy_commit();
    };
#pragma unroll
    for (int index = 0; index < STAGES - 1; index++) copy(index);
    // From one lane, so that the compiler sees a group as one.
    Rows<HEAD_DIM> rows(in, tile, __shfl_sync(ALL_LANES, threadIdx.x / 128, 0));
    const int own_tiles = rows.tiles();
    copy_wait<STAGES - 2>();
    publish_to_products();
    __syncthreads();
    if (own_tiles > 0) rows.start(stage(0));
    auto next = [&](int index) {
        copy_wait<STAGES - 3>();
        publish_to_products();
        // Tile index + 1 is there, and the one before this has been used. Groups meet here from two places of the program, which
        // `__syncthreads` does not allow.
        asm volatile("barrier.sync 0;" ::: "memory");
        copy(index + STAGES - 1);
    };
    int index = 0;
    for (; index + 1 < own_tiles; index++) {
        next(index);
        rows.advance(index, stage(index) + TILE, stage(index + 1));
    }
    if (own_tiles > 0) rows.finish(index, stage(index) + TILE);
    for (; index < n_tiles; index++) next(index); // other groups see more
}

} // namespace

// With GROUPS groups in a block and BLOCKS blocks on a multiprocessor: as many as registers allow, so that one group computes
// weights while another multiplies. At 128 channels a third group would save 6 % on long segments and cost 15 % on short ones.
#define CAUSAL_ATTENTION_MMA(HEAD_DIM, GROUPS, BLOCKS)                                                                 \
    extern "C" __global__ void __launch_bounds__(128 * GROUPS, BLOCKS) causal_attention_mma_##HEAD_DIM##_bf16(         \
        const bf16 *queries, const Piece<bf16> *pieces, const Tile *tiles, bf16 *out, int width, int kv_width,         \
        int shared, int head_dim, float scale) {                                                                       \
        wait_for_inputs();                                                                                             \
        attend<HEAD_DIM, GROUPS>({queries, pieces, tiles, out, width, kv_width, shared, head_dim, scale});             \
    }

CAUSAL_ATTENTION_MMA(64, 2, 2)
CAUSAL_ATTENTION_MMA(80, 3, 1)
CAUSAL_ATTENTION_MMA(128, 2, 1)
