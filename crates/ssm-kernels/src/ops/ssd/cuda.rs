use candle_core::DType;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;

use super::schedule::{Items, PIECE, Schedule};
use super::{OP, SsdInput, SsdOutput};
use crate::cuda::{Arg, Gpu, Grid, Image, image, is_wide, multiprocessors, rows_of, shared_limit, suffix};
use crate::error::{KernelError, expect_shape};

static KERNELS: Image = image!("ssd");

/// Channels of a head that the tensor-core kernels are made for.
const HEADDIM: usize = 64;
/// Channels of a block of the plain kernels.
const SLICE: usize = 32;
/// Most states per channel that any kernel holds.
const MAX_D_STATE: usize = 512;

/// A schedule on the device.
struct Uploaded {
    /// Pieces of long segments, their number, and heads of a block.
    states: Option<(CudaSlice<i32>, usize, usize)>,
    /// A launch of the scan, and the segments whose states are combined before it.
    waves: Vec<(Launch, Option<Combined>)>,
    slots: usize,
}

/// A table of segments cut into pieces, and their number.
type Combined = (CudaSlice<i32>, usize);

/// Items of one launch.
struct Launch {
    chunks: CudaSlice<i32>,
    offsets: CudaSlice<i32>,
    items: usize,
    /// For the tensor-core kernels: works, their number, heads of a block.
    works: (CudaSlice<i32>, usize, usize),
}

/// Heads that one block may take, as far as groups and shared memory allow.
#[derive(Clone, Copy)]
struct Heads {
    nheads: usize,
    ngroups: usize,
    scan: usize,
    state: usize,
}

impl Heads {
    fn new(gpu: &Gpu, nheads: usize, ngroups: usize, d_state: usize) -> Self {
        let shares = |heads: usize| ngroups == 1 || (nheads / ngroups).is_multiple_of(heads);
        let fits = |bytes: usize| bytes <= shared_limit(gpu.device());
        Self {
            nheads,
            ngroups,
            scan: if shares(3) && fits(scan_bytes(3, d_state)) { 3 } else { 1 },
            state: if shares(2) && fits(state_bytes(2, d_state)) { 2 } else { 1 },
        }
    }
}

impl Launch {
    fn new(items: &Items, gpu: &Gpu, heads: Heads, per_block: usize) -> Result<Self, KernelError> {
        let (chunks, offsets) = items.tables();
        let works = items.works(heads.nheads, heads.ngroups, per_block, multiprocessors(gpu.device()));
        Ok(Self {
            chunks: gpu.upload(&chunks)?,
            offsets: gpu.upload(&offsets)?,
            items: items.len(),
            works: (gpu.upload(&works.concat())?, works.len(), per_block),
        })
    }
}

impl Uploaded {
    fn new(schedule: &Schedule, gpu: &Gpu, heads: Heads) -> Result<Self, KernelError> {
        let wave = |wave: &super::schedule::Wave| {
            let combine: Vec<i32> = wave.combine.concat();
            let combine =
                (!combine.is_empty()).then(|| Ok::<_, KernelError>((gpu.upload(&combine)?, wave.combine.len())));
            // Few blocks leave multiprocessors idle in any case: small ones are quicker then.
            let few = wave.items.len() * heads.nheads <= multiprocessors(gpu.device());
            let per_block = if few { 1 } else { heads.scan };
            Ok::<_, KernelError>((Launch::new(&wave.items, gpu, heads, per_block)?, combine.transpose()?))
        };
        let pieces = &schedule.states;
        let states = (!pieces.is_empty())
            .then(|| Ok::<_, KernelError>((gpu.upload(&pieces.concat())?, pieces.len(), heads.state)));
        Ok(Self {
            states: states.transpose()?,
            waves: schedule.waves.iter().map(wave).collect::<Result<_, _>>()?,
            slots: schedule.slots,
        })
    }
}

pub(super) fn ssd(input: &SsdInput<'_>) -> Result<SsdOutput, KernelError> {
    let gpu = Gpu::of(input.xbc, OP)?;
    let (rows, width, ld) = rows_of(input.xbc, OP, "xbc")?;
    let (_, nheads) = input.dt.dims2()?;
    let (headdim, d_state, segments) = (input.headdim, input.d_state, input.segments);
    let d_inner = nheads * headdim;
    check(input, rows, width, nheads)?;
    let state_shape = [segments.len(), nheads, headdim, d_state];
    let xbc = gpu.tensor(input.xbc)?;
    let fast = input.xbc.dtype() == DType::BF16
        && headdim == HEADDIM
        && (d_state == 64 || d_state == 128)
        && is_wide(&[ld], &[xbc]);
    let piece = fast.then_some(PIECE);
    // All that a schedule depends on besides the segments.
    let flags = usize::from(fast) | usize::from(input.initial.is_some()) << 1 | usize::from(input.want_states) << 2;
    let variant = flags | input.ngroups << 3 | nheads << 20 | d_state << 40;
    let schedule = segments.on_device(&gpu)?.derive("ssd", variant, || {
        let schedule = Schedule::new(segments, piece, input.initial.is_some(), input.want_states);
        Uploaded::new(&schedule, &gpu, Heads::new(&gpu, nheads, input.ngroups, d_state))
    })?;
    let carries = input.want_states || (0..segments.len()).any(|index| segments.parent(index).is_some());
    let states = carries.then(|| gpu.empty(&state_shape[..], DType::F32)).transpose()?;
    let slots = gpu.empty((schedule.slots, d_inner, d_state), DType::F32)?;
    let decays = gpu.empty((schedule.slots, nheads), DType::F32)?;
    let y = gpu.empty((rows, d_inner), input.xbc.dtype())?;
    let (initial, kept) = (
        input.initial.map_or(Ok(Arg::NULL), |initial| gpu.float32(initial, OP, "initial"))?,
        gpu.optional(states.as_ref())?,
    );
    let (dt, a) = (gpu.float32(input.dt, OP, "dt")?, gpu.float32(input.a, OP, "a")?);
    let (slots, decays) = (gpu.tensor(&slots)?, gpu.tensor(&decays)?);
    let common = [xbc, dt, a, gpu.float32(input.d, OP, "d")?, initial, kept, slots, gpu.tensor(&y)?];
    let scan = |launch: &Launch| -> Result<(), KernelError> {
        let mut args = common.to_vec();
        args.push(gpu.address(&launch.chunks));
        let (name, grid) = if fast {
            let (works, count, heads) = &launch.works;
            args.extend([gpu.address(works), Arg::int(*count)]);
            args.extend([ld, nheads, input.ngroups].map(Arg::int));
            // As many blocks beside each other as registers allow.
            let beside = if *heads == 1 { 2 } else { 1 } * multiprocessors(gpu.device());
            let (name, shared) = (format!("ssd_bf16_h{heads}_n{d_state}"), scan_bytes(*heads, d_state));
            (name, Grid { blocks: (beside.min(*count), 1, 1), threads: (128 * heads, 1), shared })
        } else {
            args.push(gpu.address(&launch.offsets));
            args.extend([ld, nheads, headdim, input.ngroups, d_state].map(Arg::int));
            let per_lane = d_state.div_ceil(32).next_power_of_two();
            let tile = if per_lane <= 4 { 32 } else { 128 / per_lane };
            let shared = size_of::<f32>() * tile * (2 * 32 * per_lane + SLICE + 2);
            let wide = if d_state > 128 { "wide_" } else { "" };
            let name = format!("ssd_any_{wide}{}", suffix(input.xbc.dtype(), OP)?);
            let blocks = launch.items * nheads * headdim.div_ceil(SLICE);
            (name, Grid { blocks: (blocks, 1, 1), threads: (256, 1), shared })
        };
        gpu.launch(&KERNELS, &name, grid, &args)
    };
    if let Some((pieces, count, heads)) = &schedule.states {
        let mut args = vec![xbc, dt, a, slots, decays, gpu.address(pieces)];
        args.extend([ld, nheads, input.ngroups].map(Arg::int));
        let blocks = (count * nheads.div_ceil(*heads), 1, 1);
        let grid = Grid { blocks, threads: (128 * heads, 1), shared: state_bytes(*heads, d_state) };
        gpu.launch(&KERNELS, &format!("ssd_state_bf16_h{heads}_n{d_state}"), grid, &args)?;
    }
    for (launch, combine) in &schedule.waves {
        if let Some((table, count)) = combine {
            let args =
                [gpu.address(table), initial, kept, slots, decays, Arg::int(nheads), Arg::int(headdim * d_state)];
            let blocks = (*count, nheads, (headdim * d_state).div_ceil(1024));
            gpu.launch(&KERNELS, "ssd_combine_f32", Grid { blocks, threads: (256, 1), shared: 0 }, &args)?;
        }
        scan(launch)?;
    }
    Ok(SsdOutput { y, states: states.filter(|_| input.want_states) })
}

/// Refuses shapes that do not fit each other.
fn check(input: &SsdInput<'_>, rows: usize, width: usize, nheads: usize) -> Result<(), KernelError> {
    let (headdim, d_state, segments) = (input.headdim, input.d_state, input.segments);
    let d_inner = nheads * headdim;
    expect_shape(OP, "xbc", &[rows, width], &[segments.n_tokens(), d_inner + 2 * input.ngroups * d_state])?;
    expect_shape(OP, "dt", input.dt.dims(), &[rows, nheads])?;
    expect_shape(OP, "a", input.a.dims(), &[nheads])?;
    expect_shape(OP, "d", input.d.dims(), &[nheads])?;
    if !nheads.is_multiple_of(input.ngroups) || d_state > MAX_D_STATE {
        return Err(KernelError::Shape {
            op: OP,
            tensor: "xbc",
            expected: format!("heads that {} groups divide, at most {MAX_D_STATE} states", input.ngroups),
            got: input.xbc.dims().to_vec(),
        });
    }
    match input.initial {
        Some(initial) => expect_shape(OP, "initial", initial.dims(), &[segments.len(), nheads, headdim, d_state]),
        None => Ok(()),
    }
}

/// Bytes of a tile of 64 rows and channels in shared memory.
const TILE: usize = 64 * 64 * 2;

/// Shared memory of the tensor-core scan: two stages of x, B and C, the rounded states, decays, what comes next.
fn scan_bytes(heads: usize, d_state: usize) -> usize {
    const DECAYS: usize = 1024;
    const PIECES: usize = 96;
    let panels = d_state / 64;
    TILE * (2 * (heads + 2 * panels) + heads * panels) + 2 * heads * DECAYS + PIECES
}

/// Shared memory of the pass that finds states of pieces: three stages of x and B, weights and a flag of two chunks.
fn state_bytes(heads: usize, d_state: usize) -> usize {
    const WEIGHTS: usize = 64 * size_of::<f32>();
    3 * TILE * (heads + d_state / 64) + 2 * heads * (WEIGHTS + size_of::<i32>())
}
