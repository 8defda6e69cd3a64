//! Results of a sweep as plain data, without an engine: what `plan.json` says, one record per finished cell and probe, and the outcomes
//! of the guards. Nothing here knows how a number was computed.
//!
//! ```text
//! results/<experiment>/plan.json           plan::PlanIndex
//!                      cells/<id>.json     schema::CellRecord
//!                      task-items/<id>.json  task_items::TaskItems
//!                      probes.json         ids of all planned probes, in order
//!                      probes/<id>.json    probes::ProbeRecord
//!                      guards.json         guards::GuardRow, one per guard
//! ```
//!
//! [`check`] says whether a record is what its name says. [`files`] writes files whole or not at all; [`regular`] reads them.
//!
//! ```
//! use records::plan::PlanIndex;
//! use records::regular;
//!
//! let folder = std::env::temp_dir().join(format!("records-example-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! std::fs::write(folder.join("plan.json"), r#"{ "experiment": "smoke", "cells": ["5f0a"] }"#)?;
//!
//! let text = regular::read(&folder.join("plan.json"), regular::MAX_BYTES)?;
//! let plan: PlanIndex = serde_json::from_slice(&text)?;
//! assert_eq!((plan.experiment.as_str(), plan.baseline.as_str()), ("smoke", "dense"));
//! assert_eq!(plan.cells, ["5f0a"]);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bridge;
pub mod check;
pub mod claim;
pub mod code;
mod family;
pub mod files;
pub mod guards;
pub mod identity;
pub mod names;
mod once;
pub mod owner;
pub mod plan;
pub mod probes;
pub mod regular;
pub mod schema;
mod split;
pub mod task_items;

pub use family::Family;
pub use once::each_once;
pub use split::{SPLITS, Split};
