use candle_core::DType;

use super::{ConvInput, ConvOutput, OP};
use crate::cuda::{Arg, Gpu, Grid, Image, image, is_wide, rows_of, suffix};
use crate::error::{KernelError, expect_shape};
use crate::segments::Segments;

static KERNELS: Image = image!("causal_conv1d");

const THREADS: usize = 128;
/// Tokens of a tile.
const TILE: usize = 16;

pub(super) fn causal_conv1d(input: &ConvInput<'_>) -> Result<ConvOutput, KernelError> {
    let gpu = Gpu::of(input.x, OP)?;
    let (d_conv, channels) = input.weight.dims2()?;
    let x = input.x.narrow(1, input.columns.start, input.columns.len())?;
    let (rows, width, ld) = rows_of(&x, OP, "x")?;
    expect_shape(OP, "x", &[rows, width], &[input.segments.n_tokens(), channels])?;
    expect_shape(OP, "bias", input.bias.dims(), &[channels])?;
    let n_segments = input.segments.len();
    if let Some(initial) = input.initial {
        expect_shape(OP, "initial", initial.dims(), &[n_segments, channels, d_conv])?;
    }
    let y = gpu.empty((rows, channels), input.x.dtype())?;
    let tables = input.segments.on_device(&gpu)?;
    let tiles = tables.derive("conv", 0, || {
        let table = tile_table(input.segments, TILE);
        Ok((gpu.upload(&table)?, table.len() / 4))
    })?;
    let (tiles, n_tiles) = (&tiles.0, tiles.1);
    let initial = input.initial.map_or(Ok(Arg::NULL), |initial| gpu.float32(initial, OP, "initial"))?;
    let dtype = suffix(input.x.dtype(), OP)?;
    let mut args = vec![
        gpu.tensor(&x)?,
        Arg::long(ld),
        gpu.float32(input.weight, OP, "weight")?,
        gpu.float32(input.bias, OP, "bias")?,
        gpu.address(&tables.offsets),
        gpu.address(&tables.parents),
        initial,
        gpu.address(tiles),
        Arg::int(n_tiles),
        gpu.tensor(&y)?,
        Arg::int(channels),
    ];
    let fast = (2..=4).contains(&d_conv) && is_wide(&[channels, ld], &args);
    let per_tile = if fast { channels / 8 } else { channels };
    let plain = if input.silu { "" } else { "plain_" };
    let name = if fast {
        format!("causal_conv1d_{plain}t{d_conv}_{dtype}")
    } else {
        args.push(Arg::int(d_conv));
        format!("causal_conv1d_{plain}any_{dtype}")
    };
    let blocks = (n_tiles * per_tile).div_ceil(THREADS);
    gpu.launch(&KERNELS, &name, Grid { blocks: (blocks, 1, 1), threads: (THREADS, 1), shared: 0 }, &args)?;
    let states = if input.want_states {
        let states = gpu.empty((n_segments, channels, d_conv), DType::F32)?;
        let args =
            [args[0], args[1], args[4], args[5], args[6], gpu.tensor(&states)?, Arg::int(channels), Arg::int(d_conv)];
        let blocks = (n_segments, channels.div_ceil(THREADS), 1);
        let grid = Grid { blocks, threads: (THREADS, 1), shared: 0 };
        gpu.launch(&KERNELS, &format!("causal_conv1d_states_{dtype}"), grid, &args)?;
        Some(states)
    } else {
        None
    };
    Ok(ConvOutput { y, states })
}

/// Tiles of at most `tile` tokens over all segments: (segment, first token in it, tokens, row of the first token).
fn tile_table(segments: &Segments, tile: usize) -> Vec<i32> {
    let mut table = Vec::new();
    for segment in 0..segments.len() {
        let rows = segments.rows(segment);
        for first in rows.clone().step_by(tile) {
            let tokens = tile.min(rows.end - first);
            table.extend([segment, first - rows.start, tokens, first].map(|value| value as i32));
        }
    }
    table
}
