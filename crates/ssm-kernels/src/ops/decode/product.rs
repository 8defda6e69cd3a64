//! The launch of a product with few rows.

use candle_core::Tensor;

use super::MAX_SEQUENCES;
use super::launch::{Launch, OP, STEP};
use crate::cuda::{Arg, Gpu, Grid, Image, boxes, image, multiprocessors};
use crate::error::KernelError;

static PRODUCT: Image = image!("decode_product");

const PLAIN: &str = "decode_product";
const CONVOLVED: &str = "decode_convolved";

/// Compute capability that the kernels need, for the TMA.
pub(super) const CAPABILITY: (i32, i32) = (9, 0);

// As in the kernel.
const THREADS: usize = 256;
const WARPS: usize = 8;
/// Steps of a chunk.
const CHUNK: usize = 5;
const MAX_COLUMNS: usize = 32;
const MAX_SLOTS: usize = 16;
/// Steps of x that a warp can keep in registers.
const KEPT: usize = 10;

/// Most bytes of all rings of a block: two chunks of the widest tile. More keeps the next kernel's blocks out (measured on an H200).
const RINGS: usize = 2 * WARPS * MAX_COLUMNS * CHUNK * STEP * size_of::<half::bf16>();
/// Most dynamic shared memory of a block in bytes.
pub(super) const SHARED: usize = RINGS + WARPS * MAX_SEQUENCES * MAX_COLUMNS * size_of::<f32>();

/// Sums of squares of each row, in parts, and the channels and epsilon of its norm.
pub(super) struct Squares<'a> {
    /// `[sequences, count]`
    pub(super) parts: &'a Tensor,
    pub(super) count: usize,
    pub(super) width: usize,
    pub(super) eps: f32,
}

/// The convolution of the first columns of a result, which goes to `Buffers::convolved`.
#[derive(Clone, Copy)]
pub(super) struct Convolution<'a> {
    /// `[D_CONV, channels]`
    pub(super) weight: &'a Tensor,
    /// `[channels]`
    pub(super) bias: &'a Tensor,
    /// `[D_CONV, sequences, channels]`
    pub(super) ring: &'a Tensor,
}

/// A product with few rows: `[sequences, k]` by `[n, k]`.
pub(super) struct Product<'a> {
    /// `[n, k]`, bfloat16
    pub(super) weight: &'a Tensor,
    /// `[sequences, k]`, bfloat16
    pub(super) x: &'a Tensor,
    /// What the norm of `x` needs, where there is one.
    pub(super) squares: Option<Squares<'a>>,
    /// Result in bfloat16: `[sequences, n]`.
    pub(super) y: Option<&'a Tensor>,
    /// Result in float32: `[sequences, n]`.
    pub(super) logits: Option<&'a Tensor>,
    /// Weight `[n]` of the norm that reads the residual next, where the result is added to it.
    pub(super) next_norm: Option<&'a Tensor>,
    /// The convolution of the first columns, where there is one; then nothing but `y` takes the others.
    pub(super) convolution: Option<Convolution<'a>>,
}

impl<'a> Product<'a> {
    /// Of `x` without a norm; where the result goes is for the caller to say.
    pub(super) fn of(weight: &'a Tensor, x: &'a Tensor) -> Self {
        Self { weight, x, squares: None, y: None, logits: None, next_norm: None, convolution: None }
    }
}

/// How the columns of a result are shared by blocks. It follows from their number and the GPU alone, so that the parts of a sum of
/// squares, one a tile, are the same in every batch.
pub(super) struct Tiling {
    columns: usize,
    pub(super) tiles: usize,
    blocks: usize,
}

impl Tiling {
    /// Of `n` columns.
    pub(super) fn of(gpu: &Gpu, n: usize) -> Self {
        let room = multiprocessors(gpu.device());
        let rounds = n.div_ceil(room * MAX_COLUMNS);
        // Wide tiles read `x` seldom; one tile on every second multiprocessor is enough to keep the memory busy.
        let columns =
            if rounds == 1 { n.div_ceil(room.div_ceil(2)).min(MAX_COLUMNS) } else { n.div_ceil(room * rounds) };
        let tiles = n.div_ceil(columns);
        Self { columns, tiles, blocks: tiles.min(room) }
    }
}

impl Launch<'_> {
    pub(super) fn product(&self, product: &Product<'_>) -> Result<(), KernelError> {
        let Self { gpu, buffers, .. } = self;
        let (n, k) = product.weight.dims2()?;
        let Tiling { columns, tiles, blocks } = Tiling::of(gpu, n);
        let chunk_bytes = (columns * CHUNK * STEP * size_of::<half::bf16>()).next_multiple_of(128);
        let steps = (k / STEP).div_ceil(WARPS);
        let slots = (steps.div_ceil(CHUNK) * tiles.div_ceil(blocks)).min(RINGS / (WARPS * chunk_bytes)).min(MAX_SLOTS);
        let (parts, count, width, eps) = match product.squares {
            Some(Squares { parts, count, width, eps }) => (gpu.tensor(parts)?, count, width, eps),
            None => (Arg::NULL, 0, 0, 0.0),
        };
        let weight = boxes(gpu.contiguous(product.weight, OP, "weight")?, (n, k), (columns, CHUNK * STEP))?;
        let mut args = vec![
            gpu.tensor(product.x)?,
            Arg::int(n),
            Arg::int(k),
            Arg::int(buffers.sequences),
            Arg::int(columns),
            Arg::int(slots),
            parts,
            Arg::int(count),
            Arg::int(width),
            Arg::Float(eps),
            gpu.optional(product.y)?,
        ];
        let kernel = if let Some(Convolution { weight, bias, ring }) = product.convolution {
            args.extend([
                gpu.contiguous(weight, OP, "conv_weight")?,
                gpu.contiguous(bias, OP, "conv_bias")?,
                gpu.tensor(ring)?,
                gpu.tensor(&buffers.counter)?,
                Arg::int(bias.elem_count()),
                gpu.tensor(&buffers.convolved)?,
            ]);
            CONVOLVED
        } else {
            // Only where a norm follows.
            let next = |tensor| gpu.optional(product.next_norm.map(|_| tensor));
            args.extend([
                gpu.optional(product.logits)?,
                next(&buffers.residual)?,
                gpu.optional(product.next_norm)?,
                next(&buffers.normed)?,
                next(&buffers.parts)?,
            ]);
            PLAIN
        };
        let sums = WARPS * 8 * self.row_tiles() * MAX_COLUMNS * size_of::<f32>();
        let grid = Grid { blocks: (blocks, 1, 1), threads: (THREADS, 1), shared: WARPS * slots * chunk_bytes + sums };
        let kept = if steps <= KEPT { KEPT } else { 0 };
        gpu.launch_on_boxes(&PRODUCT, &format!("{kernel}_{}_{kept}", self.row_tiles()), grid, &weight, &args)
    }

    /// Tiles of eight rows that there are kernels for.
    fn row_tiles(&self) -> usize {
        self.buffers.sequences.div_ceil(8).next_power_of_two()
    }

    /// Loads the kernels of [`Launch::product`].
    pub(super) fn load_products(&self) -> Result<(), KernelError> {
        for (kernel, kept) in [(PLAIN, KEPT), (PLAIN, 0), (CONVOLVED, KEPT), (CONVOLVED, 0)] {
            PRODUCT.function(self.gpu.device(), &format!("{kernel}_{}_{kept}", self.row_tiles()))?;
        }
        Ok(())
    }
}
