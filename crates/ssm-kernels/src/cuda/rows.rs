use super::args::Arg;
use super::gpu::Grid;

/// Elements that a thread of a row kernel takes at a time.
const EIGHT: usize = 8;

/// Whether the kernels that take eight elements at a time may run: counts that 8 divides, addresses that 16 divides.
pub(crate) fn is_wide(counts: &[usize], addresses: &[Arg]) -> bool {
    counts.iter().all(|count| count.is_multiple_of(EIGHT))
        && addresses.iter().all(|address| match address {
            Arg::Pointer(address) => address.is_multiple_of(16),
            _ => true,
        })
}

/// How the threads of a block share rows of one width; depends on nothing else, so that sums keep their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowShape {
    /// Times eight elements that a thread holds: 1 or 2.
    pub(crate) vectors: usize,
    /// Threads of a row.
    x: usize,
    /// Rows of a block.
    y: usize,
}

impl RowShape {
    /// For kernels that hold a whole row in the registers of its threads; none for rows that are too wide.
    pub(crate) fn in_registers(width: usize) -> Option<Self> {
        let eights = width.div_ceil(EIGHT);
        let vectors = match eights {
            0..=512 => 1,
            513..=1024 => 2,
            _ => return None,
        };
        let x = eights.div_ceil(vectors).next_multiple_of(32);
        Some(Self { vectors, x, y: (128 / x).max(1) })
    }

    /// For kernels whose threads stride over the columns.
    pub(crate) fn striding(width: usize, wide: bool) -> Self {
        let steps = if wide { width.div_ceil(EIGHT) } else { width };
        // No sum runs over these threads, so a narrow row needs no whole warp.
        let x = if steps <= 32 { steps.next_power_of_two() } else { steps.next_multiple_of(32).min(512) };
        Self { vectors: 1, x, y: (256 / x).max(1) }
    }

    /// A warp per row, for kernels that sum over narrow rows.
    pub(crate) fn warp() -> Self {
        Self { vectors: 1, x: 32, y: 8 }
    }

    /// One row per block, for the kernels of any width.
    pub(crate) fn whole_block() -> Self {
        Self { vectors: 1, x: 256, y: 1 }
    }

    /// The launch over this many rows.
    pub(crate) fn grid(self, rows: usize) -> Grid {
        Grid { blocks: (rows.div_ceil(self.y), 1, 1), threads: (self.x, self.y), shared: 0 }
    }
}
