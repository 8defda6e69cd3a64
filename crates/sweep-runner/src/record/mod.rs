//! The results folder as a run writes it: who works on it, what is finished, what can be reused. The records themselves are plain data of
//! the crate `records`.

pub mod aside;
pub mod calibrations;
pub mod lease;
pub mod manifest;
pub(crate) mod marker;
pub mod parts;
pub mod probes;
pub(crate) mod review;
pub mod status;
pub mod store;
