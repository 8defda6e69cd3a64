// `chunk_ends`: the candidates of a segment are cut into contiguous chunks of masses as equal as the tokens allow (`chunk_merge` of the
// crate reduction-strategies); the last token of each is kept.
//
// - scores f32 [tokens]; is_protected u8 [tokens] or null: the others are the candidates
// - seg_off, out_off int32 [S + 1]: a segment has as many chunks as it keeps candidates
// - flags f32 [tokens]: 1 where a candidate ends a chunk, 0 elsewhere, NaN where a score is NaN or infinite; rows of a segment that keeps
//   all of them are not written
//
// Sums run over the tokens in order in float64, as on the host. Launch: block 32, grid S. Bound by latency: about 50 ns a token.
#include "select.cuh"

extern "C" __global__ void __launch_bounds__(WARP)
    chunk_ends(const float *__restrict__ scores, const uint8_t *__restrict__ is_protected, const int *__restrict__ seg_off,
               const int *__restrict__ out_off, float *__restrict__ flags) {
    wait_for_inputs();
    const int begin = seg_off[blockIdx.x], n = seg_off[blockIdx.x + 1] - begin;
    const int n_out = out_off[blockIdx.x + 1] - out_off[blockIdx.x];
    if (n_out == n) return;
    const int lane = threadIdx.x;
    auto takes_part = [&](int i) { return i < n && !(is_protected && is_protected[begin + i]); };
    int candidates = 0;
    float least_score = 0.0f;
    for (int base = 0; base < n; base += WARP) {
        const bool part = takes_part(base + lane);
        candidates += __popc(__ballot_sync(ALL_LANES, part));
        if (part) least_score = fminf(least_score, scores[begin + base + lane]);
    }
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        least_score = fminf(least_score, __shfl_xor_sync(ALL_LANES, least_score, offset));
    const double lowest = least_score;
    // Calls `visit(row, mass)` for each candidate in order, in all lanes.
    auto in_order = [&](auto visit) {
        for (int base = 0; base < n; base += WARP) {
            const unsigned parts = __ballot_sync(ALL_LANES, takes_part(base + lane));
            const double own = base + lane < n ? __dsub_rn((double)scores[begin + base + lane], lowest) : 0.0;
            for (int j = 0; j < WARP; j++) {
                const double mass = __shfl_sync(ALL_LANES, own, j);
                if (parts >> j & 1) visit(base + j, mass);
            }
        }
    };
    double total = 0.0;
    in_order([&](int, double mass) { total = __dadd_rn(total, mass); });
    const bool weighs = total > 0.0;
    if (!weighs) total = candidates;
    const int n_chunks = candidates - (n - n_out);
    double before = 0.0;
    int index = 0, chunk = 0, last_row = -1;
    in_order([&](int row, double mass) {
        if (!weighs) mass = 1.0;
        const double middle = __dadd_rn(before, __ddiv_rn(mass, 2.0));
        const double ideal = __ddiv_rn(__dmul_rn((double)n_chunks, middle), total);
        before = __dadd_rn(before, mass);
        int own = 0;
        if (index > 0) {
            const int wanted = ideal >= (double)n_chunks ? n_chunks : (int)ideal;
            const int least = max(n_chunks - (candidates - index), 0);
            own = min(max(min(max(wanted, chunk), chunk + 1), least), n_chunks - 1);
            if (lane == 0) flags[begin + last_row] = own != chunk ? 1.0f : 0.0f;
        }
        chunk = own;
        last_row = row;
        index++;
    });
    if (lane == 0 && last_row >= 0) flags[begin + last_row] = 1.0f;
    __syncwarp();
    for (int i = lane; i < n; i += WARP) {
        if (!isfinite(scores[begin + i])) flags[begin + i] = NAN;
        else if (!takes_part(i)) flags[begin + i] = 1.0f;
    }
}
