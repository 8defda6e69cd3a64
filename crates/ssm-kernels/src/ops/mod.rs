//! The operations, one file or folder each: public function, readable reference, fast path, and their comparison.

mod add_layer_norm;
mod add_norm;
mod add_rms_norm;
mod causal_attention;
mod causal_conv1d;
#[cfg(feature = "cuda")]
pub mod decode;
mod finite;
mod gated_rms_norm;
mod gather_rows;
mod gelu;
mod linear;
mod log_probs;
mod merge_rows;
mod parallel;
#[cfg(feature = "cuda")]
pub mod reduction;
mod rms_norm_parts;
mod rotary;
mod row_norm;
mod row_plan;
mod selective_scan;
mod softplus;
mod ssd;

pub use add_layer_norm::add_layer_norm;
pub use add_rms_norm::add_rms_norm;
pub use causal_attention::{AttentionInput, KeysValues, causal_attention};
pub use causal_conv1d::{ConvInput, ConvOutput, causal_conv1d};
pub use finite::{NonFinite, first_non_finite};
pub use gated_rms_norm::{GateOrder, GatedNorm, gate, gated_rms_norm, gated_unit};
pub use gather_rows::{RowChoice, gather_rows};
pub use gelu::{Gelu, gelu};
/// For the tests of this crate alone.
#[cfg(feature = "cuda")]
#[doc(hidden)]
pub use linear::trial;
pub use linear::{linear, linear_as, linear_with_bias};
pub use log_probs::{TokenScore, log_probs};
pub use merge_rows::{MergeGroup, MergeRule, RowMerges, merge_rows};
pub use rms_norm_parts::rms_norm_parts;
pub use rotary::{Rotary, Rotated, rotary};
pub use row_plan::{BranchWeights, ChannelTops, NO_TOPS, RowPlan};
pub use selective_scan::{SelectiveScanInput, SelectiveScanOutput, selective_scan};
pub use softplus::softplus;
pub use ssd::{SsdInput, SsdOutput, ssd};

#[cfg(test)]
mod testing;
