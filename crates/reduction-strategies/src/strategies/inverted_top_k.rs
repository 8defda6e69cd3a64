//! `inverted_top_k`: the most important tokens are dropped.
//!
//! The control for an importance: where it is worth anything, removing what it calls most important must hurt more than
//! removing the least important (`top_k`) or random tokens. Formula: keep the `n_keep` lowest `S_t`.

use crate::blocks::importance::{IMPORTANCE_OPTION, Importance, SOURCE_OPTION};
use crate::registry::{Family, Registration};
use crate::rule::{Extreme, Rule, Score};

inventory::submit! {
    Registration {
        name: "inverted_top_k",
        family: Family::Control,
        version: 1,
        summary: "Control: the most important tokens are dropped, the least important stay.",
        source: "control",
        formula: "keep = the n_keep lowest S_t, with S_t as in top_k",
        differs: "",
        options: &[IMPORTANCE_OPTION, SOURCE_OPTION],
        seeded: false,
        build: &|options| {
            Rule::Prune(Score::Importance { importance: Importance::from_options(options), keep: Extreme::Lowest })
        },
    }
}
