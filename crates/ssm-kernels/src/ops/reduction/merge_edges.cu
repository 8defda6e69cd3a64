// `merge_edges`: the row plan of a stream of which it is known which rows are kept, and into which kept row each other one goes.
//
// - keep int32 [rows_out]: arriving rows, ascending; seg_off, out_off int32 [S + 1]: rows of the segments before and after
// - target uint32 [tokens]: for a removed row the kept row of its segment that takes it in, UINT32_MAX where it is dropped; or null: each
//   goes into the next kept row that is not protected, and is dropped where none follows
// - hidden_weight, residual_weight f32 [tokens]: weight of each row in the means of a branch; null: 1
// - sizes f32 [tokens] or null (all 1); protected_out u8 [rows_out]: protection of the kept rows
// - edge_off int32 [rows_out + 1], edge_src int32 [edges], weights f32 of edges and kept rows: the plan (row_plan.cuh). A dropped row is an
//   edge of weight 0 to the last kept row of its segment, so that every segment has as many edges as it loses rows
// - removed int32 [edges]: the removed rows, ascending; scratch int32 [2 * edges + rows_out]
// - sizes_out f32 [rows_out]: sizes with what was merged in on either branch
//
// Launch: grid S, block 1024. Bound by latency: about 20 us for segments of 2048 tokens.
#include "select.cuh"

constexpr int DROPPED = -1;

extern "C" __global__ void __launch_bounds__(SELECT_THREADS, 1)
    merge_edges(const int *__restrict__ keep, const int *__restrict__ seg_off, const int *__restrict__ out_off,
                const uint32_t *__restrict__ target, const float *__restrict__ hidden_weight,
                const float *__restrict__ residual_weight, const float *__restrict__ sizes,
                const uint8_t *__restrict__ protected_out, int *__restrict__ edge_off, int *__restrict__ edge_src,
                float *__restrict__ weight_hidden, float *__restrict__ weight_residual, float *__restrict__ own_hidden,
                float *__restrict__ own_residual, int *__restrict__ removed, int *__restrict__ scratch,
                float *__restrict__ sizes_out) {
    wait_for_inputs();
    __shared__ SelectShared shared;
    const int begin = seg_off[blockIdx.x], n = seg_off[blockIdx.x + 1] - begin;
    const int out = out_off[blockIdx.x], n_out = out_off[blockIdx.x + 1] - out;
    const int first_edge = begin - out, r = n - n_out; // earlier segments have as many edges as they lose rows
    const int n_edges = seg_off[gridDim.x] - out_off[gridDim.x];
    int *into = scratch + first_edge, *number = scratch + n_edges + first_edge, *counts = scratch + 2 * n_edges + out;
    keep += out, removed += first_edge;
    auto weight_of = [](const float *weights, int row) { return weights ? weights[row] : 1.0f; };
    auto size_of = [&](int row) { return sizes ? sizes[row] : 1.0f; };
    if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0) edge_off[out + n_out] = first_edge + r;

    for (int k = threadIdx.x; k < n_out; k += SELECT_THREADS) counts[k] = 0;
    for (int i = threadIdx.x; r > 0 && i < n; i += SELECT_THREADS) {
        const int row = begin + i;
        int at = count_below(keep, n_out, row);
        if (at < n_out && keep[at] == row) continue;
        const int e = i - at;
        removed[e] = row;
        if (target) {
            into[e] = target[row] == UINT32_MAX ? DROPPED : count_below(keep, n_out, (int)target[row]);
            continue;
        }
        while (at < n_out && protected_out[out + at]) at++;
        into[e] = at < n_out ? at : DROPPED;
    }
    __syncthreads();
    // One warp numbers the edges of each target in order of their sources.
    for (int base = 0; base < r && threadIdx.x < WARP; base += WARP) {
        const int e = base + threadIdx.x;
        const unsigned active = __ballot_sync(ALL_LANES, e < r);
        if (e < r) {
            const int at = into[e] == DROPPED ? n_out - 1 : into[e];
            const unsigned same = __match_any_sync(active, at);
            const unsigned earlier = same & ((1u << threadIdx.x) - 1);
            const int before = counts[at];
            number[e] = before + __popc(earlier);
            __syncwarp(active);
            if (earlier == 0) counts[at] = before + __popc(same);
        }
        __syncwarp();
    }
    __syncthreads();
    int edges_before = 0;
    for (int base = 0; base < n_out; base += SELECT_THREADS) {
        const int k = base + threadIdx.x, turn = base / SELECT_THREADS % 2;
        int total;
        const int offset = edges_before + block_sum_before(k < n_out ? counts[k] : 0, shared.counts[turn], total);
        edges_before += total;
        if (k < n_out) counts[k] = offset;
    }
    __syncthreads();
    for (int e = threadIdx.x; e < r; e += SELECT_THREADS) {
        const bool drops = into[e] == DROPPED;
        const int at = first_edge + counts[drops ? n_out - 1 : into[e]] + number[e], row = removed[e];
        edge_src[at] = row;
        weight_hidden[at] = drops ? 0.0f : weight_of(hidden_weight, row);
        weight_residual[at] = drops ? 0.0f : weight_of(residual_weight, row);
    }
    __syncthreads();
    for (int k = threadIdx.x; k < n_out; k += SELECT_THREADS) {
        const int row = keep[k];
        int edge = first_edge + counts[k];
        const int edge_end = first_edge + (k + 1 < n_out ? counts[k + 1] : r);
        edge_off[out + k] = edge;
        // Whoever made the weights wrote none for a segment that keeps all of its rows.
        own_hidden[out + k] = r > 0 ? weight_of(hidden_weight, row) : 1.0f;
        own_residual[out + k] = r > 0 ? weight_of(residual_weight, row) : 1.0f;
        // In order of rows, the kept row in its place, as the host adds.
        float size = 0.0f;
        bool own_added = false;
        for (; edge < edge_end; edge++) {
            const int source = edge_src[edge];
            if (source > row && !own_added) {
                size += size_of(row);
                own_added = true;
            }
            if (weight_hidden[edge] != 0.0f || weight_residual[edge] != 0.0f) size += size_of(source);
        }
        sizes_out[out + k] = own_added ? size : size + size_of(row);
    }
}
