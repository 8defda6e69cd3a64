//! The interpreters of rules: on the host, and on a GPU.

#[cfg(feature = "cuda")]
pub mod gpu;
mod host;

pub(crate) use host::plan_of;
pub use host::{n_kept, n_kept_of, plan_blind, plan_sequence, plan_site};
