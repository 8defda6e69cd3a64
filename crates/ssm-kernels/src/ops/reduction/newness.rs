use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{DType, Tensor};

use super::pairs::{Compared, Counts, Elements, Lists};
use crate::cuda::{Arg, Gpu, Grid, Image, image, rows_of};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

static KERNELS: Image = image!("newness");

const OP: &str = "newness";
const TILE: usize = 256;
/// Columns of the parts of a split row are a multiple of this, so that every part begins where the tensor cores can read.
const PART: usize = 8;

/// Minus the largest cosine similarity of a row with the later rows of its segment, which counts as -1 at least; 1 for the last row. Of each
/// segment the first `scored` rows are compared, and the others get 1. `[tokens]`, float32; NaN where a similarity is NaN or infinite. Rows of
/// a segment of which none is compared are not written.
///
/// Products run on the tensor cores. Float32 rows are split into float16 parts first, so that a similarity is as good as one of float32
/// products; the parts take 8 bytes a value while it runs.
///
/// # Shapes
/// - `x`: `[tokens, width]`; `inverse_norms`: `[tokens]`, float32, from [`super::token_scores`]; `scored`: at most the rows of each segment
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn newness(
    x: &Tensor,
    inverse_norms: &Tensor,
    segments: &Segments,
    scored: &[usize],
) -> Result<Tensor, KernelError> {
    let gpu = Gpu::of(x, OP)?;
    let (rows, width, ld) = rows_of(x, OP, "x")?;
    expect_shape(OP, "x", &[rows], &[segments.n_tokens()])?;
    expect_shape(OP, "inverse_norms", inverse_norms.dims(), &[rows])?;
    let targets = |(index, scored): (usize, &usize)| if *scored == 0 { 0 } else { segments.length(index) };
    let counts = Counts::later(scored.to_vec(), scored.iter().enumerate().map(targets).collect());
    let lists = Lists::new(&gpu, &counts)?;
    let inverse_norms = gpu.float32(inverse_norms, OP, "inverse_norms")?;
    let split = match x.dtype() {
        DType::F32 => Some(Split::new(&gpu, x, rows, width, ld, inverse_norms)?),
        _ => None,
    };
    let (compared, stride, shift) = match &split {
        Some(split) => split.compared(&gpu),
        None => (Compared { x: gpu.tensor(x)?, ld, width, elements: Elements::Bf16, inverse_norms, clip: false }, 1, 0),
    };
    let grid = Grid { blocks: (segments.longest().div_ceil(TILE), segments.len(), 1), threads: (TILE, 1), shared: 0 };
    let seg_off = gpu.address(&segments.on_device(&gpu)?.offsets);
    let (src_off, edges) = (gpu.address(&lists.src_off), gpu.address(&lists.edges));
    let args = [
        seg_off,
        src_off,
        gpu.address(&lists.tgt_off),
        Arg::int(stride),
        Arg::int(shift),
        gpu.address(&lists.sources),
        gpu.address(&lists.targets),
        edges,
    ];
    gpu.launch(&KERNELS, "later_rows", grid, &args)?;
    lists.match_lists(&gpu, compared, &counts, [&lists.sources, &lists.targets])?;
    let scores = gpu.empty(rows, DType::F32)?;
    gpu.launch(&KERNELS, OP, grid, &[edges, seg_off, src_off, gpu.tensor(&scores)?])?;
    Ok(scores)
}

/// Float32 rows of length 1 in float16 parts: hi, mid, hi, hi.
struct Split {
    /// `[rows, 4 * part]`.
    parts: CudaSlice<u16>,
    part: usize,
    /// `[rows, 4]`.
    scales: CudaSlice<f32>,
}

impl Split {
    fn new(
        gpu: &Gpu,
        x: &Tensor,
        rows: usize,
        width: usize,
        ld: usize,
        inverse_norms: Arg,
    ) -> Result<Self, KernelError> {
        let part = width.next_multiple_of(PART);
        let (parts, scales) = (gpu.scratch::<u16>(rows * 4 * part)?, gpu.scratch::<f32>(4 * rows)?);
        let args = [
            gpu.tensor(x)?,
            Arg::long(ld),
            Arg::int(width),
            inverse_norms,
            Arg::int(part),
            gpu.address(&parts),
            gpu.address(&scales),
        ];
        gpu.launch(&KERNELS, "split_rows", Grid { blocks: (rows, 1, 1), threads: (TILE, 1), shared: 0 }, &args)?;
        Ok(Self { parts, part, scales })
    }

    /// What is compared, and of a row the number of its first part as a source and how far after it that of its first part as a target is: a
    /// source is the three parts from its first on, a target those from its second on. Parts are what the kernels count as rows.
    fn compared(&self, gpu: &Gpu) -> (Compared, usize, usize) {
        let compared = Compared {
            x: gpu.address(&self.parts),
            ld: self.part,
            width: 3 * self.part,
            elements: Elements::F16,
            inverse_norms: gpu.address(&self.scales),
            clip: false,
        };
        (compared, 4, 1)
    }
}
