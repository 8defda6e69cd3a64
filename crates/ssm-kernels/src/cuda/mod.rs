//! Launching this crate's own kernels on the tensor library's device, stream and memory.

mod addresses;
mod args;
mod boxes;
mod download;
mod gpu;
mod image;
mod open;
pub(crate) mod profile;
mod rows;
mod tables;

pub(crate) use args::{Arg, rows_of};
pub(crate) use boxes::boxes;
pub(crate) use download::{download, words};
pub(crate) use gpu::{Gpu, Grid, suffix};
pub(crate) use image::{Image, image};
pub use open::{count, open};
pub(crate) use open::{memory, multiprocessors, name, shared_limit, take_peak_memory, used_memory};
pub(crate) use rows::{RowShape, is_wide};
pub(crate) use tables::{DeviceTables, OnDevices};
