// Rows of a table by id (embeddings), columns of a wider matrix, and conversions between element types.
//
//   gather:       out[i] = table[ids[i]]; table T [any, width], ids uint32 [rows], out T [rows, width]
//   choose:       the same, for the rows that a reduction keeps: a profile tells the two apart by name
//   copy_columns: out[i] = view[i]; view From [rows, n] with row stride ld (the pointer is its first column),
//                 out To [rows, n] without gaps. With ld = n it converts a whole matrix.
//
// Bound by memory: each element is read and written once.
//
// Launch: block (x, y), y rows at a time, x threads striding over the columns; grid ceil(rows / y). The plain names
// take eight columns a thread: width (n) and ld multiples of 8, pointers 16-byte aligned; the `_any_` ones take any.
#include "rows.cuh"

namespace {

template <int N, typename From, typename To>
__device__ __forceinline__ void copy_row(const From *from, To *to, int width) {
    for (int column = threadIdx.x * N; column < width; column += blockDim.x * N) {
        float value[N];
        load_floats(from + column, value);
        store_floats(to + column, value);
    }
}

} // namespace

#define GATHER(T, NAME, N)                                                                                             \
    extern "C" __global__ void NAME(const T *table, const uint32_t *ids, T *out, int rows, int width) {                \
        wait_for_inputs();                                                                                             \
        const int row = row_of_thread();                                                                               \
        if (row >= rows) return;                                                                                       \
        copy_row<N>(table + static_cast<int64_t>(ids[row]) * width, out + static_cast<int64_t>(row) * width, width);   \
    }
#define COPY_COLUMNS(FROM, TO, NAME, N)                                                                                \
    extern "C" __global__ void copy_columns_##NAME(const FROM *from, int64_t ld, TO *out, int rows, int n) {           \
        wait_for_inputs();                                                                                             \
        const int row = row_of_thread();                                                                               \
        if (row >= rows) return;                                                                                       \
        copy_row<N>(from + row * ld, out + static_cast<int64_t>(row) * n, n);                                          \
    }

GATHER(float, gather_f32, EIGHT)
GATHER(bf16, gather_bf16, EIGHT)
GATHER(float, gather_any_f32, 1)
GATHER(bf16, gather_any_bf16, 1)
GATHER(float, choose_f32, EIGHT)
GATHER(bf16, choose_bf16, EIGHT)
GATHER(float, choose_any_f32, 1)
GATHER(bf16, choose_any_bf16, 1)
COPY_COLUMNS(float, float, f32_f32, EIGHT)
COPY_COLUMNS(float, bf16, f32_bf16, EIGHT)
COPY_COLUMNS(bf16, float, bf16_f32, EIGHT)
COPY_COLUMNS(bf16, bf16, bf16_bf16, EIGHT)
COPY_COLUMNS(float, float, any_f32_f32, 1)
COPY_COLUMNS(float, bf16, any_f32_bf16, 1)
COPY_COLUMNS(bf16, float, any_bf16_f32, 1)
COPY_COLUMNS(bf16, bf16, any_bf16_bf16, 1)
