//! What a run leaves on disk.

pub mod schema;
