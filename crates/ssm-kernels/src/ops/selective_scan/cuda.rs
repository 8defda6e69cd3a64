use candle_core::{DType, Tensor};

use super::{OP, SelectiveScanInput, SelectiveScanOutput};
use crate::cuda::{Arg, Gpu, Grid, Image, image, rows_of, suffix};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

static KERNELS: Image = image!("selective_scan");

/// States per channel that the fast kernels hold in registers.
const D_STATE: usize = 16;

/// Channels of all trees below which eight lanes a channel are fastest, and two (measured on an H100; no result depends on
/// them).
const SPLIT_BELOW: usize = 7_500;
const PAIR_BELOW: usize = 34_000;

/// A kernel: part of its name, threads of a block, channels of a block.
type Variant = (&'static str, usize, usize);
/// One lane a channel.
const CHANNEL: Variant = ("", 128, 128);
/// Two lanes a channel, for calls that leave half of a GPU idle otherwise; the same bits.
const PAIR: Variant = ("pair_", 128, 64);
/// Eight lanes a channel, for calls with few sequences; the same bits.
const SPLIT: Variant = ("split_", 128, 16);
/// [`SPLIT`] with a factor on the step sizes of each token; the same bits where it is one.
const TIMED: Variant = ("timed_", 128, 16);
/// Any number of states.
const ANY: Variant = ("any_", 64, 64);

pub(super) fn selective_scan(input: &SelectiveScanInput<'_>) -> Result<SelectiveScanOutput, KernelError> {
    let gpu = Gpu::of(input.x, OP)?;
    let (rows, d_inner) = input.x.dims2()?;
    let (d_state, _) = input.a.dims2()?;
    let dtype = input.x.dtype();
    let segments = input.segments;
    check(input, rows, d_inner, d_state)?;
    let z = input.gate.narrow(1, input.z_start, d_inner)?;
    let (_, _, ld_z) = rows_of(&z, OP, "gate")?;
    let (_, _, ld_projected) = rows_of(input.projected, OP, "projected")?;
    let gated = gpu.empty((rows, d_inner), dtype)?;
    let wanted = |wanted: bool, dtype| wanted.then(|| gpu.empty((rows, d_inner), dtype)).transpose();
    let y = wanted(input.want_y, dtype)?;
    let dt = wanted(input.want_dt, DType::F32)?;
    let carries = input.want_states || (0..segments.len()).any(|index| segments.parent(index).is_some());
    let states = carries.then(|| gpu.empty((segments.len(), d_inner, d_state), DType::F32)).transpose()?;
    let tables = segments.on_device(&gpu)?;
    let work = tables.derive("trees", 0, || gpu.upload(&trees(segments)))?;
    let n_trees = segments.trees().len();
    let (kind, threads, channels) = match n_trees * d_inner {
        _ if d_state != D_STATE => ANY,
        _ if input.dt_factor.is_some() => TIMED,
        ..SPLIT_BELOW => SPLIT,
        SPLIT_BELOW..PAIR_BELOW => PAIR,
        _ => CHANNEL,
    };
    let mut args = vec![
        gpu.contiguous(input.x, OP, "x")?,
        gpu.contiguous(input.dt_raw, OP, "dt_raw")?,
        gpu.float32(input.dt_bias, OP, "dt_bias")?,
        gpu.float32(input.a, OP, "a")?,
        gpu.tensor(input.projected)?,
        Arg::int(ld_projected),
        Arg::int(input.b_start),
        Arg::int(input.c_start),
        gpu.float32(input.d, OP, "d")?,
        gpu.tensor(&z)?,
        Arg::int(ld_z),
        gpu.address(&tables.offsets),
        gpu.address(&tables.parents),
        gpu.address(&work),
        input.initial.map_or(Ok(Arg::NULL), |initial| gpu.float32(initial, OP, "initial"))?,
        gpu.optional(states.as_ref())?,
        gpu.tensor(&gated)?,
        gpu.optional(y.as_ref())?,
        gpu.optional(dt.as_ref())?,
        Arg::int(d_inner),
    ];
    if [TIMED.0, ANY.0].contains(&kind) {
        args.push(input.dt_factor.map_or(Ok(Arg::NULL), |factor| gpu.float32(factor, OP, "dt_factor"))?);
    }
    let mut shared = 0;
    if kind == ANY.0 {
        args.push(Arg::int(d_state));
        shared = threads * d_state * size_of::<f32>();
    }
    let name = format!("selective_scan_{kind}{}", suffix(dtype, OP)?);
    let grid = Grid { blocks: (n_trees * d_inner.div_ceil(channels), 1, 1), threads: (threads, 1), shared };
    gpu.launch(&KERNELS, &name, grid, &args)?;
    Ok(SelectiveScanOutput { gated, y, dt, states: states.filter(|_| input.want_states) })
}

fn check(input: &SelectiveScanInput<'_>, rows: usize, d_inner: usize, d_state: usize) -> Result<(), KernelError> {
    expect_shape(OP, "x", &[rows], &[input.segments.n_tokens()])?;
    expect_shape(OP, "a", input.a.dims(), &[d_state, d_inner])?;
    expect_shape(OP, "dt_raw", input.dt_raw.dims(), &[rows, d_inner])?;
    expect_shape(OP, "dt_bias", input.dt_bias.dims(), &[d_inner])?;
    expect_shape(OP, "d", input.d.dims(), &[d_inner])?;
    if let Some(factor) = input.dt_factor {
        expect_shape(OP, "dt_factor", factor.dims(), &[rows, 1])?;
    }
    expect_shape(OP, "gate", &[input.gate.dim(0)?], &[rows])?;
    let reach = d_state + input.b_start.max(input.c_start);
    expect_shape(OP, "projected", input.projected.dims(), &[rows, input.projected.dim(1)?.max(reach)])?;
    let same = |tensor: &Tensor| tensor.dtype() == input.x.dtype();
    if !(same(input.dt_raw) && same(input.projected) && same(input.gate)) {
        return Err(KernelError::Storage {
            op: OP,
            tensor: "x",
            expected: "of the dtype of dt_raw, projected and gate",
            got: format!("{:?}", input.x.dtype()),
        });
    }
    match input.initial {
        Some(initial) => expect_shape(OP, "initial", initial.dims(), &[input.segments.len(), d_inner, d_state]),
        None => Ok(()),
    }
}

/// First and end segment of every tree, the longest tree first, so that no long one starts last.
fn trees(segments: &Segments) -> Vec<i32> {
    let mut trees: Vec<_> = segments.trees().to_vec();
    let rows = |tree: &std::ops::Range<usize>| segments.rows(tree.end - 1).end - segments.rows(tree.start).start;
    trees.sort_by_key(|tree| std::cmp::Reverse(rows(tree)));
    trees.into_iter().flat_map(|tree| [tree.start as i32, tree.end as i32]).collect()
}
