// `merge_runs`: how much each token of a run counts in the row that replaces the run, and the time factors of that row, so that the scan
// of the layer has the state that the tokens would have given it. The formula is in the strategy `state_merge` of the crate reduction-strategies.
//
// A run is a kept row with its edges: the sources in order, then the kept row. With the step sizes dt_th, the factors decay_t and write_t
// of the arriving rows, and the rates A of H heads, each with `own` states that decay by themselves, for each token t of a run
//     after_th = sum_{s after t in the run} decay_s dt_sh            left_th = mean_n exp(after_th A_nh)
//     w_t = write_t mean_h dt_th left_th                             m_t = mean_h dt_th
// The weight of t is w_t over the largest of the run, 1e-9 at least; 1 where the largest is 0. With m = sum w_t m_t / sum w_t the factors
// are sum decay_t m_t / m in the decay and sum w_t / m in the write; where one of them is no positive number, both are sum decay_t.
//
// - dt [tokens, heads], values.cuh; a f32 [own, heads]; times f32 [tokens, 2]: decay and write of the arriving rows, or null: 1
// - keep int32 [rows_out], edge_off int32 [rows_out + 1], edge_src int32 [edges]: a row plan in which every removed row is an edge
// - seg_off, out_off int32 [S + 1]: rows of the segments before and after
// - carries: CARRIES_DECAY, CARRIES_WRITE: which factors of a run are replaced; the others, and those of single rows, do not change
// - scratch f64 [2 * tokens]
// - weight f32 [edges], own_weight f32 [rows_out], or both null: weights of the sources and of the kept rows, 1 of a single row
// - times_out f32 [rows_out, 2]; faults uint32 [S]: lowered to the first row of a run of a segment whose step size is no finite number
//
// Sums are float64, over heads in a fixed tree: a row has the same bits whatever else runs. Launch: grid rows_out, block 128, dynamic shared
// memory 8 * heads bytes. Bound by the exponentials: own * heads of them for each source.
#include "values.cuh"

constexpr int THREADS = 128;
constexpr int WARPS = THREADS / WARP;
constexpr int CARRIES_DECAY = 1, CARRIES_WRITE = 2;

__device__ __forceinline__ bool is_valid(float factor) { return isfinite(factor) && factor > 0.0f; }

extern "C" __global__ void __launch_bounds__(THREADS)
    merge_runs(ROWS(dt), const float *__restrict__ a, int heads, int own, const float *__restrict__ times,
               const int *__restrict__ keep, const int *__restrict__ edge_off, const int *__restrict__ edge_src,
               const int *__restrict__ seg_off, const int *__restrict__ out_off, int carries, int n_tokens,
               double *__restrict__ scratch, float *__restrict__ weight, float *__restrict__ own_weight,
               float *__restrict__ times_out, uint32_t *__restrict__ faults) {
    wait_for_inputs();
    extern __shared__ double after[];  // [heads]; a thread reads and writes its own heads alone
    __shared__ double sums[2][2][WARPS];
    const Rows dt_of = ROWS_OF(dt);
    const int k = blockIdx.x, row = keep[k], first = edge_off[k], last = edge_off[k + 1];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    auto factor = [&](int token, int role) { return times ? times[2 * (int64_t)token + role] : 1.0f; };
    auto token_at = [&](int place) { return place == last ? row : edge_src[place]; };
    if (first == last) {
        if (threadIdx.x > 0) return;
        times_out[2 * (int64_t)k] = factor(row, 0);
        times_out[2 * (int64_t)k + 1] = factor(row, 1);
        if (own_weight) own_weight[k] = 1.0f;
        return;
    }
    // Every row is in one run: those of this one have the places from first + k on.
    double *writes = scratch + k, *steps = scratch + n_tokens + k;
    for (int place = last; place >= first; place--) {
        const int token = token_at(place);
        const double decay = factor(token, 0);
        double write = 0.0, step = 0.0;
        for (int head = threadIdx.x; head < heads; head += THREADS) {
            const double length = dt_of(token, head), time = place == last ? 0.0 : after[head];
            double left = 1.0;
            if (place < last) {
                left = 0.0;
                for (int state = 0; state < own; state++) left += exp(time * (double)a[(int64_t)state * heads + head]);
                left /= own;
            }
            write += length * left;
            step += length;
            after[head] = time + decay * length;
        }
        write = warp_sum(write);
        step = warp_sum(step);
        const int turn = place % 2;
        if (lane == 0) {
            sums[turn][0][warp] = write;
            sums[turn][1][warp] = step;
        }
        __syncthreads();  // one is enough: the next token has the other half of `sums`
        if (threadIdx.x > 0) continue;
        write = step = 0.0;
        for (int w = 0; w < WARPS; w++) {
            write += sums[turn][0][w];
            step += sums[turn][1][w];
        }
        writes[place] = factor(token, 1) * write / heads;
        steps[place] = step / heads;
        if (isfinite(step)) continue;
        int s = 0;
        while (out_off[s + 1] <= k) s++;
        atomicMin(faults + s, (uint32_t)(token - seg_off[s]));
    }
    if (threadIdx.x > 0) return;
    double largest = 0.0, total = 0.0, weighted = 0.0, lasting = 0.0, decays = 0.0;
    for (int place = first; place <= last; place++) {
        const double write = writes[place], step = steps[place], decay = factor(token_at(place), 0);
        largest = fmax(largest, write);
        total += write;
        weighted += write * step;
        lasting += decay * step;
        decays += decay;
    }
    const double mean = weighted / total;
    float decay = (float)(lasting / mean), write = (float)(total / mean);
    if (!is_valid(decay) || !is_valid(write)) decay = write = (float)decays;
    times_out[2 * (int64_t)k] = carries & CARRIES_DECAY ? decay : factor(row, 0);
    times_out[2 * (int64_t)k + 1] = carries & CARRIES_WRITE ? write : factor(row, 1);
    if (!weight) return;
    auto weight_of = [&](int place) { return largest > 0.0 ? (float)fmax(writes[place] / largest, 1e-9) : 1.0f; };
    for (int place = first; place < last; place++) weight[place] = weight_of(place);
    own_weight[k] = weight_of(last);
}
