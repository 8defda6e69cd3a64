//! The operations, one file or folder each: public function, readable reference, fast path, and their comparison.

mod add_layer_norm;
mod add_norm;
mod add_rms_norm;
mod causal_attention;
mod causal_conv1d;
mod finite;
mod gated_rms_norm;
mod gather_rows;
mod gelu;
mod linear;
mod log_probs;
mod merge_rows;
#[cfg(feature = "cuda")]
pub mod reduction;
mod rms_norm_parts;
mod rotary;
mod row_plan;
mod selective_scan;
mod softplus;
mod ssd;

pub use add_layer_norm::add_layer_norm;
pub use add_rms_norm::add_rms_norm;
pub use causal_attention::{AttentionInput, KeysValues, causal_attention};
pub use causal_conv1d::{ConvInput, ConvOutput, causal_conv1d};
pub use finite::{NonFinite, first_non_finite};
pub use gated_rms_norm::{GateOrder, GatedNorm, gate, gated_rms_norm};
pub use gather_rows::gather_rows;
pub use gelu::{Gelu, gelu};
pub use linear::{linear, linear_as, linear_with_bias};
pub use log_probs::{TokenScore, log_probs};
pub use merge_rows::{MergeGroup, MergeRule, RowMerges, merge_rows};
pub use rms_norm_parts::rms_norm_parts;
pub use rotary::{Rotary, Rotated, rotary};
pub use row_plan::{BranchWeights, RowPlan};
pub use selective_scan::{SelectiveScanInput, SelectiveScanOutput, selective_scan};
pub use softplus::softplus;
pub use ssd::{SsdInput, ssd};

/// Output of [`ssd`].
pub struct ScanOutput {
    /// `[tokens, d_inner]`: C h + D x, before any gate.
    pub y: candle_core::Tensor,
    /// State after the last token of each segment, where it was asked for.
    pub states: Option<candle_core::Tensor>,
}

/// Rows that one parallel task handles: long enough to amortise the task, short enough to balance.
const ROWS_PER_TASK: usize = 32;

/// Columns of a matrix that several tasks fill, each its own part.
///
/// Scans are parallel over (tree, channels): a task owns some columns of some rows, which no slice can express.
#[derive(Clone, Copy)]
struct Columns {
    start: *mut f32,
    stride: usize,
    len: usize,
}

// SAFETY: `Columns` only hands out parts through `row`, whose contract is that no two live parts overlap.
unsafe impl Send for Columns {}
// SAFETY: as above.
unsafe impl Sync for Columns {}

impl Columns {
    fn new(matrix: &mut [f32], stride: usize) -> Self {
        Self { start: matrix.as_mut_ptr(), stride, len: matrix.len() }
    }

    /// Columns `column..column + width` of `row`.
    ///
    /// # Safety
    /// No other live part may overlap this one.
    #[inline(always)]
    unsafe fn row<'a>(self, row: usize, column: usize, width: usize) -> &'a mut [f32] {
        let offset = row * self.stride + column;
        assert!(offset + width <= self.len, "part outside the matrix");
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), width) }
    }
}

#[cfg(test)]
mod testing;
