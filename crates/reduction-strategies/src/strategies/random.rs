//! `random`: a uniformly random set of tokens stays; the rest is dropped.
//!
//! The control for every importance: V-CoLA (2026) and `UniPruneBench` (<https://arxiv.org/abs/2511.02650>) report random
//! pruning as hard to beat. Use several seeds. Formula: `u_t ~ U[0, 1)` per token from (seed, item, site), keep the
//! `n_keep` highest.

use crate::registry::{Family, Registration};
use crate::rule::{Rule, Score};

inventory::submit! {
    Registration {
        name: "random",
        family: Family::Control,
        version: 1,
        summary: "Control: a uniformly random set of tokens stays, the rest is dropped.",
        source: "control",
        formula: "u_t ~ U[0,1) from (seed, item, site); keep = the n_keep highest u_t",
        differs: "",
        options: &[],
        seeded: true,
        build: &|_| Rule::Prune(Score::Random),
    }
}
