// How little a row resembles the later rows of its segment: what comes before and after `sim_argmax` with the window LATER.
//
// `later_rows`: its lists. Of each segment the first `src_off[s+1] - src_off[s]` rows are sources, and all rows of a segment with sources
// are targets; row r is element stride * r of the sources and stride * r + shift of the targets.
// - seg_off, src_off, tgt_off int32 [S + 1] -> sources int32 [src_off[S]], targets int32 [tgt_off[S]], edges u64 [src_off[S]]: 0, no edge
// Launch: block 256, grid (ceil(longest segment / 256), S).
//
// `split_rows`: unit rows in float16 to the precision of float32 products. A value v, times 256 so that small ones lose nothing, is the sum
// of hi = f16(v), mid = f16(v - hi), and 2^-22 |v| at most; v w = hi mid' + mid hi' + hi hi' but for 2^-20 |v w| at most, and by far less in
// a sum of many. Row r is written as four parts of `part` columns: hi, mid, hi, hi. The product of the first three parts of a row with the
// last three of another is theirs, small terms first.
// - x f32 [rows, ld], `width` columns used; inv_norm f32 [rows] -> parts f16 [rows, 4 * part], zero beyond the width; part >= width
// - scales f32 [4 * rows]: of every part, what takes the factor away again
// Launch: block 256, grid rows. Bound by bytes: it reads 4 and writes 8 per value.
//
// `newness`: the scores, minus the similarity of a source's edge.
// - edges u64 [src_off[S]] -> scores f32 [tokens]: -max(similarity, -1); 1 for a row that is compared with none, or is no source;
//   NaN where a similarity is NaN or infinite. Rows of a segment without sources are not written
// Launch: block 256, grid (ceil(longest segment / 256), S).
#include "select.cuh"
#include <cuda_fp16.h>

constexpr int TILE = 256;
constexpr float SCALE = 256.0f;

extern "C" __global__ void __launch_bounds__(TILE)
    later_rows(const int *__restrict__ seg_off, const int *__restrict__ src_off, const int *__restrict__ tgt_off, int stride,
               int shift, int *__restrict__ sources, int *__restrict__ targets, unsigned long long *__restrict__ edges) {
    wait_for_inputs();
    const int begin = seg_off[blockIdx.y], src = src_off[blockIdx.y], tgt = tgt_off[blockIdx.y];
    const int i = blockIdx.x * TILE + threadIdx.x;
    if (i < src_off[blockIdx.y + 1] - src) {
        sources[src + i] = stride * (begin + i);
        edges[src + i] = 0;
    }
    if (i < tgt_off[blockIdx.y + 1] - tgt) targets[tgt + i] = stride * (begin + i) + shift;
}

extern "C" __global__ void __launch_bounds__(TILE)
    split_rows(const float *__restrict__ x, int64_t ld, int width, const float *__restrict__ inv_norm, int part,
               __half *__restrict__ parts, float *__restrict__ scales) {
    wait_for_inputs();
    const int row = blockIdx.x;
    const float *from = x + row * ld;
    __half *to = parts + row * (4 * (int64_t)part);
    const float inverse = inv_norm[row];
    if (threadIdx.x < 4) scales[4 * row + threadIdx.x] = 1.0f / SCALE;
    for (int column = threadIdx.x; column < part; column += TILE) {
        const float value = column < width ? from[column] * inverse * SCALE : 0.0f;
        const __half hi = __float2half_rn(value), mid = __float2half_rn(value - __half2float(hi));
        to[column] = hi;
        to[part + column] = mid;
        to[2 * part + column] = hi;
        to[3 * part + column] = hi;
    }
}

extern "C" __global__ void __launch_bounds__(TILE)
    newness(const unsigned long long *__restrict__ edges, const int *__restrict__ seg_off, const int *__restrict__ src_off,
            float *__restrict__ scores) {
    wait_for_inputs();
    const int begin = seg_off[blockIdx.y], n = seg_off[blockIdx.y + 1] - begin;
    const int src = src_off[blockIdx.y], n_sources = src_off[blockIdx.y + 1] - src;
    const int i = blockIdx.x * TILE + threadIdx.x;
    if (n_sources == 0 || i >= n) return;
    float score = 1.0f;
    if (i < n_sources && edges[src + i] != 0) {
        const uint32_t key = edge_similarity(edges[src + i]);
        score = is_finite_key(key) ? -fmaxf(key_score(key), -1.0f) : NAN;
    }
    scores[begin + i] = score;
}
