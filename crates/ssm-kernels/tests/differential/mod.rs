//! Every operation against its reference (`src/ops/<operation>/reference.rs`), over the same cases on the CPU and on a GPU.
//!
//! A case draws its inputs, runs the operation on the bench's device and the reference on the host, and compares. The
//! references are compiled for these tests alone.

pub(crate) mod attention;
mod bench;
pub(crate) mod convolution;
pub(crate) mod merges;
pub(crate) mod norms;
pub(crate) mod products;
pub(crate) mod scans;
pub(crate) mod values;

pub(crate) use bench::{Bench, Pair, awkward_segments};

/// The references, each in the folder of its operation.
#[path = "../../src/ops"]
pub(crate) mod reference {
    #[path = "add_layer_norm/reference.rs"]
    pub(crate) mod add_layer_norm;
    #[path = "add_rms_norm/reference.rs"]
    pub(crate) mod add_rms_norm;
    #[path = "causal_attention/reference.rs"]
    pub(crate) mod causal_attention;
    #[path = "causal_conv1d/reference.rs"]
    pub(crate) mod causal_conv1d;
    #[path = "finite/reference.rs"]
    pub(crate) mod finite;
    #[path = "gated_rms_norm/reference.rs"]
    pub(crate) mod gated_rms_norm;
    #[path = "gather_rows/reference.rs"]
    pub(crate) mod gather_rows;
    #[path = "gelu/reference.rs"]
    pub(crate) mod gelu;
    #[path = "linear/reference.rs"]
    pub(crate) mod linear;
    #[path = "log_probs/reference.rs"]
    pub(crate) mod log_probs;
    #[path = "merge_rows/reference.rs"]
    pub(crate) mod merge_rows;
    #[path = "reduction/reference.rs"]
    pub(crate) mod reduction;
    #[path = "rms_norm_parts/reference.rs"]
    pub(crate) mod rms_norm_parts;
    #[path = "rotary/reference.rs"]
    pub(crate) mod rotary;
    #[path = "selective_scan/reference.rs"]
    pub(crate) mod selective_scan;
    #[path = "softplus/reference.rs"]
    pub(crate) mod softplus;
    #[path = "ssd/reference.rs"]
    pub(crate) mod ssd;
}

/// Calls a macro with the name and the comparison of every operation that runs on the CPU and on a GPU.
macro_rules! for_every_operation {
    ($tests:ident) => {
        $tests! {
            add_layer_norm: norms::add_layer_norm,
            add_rms_norm: norms::add_rms_norm,
            causal_attention: attention::causal_attention,
            causal_conv1d: convolution::causal_conv1d,
            finite: values::first_non_finite,
            gated_rms_norm: norms::gated_rms_norm,
            gather_rows: values::gather_rows,
            gelu: values::gelu,
            linear: products::linear,
            log_probs: values::log_probs,
            merge_rows: merges::merge_rows,
            rms_norm_parts: norms::rms_norm_parts,
            rotary: values::rotary,
            selective_scan: scans::selective_scan,
            softplus: values::softplus,
            ssd: scans::ssd,
        }
    };
}
