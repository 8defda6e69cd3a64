//! What a run leaves on disk.

pub mod aside;
pub mod check;
pub(crate) mod files;
pub mod guards;
pub mod identity;
pub mod lease;
pub mod manifest;
pub(crate) mod marker;
pub mod owner;
pub mod parts;
pub mod probes;
pub(crate) mod regular;
pub(crate) mod review;
pub mod schema;
pub mod status;
pub mod store;
