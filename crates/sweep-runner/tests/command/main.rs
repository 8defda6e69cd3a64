//! The program on its command line, and the pages that say what it does. One program of many tests: each would link the engine and the
//! frames again, and take a hundred megabytes. A test that needs its own process is a file beside this folder.

mod achieved;
mod bench;
mod benchmarks;
mod careful;
mod claims;
mod cli;
mod damage;
mod datasets;
mod desk;
mod digests;
mod docs;
mod fit;
mod hub;
mod items;
mod lm_eval;
mod names;
mod own_tasks;
mod probes;
mod random;
#[cfg(feature = "hub")]
#[path = "../../../hub/tests/server/mod.rs"]
mod server;
mod slurm;
mod streams;
mod submit;
mod survival;
mod workers;
