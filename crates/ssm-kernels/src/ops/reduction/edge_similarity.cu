// Cosine similarity of every removed row and the kept row that its edge points to.
//
// x T [tokens, width]; keep int32 [rows], edge_off int32 [rows + 1], edge_src int32 [edges]: a row plan
// -> similarity float32 [edges]; 0 where either row is zero. Sums are float64 in a fixed tree.
//
// Launch: block 256 (a warp per kept row), grid ceil(rows / 8). Bound by one read of the rows that edges touch.
#include "common.cuh"

template <typename T>
__device__ __forceinline__ void edge_similarity(const T *x, int width, const int *keep, const int *edge_off,
                                                const int *edge_src, int rows, float *similarity) {
    const int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= rows || edge_off[row] == edge_off[row + 1]) return;
    const T *into = x + static_cast<int64_t>(keep[row]) * width;
    for (int edge = edge_off[row]; edge < edge_off[row + 1]; ++edge) {
        const T *from = x + static_cast<int64_t>(edge_src[edge]) * width;
        double dot = 0.0, into_squares = 0.0, from_squares = 0.0;
        for (int column = lane; column < width; column += WARP) {
            const double a = to_float(into[column]), b = to_float(from[column]);
            dot += a * b;
            into_squares += a * a;
            from_squares += b * b;
        }
        dot = warp_sum(dot);
        const double lengths = sqrt(warp_sum(into_squares)) * sqrt(warp_sum(from_squares));
        if (lane == 0) similarity[edge] = lengths == 0.0 ? 0.0f : static_cast<float>(dot / lengths);
    }
}

extern "C" __global__ void edge_similarity_f32(const float *x, int width, const int *keep, const int *edge_off,
                                               const int *edge_src, int rows, float *similarity) {
    wait_for_inputs();
    edge_similarity(x, width, keep, edge_off, edge_src, rows, similarity);
}
extern "C" __global__ void edge_similarity_bf16(const bf16 *x, int width, const int *keep, const int *edge_off,
                                                const int *edge_src, int rows, float *similarity) {
    wait_for_inputs();
    edge_similarity(x, width, keep, edge_off, edge_src, rows, similarity);
}
