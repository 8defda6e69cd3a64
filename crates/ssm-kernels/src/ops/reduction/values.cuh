// Matrices of a layer as kernels of several of them take them: an address, a row stride, and a flag that says bfloat16 (else float32).
#pragma once

#include "common.cuh"

struct Rows {
    const void *at;
    int64_t ld;
    int is_bf16;

    __device__ __forceinline__ double operator()(int row, int column) const {
        const int64_t index = row * ld + column;
        return is_bf16 ? to_float(static_cast<const bf16 *>(at)[index]) : static_cast<const float *>(at)[index];
    }
};
#define ROWS(name) const void *__restrict__ name, int64_t name##_ld, int name##_bf16
#define ROWS_OF(name) Rows { name, name##_ld, name##_bf16 }
