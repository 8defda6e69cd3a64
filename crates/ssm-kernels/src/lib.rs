//! Tensor operations of state space models, and of the Transformer they are compared with, on packed sequences.
//!
//! Activations of many sequences are packed end to end as `[tokens, channels]`, token-major, with a [`Segments`] table; there
//! is no padding. Every operation has a reference, written to be read, beside its fast path, and one test that compares
//! the two over awkward shapes. This is the only crate in which `unsafe` is allowed.
//!
//! | operation | what it does |
//! |---|---|
//! | [`ops::linear`], [`ops::linear_with_bias`] | matrix product with a weight, bits of a row independent of the other rows |
//! | [`ops::add_rms_norm`], [`ops::add_layer_norm`] | residual add and the norm of the sum |
//! | [`ops::gated_rms_norm`] | gate by SiLU(z), then (or after) grouped RMSNorm |
//! | [`ops::causal_conv1d`] | depthwise causal convolution and SiLU |
//! | [`ops::softplus`] | step sizes from their raw values |
//! | [`ops::selective_scan`] | the recurrence of Mamba |
//! | [`ops::ssd`] | the recurrence of Mamba-2, by chunks |
//! | [`ops::gated_unit`] | one part of a projection gated by SiLU of another |
//! | [`ops::rotary`] | queries, keys and values of a fused projection, turned by their positions |
//! | [`ops::causal_attention`] | softmax attention over each segment and what came before it |
//! | [`ops::gelu`] | GELU, exact or by tanh |
//! | [`ops::merge_rows`] | gather kept rows, average merged ones into them |
//! | [`ops::log_probs`] | log-probability of a target and the greedy token per row |
//! | [`ops::first_non_finite`] | where a stream holds a value that is NaN or infinite |
//!
//! NaN stays NaN through every operation: none takes a minimum, maximum or comparison that would turn it into a number.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use ssm_kernels::ops::{MergeGroup, MergeRule, RowMerges, merge_rows};
//!
//! // A segment of three rows: rows 0 and 2 are kept, row 1 is averaged into row 0.
//! let x = Tensor::new(&[[1.0_f32, 2.0], [3.0, 6.0], [5.0, 5.0]], &Device::Cpu)?;
//! let groups = [MergeGroup { into: 0, own_weight: 1.0, sources: vec![(1, 1.0)] }];
//! let segment = RowMerges { first_row: 0, keep: &[0, 2], groups: &groups, rule: MergeRule::WeightedMean };
//! assert_eq!(merge_rows(&x, &[segment])?.to_vec2::<f32>()?, [[2.0, 4.0], [5.0, 5.0]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "cuda")]
mod cuda;
pub mod device;
mod error;
pub mod finite;
pub mod host;
mod kernel_time;
mod math;
pub mod ops;
mod segments;

pub use device::Placement;
pub use error::KernelError;
pub use segments::Segments;

/// Result of an operation.
pub type Result<T> = std::result::Result<T, KernelError>;
