// `select_split`: which rows go on with their residual, where the hidden branch keeps rows already and each branch keeps its own: between two
// protected rows, as many as the hidden branch keeps there, those with the highest scores, of equal scores the lower index.
//
// - scores f32 [tokens]; is_protected u8 [tokens] or null
// - seg_off, out_off int32 [S + 1]: rows of the segments before and after; keep int32 [rows_out]: rows of the hidden branch, ascending
// - flags f32 [tokens]: 1 for rows that are chosen, 0 for the others, protected ones among them; as `select_tokens` takes scores. Of a segment
//   whose length does not change they are 0
// - faults uint32 [S]: lowered to the first row of a segment that loses rows whose score is no finite number
//
// Each row is compared with those between its two protected neighbours, so work grows with the square of a segment where none is protected.
// Launch: block 256, grid (ceil(longest segment / 256), S).
#include "select.cuh"

constexpr int TILE = 256;

extern "C" __global__ void __launch_bounds__(TILE)
    select_split(const float *__restrict__ scores, const uint8_t *__restrict__ is_protected,
                 const int *__restrict__ seg_off, const int *__restrict__ out_off, const int *__restrict__ keep,
                 float *__restrict__ flags, uint32_t *__restrict__ faults) {
    wait_for_inputs();
    const int s = blockIdx.y, begin = seg_off[s], end = seg_off[s + 1];
    const int out = out_off[s], n_out = out_off[s + 1] - out;
    const int row = begin + blockIdx.x * TILE + threadIdx.x;
    if (row >= end) return;
    flags[row] = 0.0f;
    if (n_out == end - begin) return;
    if (!isfinite(scores[row])) atomicMin(faults + s, (uint32_t)(row - begin));
    auto takes_part = [&](int other) { return !is_protected || !is_protected[other]; };
    if (!takes_part(row)) return;
    const uint32_t own = score_key(scores[row]);
    int ahead = 0;  // rows that are chosen before this one
    int first = row, last = row + 1;
    for (; first > begin && takes_part(first - 1); first--) ahead += score_key(scores[first - 1]) >= own;
    for (; last < end && takes_part(last); last++) ahead += score_key(scores[last]) > own;
    const int kept = count_below(keep + out, n_out, last) - count_below(keep + out, n_out, first);
    if (ahead < kept) flags[row] = 1.0f;
}
