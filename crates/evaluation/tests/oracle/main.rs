//! Requests and scores of lm-evaluation-harness beside ours: `README.md`.

#[path = "../common/mod.rs"]
mod common;
mod requests;
mod scores;
