//! `drop_suffix`: the latest tokens are dropped.
//!
//! The control for rules that hurt what the model read last. Formula: keep the first `n_keep` unprotected tokens.

use crate::registry::{Family, Registration};
use crate::rule::{Placement, Rule, Score};

inventory::submit! {
    Registration {
        name: "drop_suffix",
        family: Family::Control,
        version: 1,
        summary: "Control: the latest tokens are dropped.",
        source: "control",
        formula: "keep = {0, .., n_keep-1}",
        differs: "",
        options: &[],
        seeded: false,
        build: &|_| Rule::Prune(Score::Position(Placement::First)),
    }
}
