//! How an evaluation runs: one cell after the other ([`evaluate()`]), or many at once ([`executor`]).

mod drive;
mod driven;
mod evaluate;
pub mod executor;
mod forward;
pub mod influence;
mod layer;
mod layers;
mod located;
#[cfg(feature = "cuda")]
mod on_gpu;
mod reduction;
mod setup;
pub(crate) mod signal_from;

pub use evaluate::{evaluate, evaluate_oracle, evaluate_span};
pub use forward::{Prefilled, forward, prefill};
pub use reduction::Reduction;
pub use setup::{Settings, Setup};
pub use signal_from::{SIGNAL_FROM, SignalFrom};

pub(crate) use drive::{SiteObserver, drive, drive_observed};
pub(crate) use driven::Driven;
pub(crate) use influence::leave_one_out;
pub(crate) use layer::{Check, LayerInput, RowTokens, Wanted, run_layer};
pub(crate) use layers::{Observer, PackedStream, Shown, run_layers};
pub(crate) use located::located;
