// Numbers that algorithms of a product are tried on, and whether two of them gave the same bits.
//
//   cancelling: out T [rows, k]; the first k / 2 numbers of a row (one where k is 1) are spread evenly over -1..1, by a hash of their place and
//               of `seed`; the last k / 2 are the same times `sign`; where k is odd a zero stands between them
//   differing:  a, b words [n], found uint32 [1], 0 before -> found: 1 if a word of a and b differs; words of 4 bytes for float32, of 2
//               for bfloat16
//
// Launch: any grid, any block; threads stride over the elements.
#include "common.cuh"

namespace {

// PCG's output permutation (O'Neill 2014) of a counter.
__device__ __forceinline__ uint32_t hash(uint32_t place) {
    const uint32_t state = place * 747796405u + 2891336453u;
    const uint32_t word = ((state >> ((state >> 28) + 4)) ^ state) * 277803737u;
    return (word >> 22) ^ word;
}

__device__ __forceinline__ int64_t thread() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t threads() { return (int64_t)gridDim.x * blockDim.x; }

template <typename T>
__device__ __forceinline__ void cancelling(T *out, int64_t rows, int k, float sign, uint32_t seed) {
    const int half = max(k / 2, 1);
    for (int64_t i = thread(); i < rows * k; i += threads()) {
        const int64_t row = i / k;
        const int column = int(i % k), place = column < half ? column : column - (k - half);
        const uint32_t bits = hash(hash(seed) ^ uint32_t(row * half + place));
        const float value = float(bits >> 8) * 0x1p-23f - 1.0f;
        out[i] = from_float<T>(column < half ? value : place >= 0 ? sign * value : 0.0f);
    }
}

template <typename W> __device__ __forceinline__ void differing(const W *a, const W *b, int64_t n, uint32_t *found) {
    bool differs = false;
    for (int64_t i = thread(); i < n; i += threads()) differs |= a[i] != b[i];
    if (differs) *found = 1;
}

} // namespace

#define TRIAL(NAME, T, WORD)                                                                                           \
    extern "C" __global__ void cancelling_##NAME(T *out, int64_t rows, int k, float sign, int seed) {                  \
        wait_for_inputs();                                                                                             \
        cancelling<T>(out, rows, k, sign, uint32_t(seed));                                                             \
    }                                                                                                                  \
    extern "C" __global__ void differing_##NAME(const WORD *a, const WORD *b, int64_t n, uint32_t *found) {            \
        wait_for_inputs();                                                                                             \
        differing<WORD>(a, b, n, found);                                                                               \
    }

TRIAL(f32, float, uint32_t)
TRIAL(bf16, bf16, uint16_t)
