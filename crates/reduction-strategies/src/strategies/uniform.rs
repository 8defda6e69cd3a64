//! `uniform`: evenly spaced tokens stay; the rest is dropped.
//!
//! The control without content and without chance. Formula: keep the places `floor((2 j + 1) n / (2 n_keep))` for
//! `j = 0..n_keep`, counted among the unprotected tokens: the centres of `n_keep` equal stretches.

use crate::registry::{Registration, never_causal};
use crate::rule::{Placement, Rule, Score};

inventory::submit! {
    Registration {
        name: "uniform",
        version: 1,
        summary: "Control: evenly spaced tokens stay, the rest is dropped.",
        source: "control",
        formula: "keep = { floor((2j+1) n / (2 n_keep)) : j = 0..n_keep-1 }",
        differs: "",
        options: &[],
        seeded: false,
        causal: never_causal,
        build: |_| Rule::Prune(Score::Position(Placement::Evenly)),
    }
}
