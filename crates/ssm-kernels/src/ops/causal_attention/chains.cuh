// What a block of attention works on: some rows of one segment, and the keys and values that they see as pieces of a chain.
#pragma once

#include "common.cuh"

// Consecutive rows of a chain.
template <typename T> struct Piece {
    const T *keys, *values; // of its first row
    int64_t begin, end;     // places in the chain
};

// Rows of a block.
struct Tile {
    int row, rows; // first row in the stream, and how many
    int place;     // of the first row in its chain
    int piece;     // the first one of the chain
};

template <typename T> struct Attention {
    const T *queries;
    const Piece<T> *pieces;
    const Tile *tiles;
    T *out;
    int width, kv_width, shared, head_dim; // `shared`: heads of queries that read one head of keys
    float scale;                           // of scores, times log2 e
};
