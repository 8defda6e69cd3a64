//! What a run leaves on disk.

pub mod guards;
pub mod manifest;
pub mod schema;
pub mod store;
