// `select_pairs`: from one edge per source to the plan of a site (one round of pairing).
//
// Per segment the r strongest edges are used, r being the rows that the segment loses: similarity descending, of equals
// the lower source. Their sources leave. A combine rule per branch says which edges carry their source into the target:
// 0 drop: none; 1 mean, 2 mean weighted by size: all; 3 hybrid: all but `n_prune[s]` edges, which are the most similar
// (order 0), the least similar (1), or those with the least important source (2, needs scores); of equals the lower
// source.
//
// - edges u64 [src_off[S]]: what `sim_argmax` left (0, no edge, is a fault in a segment that loses rows);
//   sources int32 [src_off[S]]: arriving rows, ascending
// - seg_off, src_off, out_off int32 [S + 1]: rows before, sources, rows after; r may not exceed the segment's sources
// - hidden, residual: the rules; n_prune int32 [S], only read under hybrid
// - scores f32 [tokens], only read under order 2; sizes f32 [tokens] or null (all 1); is_protected u8 [tokens] or null
// - keep int32 [rows_out]: arriving rows, ascending
// - edge_off int32 [rows_out + 1], edge_src int32 [n_edges]: the edges into each kept row, by arriving source row,
//   ascending; n_edges = tokens - rows_out
// - weight_hidden, weight_residual f32 [n_edges]: weight of the source, 0 where the edge does not merge on that branch
// - own_hidden, own_residual f32 [rows_out]: weight of the kept row itself
// - sizes_out f32, protected_out u8 [rows_out]
// - faults uint32 [S]: lowered to the first row of a segment that loses rows whose edge or score is no finite number
// - shared_ints: dynamic shared memory in units of 4 bytes. A segment of n rows that loses r needs n + 3 r of them; if
//   there are not enough it works in scratch int32 [3 * tokens] (else null), which is slower.
//
// Launch: grid S, block 1024, dynamic shared memory 4 * shared_ints bytes. Bound by latency: about 20 us for segments
// of 2048 tokens.
#include "combine.cuh"

extern "C" __global__ void __launch_bounds__(SELECT_THREADS, 1)
    select_pairs(const unsigned long long *__restrict__ edges, const int *__restrict__ sources,
                 const int *__restrict__ seg_off, const int *__restrict__ src_off, const int *__restrict__ out_off,
                 int hidden_rule, int hidden_order, const int *__restrict__ hidden_n_prune, int residual_rule,
                 int residual_order, const int *__restrict__ residual_n_prune, const float *__restrict__ scores,
                 const float *__restrict__ sizes, const uint8_t *__restrict__ is_protected, int *__restrict__ keep,
                 int *__restrict__ edge_off, int *__restrict__ edge_src, float *__restrict__ weight_hidden,
                 float *__restrict__ weight_residual, float *__restrict__ own_hidden,
                 float *__restrict__ own_residual, float *__restrict__ sizes_out,
                 uint8_t *__restrict__ protected_out, int shared_ints, int *__restrict__ scratch,
                 uint32_t *__restrict__ faults) {
    wait_for_inputs();
    extern __shared__ int dynamic[];
    __shared__ SelectShared shared;
    int s = blockIdx.x;
    int begin = seg_off[s], n = seg_off[s + 1] - begin;
    int out = out_off[s], n_out = out_off[s + 1] - out;
    int first_edge = begin - out;  // earlier segments have lost as many rows as they have edges
    int r = n - n_out;
    auto size_of = [&](int row) { return sizes ? sizes[row] : 1.0f; };
    auto weight_of = [&](int rule, int row) { return rule == SIZE_WEIGHTED_MEAN ? size_of(row) : 1.0f; };
    if (s == gridDim.x - 1 && threadIdx.x == 0) edge_off[out + n_out] = first_edge + r;

    // removed[e], similarity[e], into[e]: the chosen edges in order of their sources; rows are arriving rows.
    int *removed = n + 3 * r <= shared_ints ? dynamic : scratch + 3 * (int64_t)begin;
    uint32_t *similarity = reinterpret_cast<uint32_t *>(removed + r);
    int *into = removed + 2 * r, *flags = removed + 3 * r;
    int *counts = removed + 4 * r;  // [n_out]: n + 3 r in all

    if (r > 0) {
        int src = src_off[s], n_sources = src_off[s + 1] - src;
        if (scores) note_faults(n, faults + s, [&](int i) { return !isfinite(scores[begin + i]); });
        for_strongest_edges(edges + src, sources + src, n_sources, r, begin, faults + s, shared,
                            [&](int e, int row, unsigned long long edge) {
                                removed[e] = row;
                                similarity[e] = edge_similarity(edge);
                                into[e] = (int)edge_target(edge);
                                flags[e] = 0;
                            });
        for (int k = threadIdx.x; k < n_out; k += SELECT_THREADS) counts[k] = 0;
        __syncthreads();
        int n_prune = hidden_rule == HYBRID ? hidden_n_prune[s] : 0;
        mark_merging(hidden_rule, hidden_order, n_prune, HIDDEN_MERGES, r, removed, similarity, scores, flags, shared);
        n_prune = residual_rule == HYBRID ? residual_n_prune[s] : 0;
        mark_merging(residual_rule, residual_order, n_prune, RESIDUAL_MERGES, r, removed, similarity, scores, flags,
                     shared);
        // From here `into` counts kept rows of the segment.
        for (int e = threadIdx.x; e < r; e += SELECT_THREADS) {
            int row = into[e];
            into[e] = row - begin - count_below(removed, r, row);
        }
        __syncthreads();
        // One warp numbers the edges of each target in order of their sources; the number replaces the similarity.
        for (int base = 0; base < r && threadIdx.x < WARP; base += WARP) {
            int e = base + threadIdx.x;
            unsigned active = __ballot_sync(ALL_LANES, e < r);
            if (e < r) {
                int target = into[e];
                unsigned same = __match_any_sync(active, target);
                unsigned earlier = same & ((1u << threadIdx.x) - 1);
                int before = counts[target];
                similarity[e] = before + __popc(earlier);
                __syncwarp(active);
                if (earlier == 0) counts[target] = before + __popc(same);
            }
            __syncwarp();
        }
        __syncthreads();
        // Edge counts of the kept rows become offsets.
        int edges_before = 0;
        for (int base = 0; base < n_out; base += SELECT_THREADS) {
            int k = base + threadIdx.x, total;
            int turn = base / SELECT_THREADS % 2;
            int offset = edges_before + block_sum_before(k < n_out ? counts[k] : 0, shared.counts[turn], total);
            edges_before += total;
            if (k < n_out) counts[k] = offset;
        }
        __syncthreads();
        for (int e = threadIdx.x; e < r; e += SELECT_THREADS) {
            int at = first_edge + counts[into[e]] + (int)similarity[e], row = removed[e];
            edge_src[at] = row;
            weight_hidden[at] = flags[e] & HIDDEN_MERGES ? weight_of(hidden_rule, row) : 0.0f;
            weight_residual[at] = flags[e] & RESIDUAL_MERGES ? weight_of(residual_rule, row) : 0.0f;
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < n; i += SELECT_THREADS) {
        int row = begin + i;
        int gone = r > 0 ? count_below(removed, r, row) : 0;
        if (gone < r && removed[gone] == row) continue;
        int k = i - gone;
        int edge = first_edge + (r > 0 ? counts[k] : 0);
        int edge_end = first_edge + (r == 0 ? 0 : k + 1 < n_out ? counts[k + 1] : r);
        keep[out + k] = row;
        edge_off[out + k] = edge;
        own_hidden[out + k] = weight_of(hidden_rule, row);
        own_residual[out + k] = weight_of(residual_rule, row);
        if (protected_out) protected_out[out + k] = is_protected ? is_protected[row] : 0;
        if (!sizes_out) continue;
        // In order of rows, the kept row in its place; a source counts if either branch takes it in.
        float size = 0.0f;
        bool own_added = false;
        for (; edge < edge_end; edge++) {
            int source = edge_src[edge];
            if (source > row && !own_added) {
                size += size_of(row);
                own_added = true;
            }
            if (weight_hidden[edge] != 0.0f || weight_residual[edge] != 0.0f) size += size_of(source);
        }
        sizes_out[out + k] = own_added ? size : size + size_of(row);
    }
}
