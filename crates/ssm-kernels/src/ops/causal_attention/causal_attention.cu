// Softmax attention with a causal mask over packed segments, head by head: softmax(q K^T / sqrt(head_dim)) V.
//
// queries and out T [rows, width], width = heads * head_dim. What a segment sees is its chain: keys and values of the
// initial cache, of every ancestor and of the segment itself, as pieces of whole rows `kv_width` apart; the row at place i
// of its chain sees the places 0 to i. `shared` neighbouring heads of the queries read one head of keys and values:
// kv_width = width / shared. All arithmetic in float32.
//
// A block computes QUERIES rows of one segment and head, over tiles of KEYS keys that begin at multiples of KEYS in the
// chain: the order of every sum follows from the place of a row in its chain alone, not from how the chain is cut into
// pieces or rows into blocks. A tile of which a row sees nothing multiplies its sums by one and adds zeros to them.
// The largest score so far is subtracted before exponentials are taken, and sums are corrected when it grows.
//
// Launch: blocks (tiles, heads), THREADS threads, sizeof(Shared) bytes of dynamic shared memory; the number in a
// kernel's name is HEAD_DIM, a multiple of 16 and at least head_dim.
//
// Bound by the multiply-adds of float32: 4 * head_dim FLOPs per row, key and head.
#include "chains.cuh"

namespace {

constexpr int QUERIES = 64;
constexpr int KEYS = 64;
constexpr int THREADS = 256;
// Threads stand in a square: along the rows, and along the keys (or channels). A thread owns OWN neighbouring rows.
constexpr int SIDE = 16;
constexpr int OWN = QUERIES / SIDE;
static_assert(SIDE * SIDE == THREADS && OWN == 4 && KEYS == SIDE * OWN, "a thread takes four rows and four keys");
// Places of a row of shared memory that is read four at a time; no power of two, so that columns lie in several banks.
constexpr int PITCH = QUERIES + OWN;

template <int HEAD_DIM, typename T> struct alignas(16) Shared {
    float queries[HEAD_DIM][PITCH];
    // Keys until the scores are known, then the weights, [KEYS][PITCH].
    float keys[HEAD_DIM > KEYS ? HEAD_DIM : KEYS][PITCH];
    float values[KEYS][HEAD_DIM];
    // This head's columns of each key and value of the tile; null beyond the chain.
    const T *key_rows[KEYS], *value_rows[KEYS];
};

__device__ __forceinline__ float4 &four(float *at) { return *reinterpret_cast<float4 *>(at); }

// Over the SIDE threads that own the same rows: half a warp.
__device__ __forceinline__ float side_sum(float value) {
#pragma unroll
    for (int offset = SIDE / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}
__device__ __forceinline__ float side_max(float value) {
#pragma unroll
    for (int offset = SIDE / 2; offset > 0; offset /= 2) {
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, offset));
    }
    return value;
}

template <int HEAD_DIM, typename T> struct Block {
    static constexpr int CHANNELS = HEAD_DIM / SIDE; // of a thread

    const Attention<T> &in;
    Shared<HEAD_DIM, T> &shared;
    const Tile tile;
    const int first_column, first_kv_column;
    const int own_row, side; // first row of this thread in the block, and its place along the keys
    // Of each own row.
    float largest[OWN], sum[OWN], mean[OWN][CHANNELS];

    __device__ __forceinline__ Block(const Attention<T> &arguments, Shared<HEAD_DIM, T> &memory)
        : in(arguments), shared(memory), tile(arguments.tiles[blockIdx.x]),
          first_column(blockIdx.y * arguments.head_dim),
          first_kv_column(blockIdx.y / arguments.shared * arguments.head_dim), own_row(threadIdx.x / SIDE * OWN), side(threadIdx.x % SIDE) {
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
            largest[i] = -INFINITY;
            sum[i] = 0.0f;
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c) mean[i][c] = 0.0f;
        }
    }

    // Scaled, channels beyond the head and rows beyond the tile as zeros.
    __device__ __forceinline__ void load_queries() {
        for (int at = threadIdx.x; at < QUERIES * HEAD_DIM; at += THREADS) {
            const int row = at / HEAD_DIM, channel = at % HEAD_DIM;
            const bool there = row < tile.rows && channel < in.head_dim;
            const int64_t from = static_cast<int64_t>(tile.row + row) * in.width + first_column + channel;
            shared.queries[channel][row] = there ? to_float(in.queries[from]) * in.scale : 0.0f;
        }
    }

    // Where the keys and values from place `first` on lie.
    __device__ __forceinline__ void find_keys(int first, int end) {
        if (threadIdx.x >= KEYS) return;
        const int place = first + threadIdx.x;
        const T *key = nullptr, *value = nullptr;
        if (place < end) {
            int piece = tile.piece;
            while (place >= in.pieces[piece].end) ++piece;
            const int64_t offset = (place - in.pieces[piece].begin) * in.kv_width + first_kv_column;
            key = in.pieces[piece].keys + offset;
            value = in.pieces[piece].values + offset;
        }
        shared.key_rows[threadIdx.x] = key;
        shared.value_rows[threadIdx.x] = value;
    }

    __device__ __forceinline__ void load_keys() {
        for (int at = threadIdx.x; at < KEYS * HEAD_DIM; at += THREADS) {
            const int place = at / HEAD_DIM, channel = at % HEAD_DIM;
            const T *key = shared.key_rows[place], *value = shared.value_rows[place];
            const bool there = key && channel < in.head_dim;
            shared.keys[channel][place] = there ? to_float(key[channel]) : 0.0f;
            shared.values[place][channel] = there ? to_float(value[channel]) : 0.0f;
        }
    }

    // Of the own rows and the keys side * OWN and the three that follow.
    __device__ __forceinline__ void score(float (&scores)[OWN][OWN]) {
#pragma unroll 8
        for (int channel = 0; channel < HEAD_DIM; ++channel) {
            const float4 q = four(&shared.queries[channel][own_row]), k = four(&shared.keys[channel][side * OWN]);
            const float query[OWN] = {q.x, q.y, q.z, q.w}, key[OWN] = {k.x, k.y, k.z, k.w};
#pragma unroll
            for (int i = 0; i < OWN; ++i) {
#pragma unroll
                for (int j = 0; j < OWN; ++j) scores[i][j] = fmaf(query[i], key[j], scores[i][j]);
            }
        }
    }

    // Scores become weights; sums and means are corrected. Every row sees place 0, so that after the first tile the
    // largest score is finite.
    __device__ __forceinline__ void weigh(float (&scores)[OWN][OWN], int first) {
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
            const int visible = tile.place + own_row + i + 1 - first - side * OWN;
            float most = -INFINITY;
#pragma unroll
            for (int j = 0; j < OWN; ++j) most = j < visible ? fmaxf(most, scores[i][j]) : most;
            most = fmaxf(largest[i], side_max(most));
            const float correction = exp2_fast(largest[i] - most);
            largest[i] = most;
            float own = 0.0f;
#pragma unroll
            for (int j = 0; j < OWN; ++j) {
                scores[i][j] = j < visible ? exp2_fast(scores[i][j] - most) : 0.0f;
                own += scores[i][j];
            }
            sum[i] = fmaf(sum[i], correction, side_sum(own));
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c) mean[i][c] *= correction;
        }
    }

    // Weights to where the keys were, [key][row].
    __device__ __forceinline__ void store_weights(const float (&weights)[OWN][OWN]) {
#pragma unroll
        for (int j = 0; j < OWN; ++j) {
            four(&shared.keys[side * OWN + j][own_row]) =
                make_float4(weights[0][j], weights[1][j], weights[2][j], weights[3][j]);
        }
    }

    __device__ __forceinline__ void add_values() {
#pragma unroll 4
        for (int place = 0; place < KEYS; ++place) {
            const float4 w = four(&shared.keys[place][own_row]);
            const float weight[OWN] = {w.x, w.y, w.z, w.w};
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c) {
                const float value = shared.values[place][side + c * SIDE];
#pragma unroll
                for (int i = 0; i < OWN; ++i) mean[i][c] = fmaf(weight[i], value, mean[i][c]);
            }
        }
    }

    __device__ __forceinline__ void store() const {
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
            if (own_row + i >= tile.rows) break;
            T *out = in.out + static_cast<int64_t>(tile.row + own_row + i) * in.width + first_column;
#pragma unroll
            for (int c = 0; c < CHANNELS; ++c) {
                if (side + c * SIDE < in.head_dim) out[side + c * SIDE] = from_float<T>(mean[i][c] / sum[i]);
            }
        }
    }

    __device__ __forceinline__ void run() {
        load_queries();
        const int end = tile.place + tile.rows; // of what the last row sees
        for (int first = 0; first < end; first += KEYS) {
            find_keys(first, end);
            __syncthreads(); // all have left the tile before, and know where this one lies
            load_keys();
            __syncthreads();
            float scores[OWN][OWN] = {};
            score(scores);
            weigh(scores, first);
            __syncthreads(); // all have read the keys
            store_weights(scores);
            __syncwarp(); // the threads that own the same rows stand in one warp
            add_values();
        }
        store();
    }
};

} // namespace

#define CAUSAL_ATTENTION(HEAD_DIM, T, SUFFIX)                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) causal_attention_##HEAD_DIM##_##SUFFIX(                      \
        const T *queries, const Piece<T> *pieces, const Tile *tiles, T *out, int width, int kv_width, int shared,      \
        int head_dim, float scale) {                                                                                   \
        wait_for_inputs();                                                                                             \
        extern __shared__ float4 memory[];                                                                             \
        const Attention<T> arguments{queries, pieces, tiles, out, width, kv_width, shared, head_dim, scale};           \
        Block<HEAD_DIM, T>(arguments, *reinterpret_cast<Shared<HEAD_DIM, T> *>(memory)).run();                         \
    }
#define CAUSAL_ATTENTION_OF(HEAD_DIM)                                                                                  \
    CAUSAL_ATTENTION(HEAD_DIM, float, f32)                                                                             \
    CAUSAL_ATTENTION(HEAD_DIM, bf16, bf16)

CAUSAL_ATTENTION_OF(16)
CAUSAL_ATTENTION_OF(32)
CAUSAL_ATTENTION_OF(64)
CAUSAL_ATTENTION_OF(80)
CAUSAL_ATTENTION_OF(128)
CAUSAL_ATTENTION_OF(256)
