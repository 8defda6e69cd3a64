//! What a run leaves on disk.

pub(crate) mod files;
pub mod guards;
pub mod identity;
pub mod lease;
pub mod manifest;
pub mod owner;
pub mod parts;
pub mod probes;
pub mod schema;
pub mod status;
pub mod store;
