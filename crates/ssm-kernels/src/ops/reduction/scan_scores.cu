// Importances that several tensors of a scan decide (`importance::scan` of the crate reduction-strategies). Sums are float64 in a fixed order;
// a segment has the same bits whatever else runs.
//
// dt [tokens, heads] step sizes, b and c [tokens, groups * d_state], x [tokens, heads * headdim]: float32 or, where the flag after the row
// stride says so, bfloat16. Head h reads group h * groups / heads.
//
// `write_norm`: scores f32 [tokens] = sqrt(sum_h dt_h^2 |b_g(h)|^2 |x_h|^2).
// Launch: block 256, grid tokens, dynamic shared memory 8 * groups bytes. Bound by bytes: one read of x.
//
// `hidden_attention_{1,16,64,256}`: sum_{i >= t} w_h |sum_n b_tn c_in exp(sum_{k = t+1..i} dt_k A_n)| of 32 units h per block, which
// `hidden_attention_sum` adds up. The number is the most states with a decay of their own (`own`) that a kernel holds.
// - a f32 [own, heads]: decay rates of a unit, which is a head: w_h = dt_th; or null: nothing decays, a unit is a group, and w_h the sum
//   of dt_t over its heads
// - own: 1, or d_state with one group; units: heads or groups
// - seg_off int32 [S + 1] -> partial f64 [ceil(units / 32), tokens]
// Launch: block 256 (8 warps of TOKENS tokens, a lane per unit), grid (ceil(longest segment / (8 TOKENS)), S, ceil(units / 32)), dynamic
// shared memory 8 * STEPS * (32 own + d_state) bytes; TOKENS and STEPS are below.
// Work grows with the square of a segment: per pair two float64 operations a unit and state, and with one decay a unit one product
// of d_state values for 32 units.
//
// `hidden_attention_sum`: scores f32 [tokens], the sum over the chunks of units in order, over the number of heads.
// Launch: block 256, grid ceil(tokens / 256).
#include "values.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / WARP;

extern "C" __global__ void __launch_bounds__(THREADS)
    write_norm(ROWS(dt), ROWS(b), ROWS(x), int heads, int headdim, int groups, int d_state, float *__restrict__ scores) {
    wait_for_inputs();
    extern __shared__ double squares[];  // |b_g|^2
    __shared__ double sums[WARPS];
    const Rows dt_of = ROWS_OF(dt), b_of = ROWS_OF(b), x_of = ROWS_OF(x);
    const int row = blockIdx.x, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (int group = warp; group < groups; group += WARPS) {
        double square = 0.0;
        for (int n = lane; n < d_state; n += WARP) {
            const double value = b_of(row, group * d_state + n);
            square += value * value;
        }
        square = warp_sum(square);
        if (lane == 0) squares[group] = square;
    }
    __syncthreads();
    double sum = 0.0;
    for (int channel = threadIdx.x; channel < heads * headdim; channel += THREADS) {
        const int head = channel / headdim;
        const double step = dt_of(row, head), value = x_of(row, channel);
        sum += step * step * squares[head * groups / heads] * (value * value);
    }
    sum = warp_sum(sum);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    sum = 0.0;
    for (int w = 0; w < WARPS; w++) sum += sums[w];
    scores[row] = (float)sqrt(sum);
}

// A warp walks through the tokens i from its first own one to the end of the segment. `left` is what a token's write has become, without
// the factor dt: per state the entry of b with its decays, or with one decay a unit the decays alone.
template <int OWN, int TOKENS, int STEPS>
__device__ __forceinline__ void hidden_attention(const Rows &dt, const Rows &b, const Rows &c, const float *a, int heads,
                                                 int groups, int d_state, int own, int units, const int *seg_off, int n_tokens,
                                                 double *partial) {
    extern __shared__ double dynamic[];
    double *decays = dynamic;  // [STEPS][own][32]
    double *maps = dynamic + STEPS * own * WARP;  // [STEPS][d_state]: c, where every state decays by itself
    const int begin = seg_off[blockIdx.y], n = seg_off[blockIdx.y + 1] - begin;
    const int block_first = blockIdx.x * (WARPS * TOKENS);
    if (block_first >= n) return;
    const int lane = threadIdx.x % WARP, first = block_first + threadIdx.x / WARP * TOKENS;
    const int first_unit = blockIdx.z * WARP, unit = first_unit + lane;
    auto group_of = [&](int unit) { return a ? (int)((int64_t)unit * groups / heads) : unit; };
    const int group = unit < units ? group_of(unit) : -1;
    const int first_group = group_of(first_unit), last_group = group_of(min(first_unit + WARP, units) - 1);
    double left[TOKENS][OWN], sums[TOKENS];
#pragma unroll
    for (int k = 0; k < TOKENS; k++) {
        sums[k] = 0.0;
#pragma unroll
        for (int s = 0; s < OWN; s++)
            left[k][s] = OWN == 1 ? 1.0 : s < own && first + k < n ? b(begin + first + k, s) : 0.0;
    }
    for (int base = block_first; base < n; base += STEPS) {
        __syncthreads();
        for (int j = threadIdx.x; a && j < STEPS * own * WARP; j += THREADS) {
            const int i = base + j / (own * WARP), s = j / WARP % own, of = first_unit + j % WARP;
            decays[j] = i < n && of < units ? exp(dt(begin + i, of) * (double)a[s * heads + of]) : 1.0;
        }
        for (int j = threadIdx.x; OWN > 1 && j < STEPS * d_state; j += THREADS) {
            const int i = base + j / d_state;
            maps[j] = i < n ? c(begin + i, j % d_state) : 0.0;
        }
        __syncthreads();
        for (int step = 0; step < STEPS; step++) {
            const int i = base + step;
            if (i >= n || i < first) continue;
            double products[TOKENS] = {};
            if (OWN == 1) {
                for (int g = first_group; g <= last_group; g++) {
                    double parts[TOKENS] = {};
                    for (int state = lane; state < d_state; state += WARP) {
                        const double own_c = c(begin + i, g * d_state + state);
#pragma unroll
                        for (int k = 0; k < TOKENS; k++)
                            if (first + k <= i) parts[k] += b(begin + first + k, g * d_state + state) * own_c;
                    }
#pragma unroll
                    for (int k = 0; k < TOKENS; k++) {
                        const double product = warp_sum(parts[k]);
                        if (g == group) products[k] = product;
                    }
                }
            }
#pragma unroll
            for (int s = 0; s < OWN; s++) {
                if (s >= own) continue;
                const double decay = a ? decays[(step * own + s) * WARP + lane] : 1.0;
                const double own_c = OWN > 1 ? maps[step * d_state + s] : 0.0;
#pragma unroll
                for (int k = 0; k < TOKENS; k++) {
                    if (first + k < i) left[k][s] *= decay;
                    if (OWN == 1) products[k] *= left[k][s];
                    else products[k] += left[k][s] * own_c;
                }
            }
#pragma unroll
            for (int k = 0; k < TOKENS; k++)
                if (first + k <= i) sums[k] += fabs(products[k]);
        }
    }
#pragma unroll
    for (int k = 0; k < TOKENS; k++) {
        const int t = first + k;
        if (t >= n) continue;
        double weight = 0.0;
        if (unit < units) {
            // Of a group: the heads h with h * groups / heads == unit.
            const int begin_head = a ? unit : (unit * heads + groups - 1) / groups;
            const int end_head = a ? unit + 1 : ((unit + 1) * heads + groups - 1) / groups;
            for (int head = begin_head; head < end_head; head++) weight += dt(begin + t, head);
        }
        const double sum = warp_sum(unit < units ? weight * sums[k] : 0.0);
        if (lane == 0) partial[(int64_t)blockIdx.z * n_tokens + begin + t] = sum;
    }
}

#define HIDDEN_ATTENTION(name, OWN, TOKENS, STEPS)                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                                           \
        name(ROWS(dt), ROWS(b), ROWS(c), const float *__restrict__ a, int heads, int groups, int d_state, int own,     \
             int units, const int *__restrict__ seg_off, int n_tokens, double *__restrict__ partial) {                 \
        wait_for_inputs();                                                                                             \
        hidden_attention<OWN, TOKENS, STEPS>(ROWS_OF(dt), ROWS_OF(b), ROWS_OF(c), a, heads, groups, d_state, own,      \
                                             units, seg_off, n_tokens, partial);                                       \
    }
// `SHAPES` of scan_scores.rs says the same.
HIDDEN_ATTENTION(hidden_attention_1, 1, 4, 8)
HIDDEN_ATTENTION(hidden_attention_16, 16, 4, 8)
HIDDEN_ATTENTION(hidden_attention_64, 64, 1, 2)
HIDDEN_ATTENTION(hidden_attention_256, 256, 1, 1)

extern "C" __global__ void __launch_bounds__(THREADS)
    hidden_attention_sum(const double *__restrict__ partial, int n_tokens, int chunks, int heads, float *__restrict__ scores) {
    wait_for_inputs();
    const int row = blockIdx.x * THREADS + threadIdx.x;
    if (row >= n_tokens) return;
    double sum = 0.0;
    for (int chunk = 0; chunk < chunks; chunk++) sum += partial[(int64_t)chunk * n_tokens + row];
    scores[row] = (float)(sum / heads);
}
