// What the scans with one and with two lanes a channel share: how tokens come to shared memory, the order of the tiles, and how
// results leave.
#pragma once

#include "scan.cuh"

constexpr int SCAN_THREADS = 128; // of a block

// Shared memory of one block whose warps scan COLUMNS channels each: two stages, one computed while the other is on its way. A
// warp's activations are its own: only B and C need the whole block. The gated output replaces x, each value by the thread that
// read it.
template <typename T, int COLUMNS> struct alignas(16) ScanTile {
    static constexpr int TOKENS = 32 / sizeof(T); // staged at a time
    float bc[2][TOKENS][2 * D_STATE];             // B | C
    struct Activations {
        T x[TOKENS][COLUMNS], dt[TOKENS][COLUMNS], z[TOKENS][COLUMNS];
    } warp[SCAN_THREADS / WARP][2];
};

// One block scans its channels of one work item, tile after tile. `Scan` derives from this; it holds the states and defines
//     load_states, store_states, and group<PLAIN>: GROUP tokens of a tile.
template <typename Scan, typename T, int COLUMNS_> struct TiledScan {
    static constexpr int COLUMNS = COLUMNS_;                          // channels of a warp
    static constexpr int LANES_OF_CHANNEL = WARP / COLUMNS;
    static constexpr int WARPS = SCAN_THREADS / WARP;
    static constexpr int CHANNELS = WARPS * COLUMNS;                  // of a block
    using Tile = ScanTile<T, COLUMNS>;
    using Activations = typename Tile::Activations;
    static constexpr int TILE = Tile::TOKENS;
    static constexpr int CHUNKS = COLUMNS / WIDE<T>;                  // 16-byte accesses of one token of a warp
    static constexpr int ROWS = WARP / CHUNKS;                        // tokens of one access by the whole warp
    static constexpr int STAGED = TILE / WARPS;                       // values of B and C of one thread

    const ScanArguments<T> &in;
    Tile &tile;
    int lane;             // in the warp
    int turn;             // among the lanes of a channel
    int column;           // of this thread's channel in the warp
    int warp_channel;     // of column 0
    int channel;          // of this thread; the last one again where d_inner ends
    bool live;            // whether it exists
    bool wide;            // whether 16-byte accesses are legal
    const T *bc_column;   // the column of B or C that this lane stages
    float dt_bias, d;

    __device__ __forceinline__ TiledScan(const ScanArguments<T> &arguments, Tile &shared, int first_channel)
        : in(arguments), tile(shared) {
        lane = threadIdx.x % WARP;
        turn = lane % LANES_OF_CHANNEL;
        column = lane / LANES_OF_CHANNEL;
        warp_channel = first_channel + (int)threadIdx.x / WARP * COLUMNS;
        live = warp_channel + column < in.d_inner;
        channel = min(warp_channel + column, in.d_inner - 1);
        const uintptr_t addresses = (uintptr_t)in.x | (uintptr_t)in.dt_raw | (uintptr_t)in.z | (uintptr_t)in.gated;
        wide = addresses % 16 == 0 && in.d_inner % WIDE<T> == 0 && (in.z == nullptr || in.ld_z % WIDE<T> == 0);
        bc_column = in.projected + (lane < D_STATE ? in.b_start + lane : in.c_start + lane - D_STATE);
        dt_bias = in.dt_bias[channel];
        d = in.d[channel];
    }

    __device__ __forceinline__ Scan &self() { return static_cast<Scan &>(*this); }

    // B and C of the tile at `row`: each warp a token, each lane a column; zero beyond the end, so that idle tokens add
    // nothing.
    __device__ __forceinline__ void load_bc(T (&part)[STAGED], int row, int end) const {
        const int first = row + (int)threadIdx.x / WARP;
        const T *from = at_row(bc_column, first, in.ld_projected);
#pragma unroll
        for (int i = 0; i < STAGED; ++i)
            part[i] = i * WARPS < end - first ? *at_row(from, i * WARPS, in.ld_projected) : from_float<T>(0.0f);
    }
    __device__ __forceinline__ void stage_bc(const T (&part)[STAGED], float (*to)[2 * D_STATE]) const {
#pragma unroll
        for (int i = 0; i < STAGED; ++i) to[threadIdx.x / WARP + i * WARPS][lane] = to_float(part[i]);
    }

    // Starts the copy of this warp's part of the tile at `row`; zeros beyond the end.
    __device__ __forceinline__ void stage(Activations &to, int row, int end) const {
        if (wide) {
            const int first = lane / CHUNKS, chunk = lane % CHUNKS * WIDE<T>;
            const int rows = warp_channel + chunk < in.d_inner ? end - row - first : 0;
            const T *x = at_row(in.x + (warp_channel + chunk), row + first, in.d_inner);
            const T *dt = at_row(in.dt_raw + (warp_channel + chunk), row + first, in.d_inner);
            const T *z = at_row(in.z + (warp_channel + chunk), row + first, in.ld_z);
#pragma unroll
            for (int t = 0; t < TILE; t += ROWS) {
                const int bytes = t < rows ? 16 : 0; // nothing is read where it is 0
                copy_wide(&to.x[first + t][chunk], at_row(x, t, in.d_inner), bytes);
                copy_wide(&to.dt[first + t][chunk], at_row(dt, t, in.d_inner), bytes);
                copy_wide(&to.z[first + t][chunk], at_row(z, t, in.ld_z), in.z ? bytes : 0);
            }
        } else {
            // The lanes of a channel take turns.
#pragma unroll 1
            for (int t = turn; t < TILE; t += LANES_OF_CHANNEL) {
                const bool there = row + t < end;
                to.x[t][column] = there ? at_row(in.x, row + t, in.d_inner)[channel] : from_float<T>(0.0f);
                to.dt[t][column] = there ? at_row(in.dt_raw, row + t, in.d_inner)[channel] : from_float<T>(0.0f);
                if (in.z && there) to.z[t][column] = at_row(in.z, row + t, in.ld_z)[channel];
            }
        }
    }

    __device__ __forceinline__ void store_gated(const T (*from)[COLUMNS], int row, int end) const {
        __syncwarp();
        if (wide) {
            const int first = lane / CHUNKS, chunk = lane % CHUNKS * WIDE<T>;
            const int rows = warp_channel + chunk < in.d_inner ? end - row - first : 0;
            T *to = at_row(in.gated + (warp_channel + chunk), row + first, in.d_inner);
#pragma unroll
            for (int t = 0; t < TILE; t += ROWS)
                if (t < rows) store_wide(at_row(to, t, in.d_inner), load_wide(&from[first + t][chunk]));
        } else if (live) {
#pragma unroll 1
            for (int t = turn; t < TILE && row + t < end; t += LANES_OF_CHANNEL)
                at_row(in.gated, row + t, in.d_inner)[channel] = from[t][column];
        }
        __syncwarp();
    }

    template <bool PLAIN>
    __device__ __forceinline__ void scan_tile(Activations &warp, const float (*bc)[2 * D_STATE], int row, int end) {
#pragma unroll 1
        for (int t = 0; t < TILE && (PLAIN || row + t < end); t += Scan::GROUP)
            self().template group<PLAIN>(warp, bc, t, row + t, end);
    }

    __device__ __forceinline__ void run(int2 segments) {
        Activations *warp = tile.warp[threadIdx.x / WARP];
        const bool plain = in.z && !in.y && !in.dt;
        int buffer = 0;
        for (int segment = segments.x; segment < segments.y; ++segment) {
            const int begin = in.seg_off[segment], end = in.seg_off[segment + 1];
            T part[STAGED];
            if (begin < end) stage(warp[buffer], begin, end);
            copy_commit();
            load_bc(part, begin, end);
            self().load_states(in.start_state(segment));
            for (int row = begin; row < end; row += TILE) {
                if (row + TILE < end) stage(warp[buffer ^ 1], row + TILE, end);
                copy_commit();
                stage_bc(part, tile.bc[buffer]);
                copy_wait<1>();
                // One barrier a tile: whoever passes it has left the other half of B and C, which is written next.
                __syncthreads();
                load_bc(part, row + TILE, end);
                if (plain && row + TILE <= end) {
                    scan_tile<true>(warp[buffer], tile.bc[buffer], row, end);
                } else {
                    scan_tile<false>(warp[buffer], tile.bc[buffer], row, end);
                }
                store_gated(warp[buffer].x, row, end);
                buffer ^= 1;
            }
            if (in.states) self().store_states(in.states + (int64_t)segment * in.d_inner * D_STATE);
        }
    }
};

template <typename Scan, typename T> __device__ __forceinline__ void tiled_scan(const ScanArguments<T> &in) {
    __shared__ typename Scan::Tile tile;
    const int groups = (in.d_inner + Scan::CHANNELS - 1) / Scan::CHANNELS;
    Scan scan(in, tile, blockIdx.x % groups * Scan::CHANNELS);
    scan.run(in.work[blockIdx.x / groups]);
}
