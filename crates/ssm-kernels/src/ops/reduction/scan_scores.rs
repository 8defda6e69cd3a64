use candle_core::{DType, Tensor};

use crate::cuda::{Arg, Gpu, Grid, Image, image, rows_of, suffix};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

static KERNELS: Image = image!("scan_scores");

const OP: &str = "scan_scores";
const THREADS: usize = 256;
const WARP: usize = 32;
/// Kernels of `hidden_attention`: the most decay rates of a unit, tokens of a warp, and tokens whose decays a block computes at once.
const SHAPES: [(usize, usize, usize); 4] = [(1, 4, 8), (16, 4, 8), (64, 1, 2), (256, 1, 1)];

/// Tensors of a scan, as a layer shows them: float32 or bfloat16.
#[derive(Clone, Copy, Debug)]
pub struct ScanTensors<'a> {
    /// `[tokens, heads]`: step sizes of heads or, with as many heads as channels, of channels.
    pub dt: &'a Tensor,
    /// `[tokens, groups * d_state]`: input maps.
    pub b: &'a Tensor,
    /// Groups of heads that share input and output maps.
    pub groups: usize,
}

/// A matrix as the kernels take it: address, row stride, and whether it is bfloat16.
pub(super) struct Values {
    pub(super) args: [Arg; 3],
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl Values {
    pub(super) fn new(gpu: &Gpu, tensor: &Tensor, name: &'static str) -> Result<Self, KernelError> {
        suffix(tensor.dtype(), OP)?;
        let (rows, width, ld) = rows_of(tensor, OP, name)?;
        let is_bf16 = usize::from(tensor.dtype() == DType::BF16);
        Ok(Self { args: [gpu.tensor(tensor)?, Arg::long(ld), Arg::int(is_bf16)], rows, width })
    }
}

/// Step sizes and input maps, and what their shapes say.
struct Scan {
    gpu: Gpu,
    dt: Values,
    b: Values,
    groups: usize,
    d_state: usize,
}

impl Scan {
    fn new(scan: &ScanTensors<'_>) -> Result<Self, KernelError> {
        let gpu = Gpu::of(scan.dt, OP)?;
        let (dt, b) = (Values::new(&gpu, scan.dt, "dt")?, Values::new(&gpu, scan.b, "b")?);
        let groups = scan.groups.max(1);
        let d_state = b.width / groups;
        expect_shape(OP, "b", scan.b.dims(), &[dt.rows, groups * d_state])?;
        Ok(Self { gpu, dt, b, groups, d_state })
    }
}

/// Decay rates `[heads]` or `[states, heads]`: where they lie, and how many states of a head decay by themselves.
pub(super) fn decay_rates(gpu: &Gpu, a: &Tensor, heads: usize, op: &'static str) -> Result<(Arg, usize), KernelError> {
    let own = a.elem_count() / heads.max(1);
    let want = if a.rank() == 1 { vec![heads] } else { vec![own, heads] };
    expect_shape(op, "a", a.dims(), &want)?;
    Ok((gpu.float32(a, op, "a")?, own))
}

/// Frobenius norm of what each token writes into the state, `[tokens]`, float32: `sqrt(sum_h dt_h^2 |b_g(h)|^2 |x_h|^2)`. Sums run in
/// float64.
///
/// # Shapes
/// - `x`: `[tokens, heads * headdim]`, the input of the scan
///
/// # Errors
/// Tensors that do not fit, or an error of the device.
pub fn write_norm(scan: &ScanTensors<'_>, x: &Tensor) -> Result<Tensor, KernelError> {
    let Scan { gpu, dt, b, groups, d_state } = Scan::new(scan)?;
    let (rows, heads) = (dt.rows, dt.width);
    let input = Values::new(&gpu, x, "x")?;
    let headdim = input.width / heads.max(1);
    expect_shape(OP, "x", x.dims(), &[rows, heads * headdim])?;
    let scores = gpu.empty(rows, DType::F32)?;
    let sizes = [heads, headdim, groups, d_state].map(Arg::int);
    let args: Vec<Arg> =
        [&dt.args[..], &b.args, &input.args, &sizes, &[gpu.tensor(&scores)?]].into_iter().flatten().copied().collect();
    let grid = Grid { blocks: (rows, 1, 1), threads: (THREADS, 1), shared: 8 * groups };
    gpu.launch(&KERNELS, "write_norm", grid, &args)?;
    Ok(scores)
}

/// Influence of each token on the outputs from its own on, `[tokens]`, float32: `sum_{i >= t} mean_h |a_h(i, t)|` over its segment, with
/// `a_h(i, t) = sum_n c_in exp(sum_{k = t+1..i} dt_k A_n) dt_t b_tn`. Sums run in float64; work grows with the square of a segment.
///
/// # Shapes
/// - `c`: as `b`, output maps
/// - `a`: `[heads]`, or `[d_state, heads]` with one group, float32: decay rates, below zero; none: nothing decays, the exponential is 1
///
/// # Errors
/// Tensors that do not fit, more states with a decay of their own than a kernel holds, or an error of the device.
pub fn hidden_attention(
    scan: &ScanTensors<'_>,
    c: &Tensor,
    a: Option<&Tensor>,
    segments: &Segments,
) -> Result<Tensor, KernelError> {
    let Scan { gpu, dt, b, groups, d_state } = Scan::new(scan)?;
    let (rows, heads) = (dt.rows, dt.width);
    expect_shape(OP, "dt", &[rows], &[segments.n_tokens()])?;
    expect_shape(OP, "c", c.dims(), scan.b.dims())?;
    let maps = Values::new(&gpu, c, "c")?;
    let (rates, own) = a.map_or(Ok((Arg::NULL, 1)), |a| decay_rates(&gpu, a, heads, OP))?;
    if own > 1 && (own != d_state || groups != 1) {
        return Err(KernelError::Device(format!(
            "{OP}: expected one decay a head, or one a channel and state of a single group, got {own} for {d_state} states"
        )));
    }
    let Some((shape, tokens, steps)) = SHAPES.into_iter().find(|(most, ..)| own <= *most) else {
        return Err(KernelError::Device(format!(
            "hidden_attention: expected at most 256 states with a decay of their own, got {own}"
        )));
    };
    let units = if a.is_some() { heads } else { groups };
    let chunks = units.div_ceil(WARP);
    let partial = gpu.scratch::<f64>(chunks * rows)?;
    let sizes = [heads, groups, d_state, own, units].map(Arg::int);
    let out = [gpu.address(&segments.on_device(&gpu)?.offsets), Arg::int(rows), gpu.address(&partial)];
    let args: Vec<Arg> =
        [&dt.args[..], &b.args, &maps.args, &[rates], &sizes, &out].into_iter().flatten().copied().collect();
    let tile = THREADS / WARP * tokens;
    let grid = Grid {
        blocks: (segments.longest().div_ceil(tile), segments.len(), chunks),
        threads: (THREADS, 1),
        shared: 8 * steps * (WARP * own + d_state),
    };
    gpu.launch(&KERNELS, &format!("hidden_attention_{shape}"), grid, &args)?;
    let scores = gpu.empty(rows, DType::F32)?;
    let args = [gpu.address(&partial), Arg::int(rows), Arg::int(chunks), Arg::int(heads), gpu.tensor(&scores)?];
    let grid = Grid { blocks: (rows.div_ceil(THREADS), 1, 1), threads: (THREADS, 1), shared: 0 };
    gpu.launch(&KERNELS, "hidden_attention_sum", grid, &args)?;
    Ok(scores)
}
