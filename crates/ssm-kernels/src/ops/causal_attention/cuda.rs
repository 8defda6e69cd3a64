//! Tiles of query rows over chains of keys, on the GPU.

use std::cmp::Reverse;

use candle_core::{DType, Tensor};

use super::{AttentionInput, OP, Shape, check};
use crate::cuda::{Arg, Gpu, Grid, Image, image, shared_limit, suffix};
use crate::error::KernelError;
use crate::segments::Segments;

static PLAIN: Image = image!("causal_attention");
static MMA: Image = image!("causal_attention_mma");

/// Widths of a head that there are kernels for; a narrower one is padded with zeros in shared memory.
const PLAIN_DIMS: [usize; 6] = [16, 32, 64, 80, 128, 256];

/// The same on tensor cores, and groups of 64 query rows in a block.
const MMA_DIMS: [(usize, usize); 3] = [(64, 2), (80, 3), (128, 2)];

/// Compute capability from which bf16 products run on tensor cores.
const MMA_SINCE: i32 = 8;

/// A kernel and how it is launched.
struct Kernel {
    image: &'static Image,
    name: String,
    /// Query rows of a block.
    rows: usize,
    threads: usize,
    /// Dynamic shared memory of a block in bytes.
    shared: usize,
    /// Of the first key and value, in bytes.
    alignment: u64,
}

impl Kernel {
    /// Follows from dtype and widths alone: a row has the same bits in every call.
    fn of(gpu: &Gpu, dtype: DType, head_dim: usize) -> Result<Self, KernelError> {
        let tensor_cores = dtype == DType::BF16 && head_dim.is_multiple_of(8) && gpu.capability().0 >= MMA_SINCE;
        let mma =
            MMA_DIMS.into_iter().filter(|_| tensor_cores).map(|(width, groups)| (width, Self::mma(width, groups)));
        let suffix = suffix(dtype, OP)?;
        let plain = PLAIN_DIMS.into_iter().map(|width| (width, Self::plain(width, suffix)));
        let limit = shared_limit(gpu.device());
        mma.chain(plain)
            .find(|(width, kernel)| *width >= head_dim && kernel.shared <= limit)
            .map(|(_, kernel)| kernel)
            .ok_or_else(|| KernelError::Device(format!("{OP}: heads of {head_dim} channels are too wide for this GPU")))
    }

    /// As `Shared` in `causal_attention.cu`.
    fn plain(head_dim: usize, suffix: &str) -> Self {
        let (rows, keys) = (64, 64);
        let pitch = rows + 4;
        let floats = (head_dim + head_dim.max(keys)) * pitch + keys * head_dim;
        let shared = floats * size_of::<f32>() + 2 * keys * size_of::<u64>();
        Self {
            image: &PLAIN,
            name: format!("causal_attention_{head_dim}_{suffix}"),
            rows,
            threads: 256,
            shared,
            alignment: 1,
        }
    }

    /// As in `causal_attention_mma.cu`: stages of keys and values, in panels of 64 rows and 64 channels.
    fn mma(head_dim: usize, groups: usize) -> Self {
        let (stages, panel) = (3, 64 * 128);
        let shared = stages * 2 * head_dim.div_ceil(64) * panel;
        let name = format!("causal_attention_mma_{head_dim}_bf16");
        Self { image: &MMA, name, rows: 64 * groups, threads: 128 * groups, shared, alignment: 16 }
    }
}

pub(super) fn causal_attention(input: &AttentionInput<'_>) -> Result<Tensor, KernelError> {
    let Shape { rows, width, kv_width } = check(input)?;
    let gpu = Gpu::of(input.queries, OP)?;
    let dtype = input.queries.dtype();
    let head_dim = width / input.heads;
    let kernel = Kernel::of(&gpu, dtype, head_dim)?;
    let chain = Chains::new(input, &gpu, kv_width, &kernel)?;
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
    let blocks = (chain.tiles.len(), input.heads, 1);
    gpu.launch(
        kernel.image,
        &kernel.name,
        Grid { blocks, threads: (kernel.threads, 1), shared: kernel.shared },
        &args,
    )?;
    Ok(out)
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
    fn new(input: &AttentionInput<'_>, gpu: &Gpu, kv_width: usize, kernel: &Kernel) -> Result<Self, KernelError> {
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
            let address = gpu.contiguous(tensor, OP, name)?.address();
            if !address.is_multiple_of(kernel.alignment) {
                return Err(KernelError::Storage {
                    op: OP,
                    tensor: name,
                    expected: "as aligned as the kernel reads it",
                    got: format!("address {address:#x}, of {} bytes", kernel.alignment),
                });
            }
            Ok(address as i64)
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
            chains.tiles.extend(rows.clone().step_by(kernel.rows).map(|row| {
                let length = (rows.end - row).min(kernel.rows);
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
