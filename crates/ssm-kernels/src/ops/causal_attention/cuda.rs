//! Tiles of query rows over chains of keys, on the GPU.

use std::cmp::Reverse;

use candle_core::Tensor;

use super::{AttentionInput, OP, Shape, check};
use crate::cuda::{Arg, Gpu, Grid, Image, image, shared_limit, suffix};
use crate::error::KernelError;
use crate::segments::Segments;

static KERNELS: Image = image!("causal_attention");

/// Query rows of a block, keys of a tile, threads; as in the kernel.
const QUERIES: usize = 64;
const KEYS: usize = 64;
const THREADS: usize = 256;

/// Widths of a head that there are kernels for; a narrower one is padded with zeros in shared memory.
const HEAD_DIMS: [usize; 6] = [16, 32, 64, 80, 128, 256];

pub(super) fn causal_attention(input: &AttentionInput<'_>) -> Result<Tensor, KernelError> {
    let Shape { rows, width, kv_width } = check(input)?;
    let gpu = Gpu::of(input.queries, OP)?;
    let dtype = input.queries.dtype();
    let head_dim = width / input.heads;
    let kernel = HEAD_DIMS.into_iter().find(|kernel| *kernel >= head_dim);
    let kernel = kernel.filter(|kernel| shared_bytes(*kernel) <= shared_limit(gpu.device()));
    let Some(kernel) = kernel else {
        return Err(KernelError::Device(format!("{OP}: heads of {head_dim} channels are too wide for this GPU")));
    };
    let chain = Chains::new(input, &gpu, kv_width)?;
    let out = gpu.empty((rows, width), dtype)?;
    let (pieces, tiles) = (gpu.upload(chain.pieces.as_flattened())?, gpu.upload(chain.tiles.as_flattened())?);
    let args = [
        gpu.contiguous(input.queries, OP, "queries")?,
        gpu.address(&pieces),
        gpu.address(&tiles),
        gpu.tensor(&out)?,
        Arg::int(width),
        Arg::int(kv_width),
        Arg::int(input.heads / input.kv_heads),
        Arg::int(head_dim),
        Arg::Float(std::f32::consts::LOG2_E / (head_dim as f32).sqrt()),
    ];
    let name = format!("causal_attention_{kernel}_{}", suffix(dtype, OP)?);
    let blocks = (chain.tiles.len(), input.heads, 1);
    gpu.launch(&KERNELS, &name, Grid { blocks, threads: (THREADS, 1), shared: shared_bytes(kernel) }, &args)?;
    Ok(out)
}

/// Shared memory of a block, as `Shared` in the kernel.
fn shared_bytes(head_dim: usize) -> usize {
    let pitch = QUERIES + 4;
    let floats = (head_dim + head_dim.max(KEYS)) * pitch + KEYS * head_dim;
    floats * size_of::<f32>() + 2 * KEYS * size_of::<u64>()
}

/// What the blocks of a call work on.
struct Chains {
    /// Consecutive rows of a chain, oldest first, the chains of all segments one after the other: addresses of the first key
    /// and value, and the places in the chain where they begin and end.
    pieces: Vec<[i64; 4]>,
    /// Blocks: first row, number of rows, place of the first row in its chain, first piece of the chain. Those with most
    /// keys first, so that no long one starts last.
    tiles: Vec<[i32; 4]>,
}

impl Chains {
    fn new(input: &AttentionInput<'_>, gpu: &Gpu, kv_width: usize) -> Result<Self, KernelError> {
        let dtype = input.queries.dtype();
        let address = |tensor: &Tensor, name| {
            if tensor.dtype() != dtype {
                return Err(KernelError::Storage {
                    op: OP,
                    tensor: name,
                    expected: "of the dtype of the queries",
                    got: tensor.dtype().as_str().to_owned(),
                });
            }
            Ok(gpu.contiguous(tensor, OP, name)?.address() as i64)
        };
        let (keys, values) = (address(input.keys, "keys")?, address(input.values, "values")?);
        let row_bytes = (kv_width * dtype.size_in_bytes()) as i64;
        let segments = input.segments;
        let mut chains = Self { pieces: Vec::new(), tiles: Vec::new() };
        for segment in (0..segments.len()).filter(|segment| segments.length(*segment) > 0) {
            let first_piece = chains.pieces.len();
            let mut place = 0;
            let mut push = |keys: i64, values: i64, length: usize| {
                if length > 0 {
                    chains.pieces.push([keys, values, place, place + length as i64]);
                    place += length as i64;
                }
            };
            let line = line(segments, segment);
            if let Some(cache) = input.initial.map(|caches| &caches[line[0]]) {
                let length = cache.keys.dim(0)?;
                push(address(&cache.keys, "initial keys")?, address(&cache.values, "initial values")?, length);
            }
            for ancestor in line {
                let offset = segments.rows(ancestor).start as i64 * row_bytes;
                push(keys + offset, values + offset, segments.length(ancestor));
            }
            let rows = segments.rows(segment);
            let before = place as usize - rows.len();
            chains.tiles.extend(rows.clone().step_by(QUERIES).map(|row| {
                let length = (rows.end - row).min(QUERIES);
                [row, length, before + row - rows.start, first_piece].map(|value| value as i32)
            }));
        }
        chains.tiles.sort_by_key(|[_, length, place, _]| Reverse(place + length));
        Ok(chains)
    }
}

/// A segment and those that it descends from, root first.
fn line(segments: &Segments, segment: usize) -> Vec<usize> {
    let mut line: Vec<usize> = std::iter::successors(Some(segment), |segment| segments.parent(*segment)).collect();
    line.reverse();
    line
}
