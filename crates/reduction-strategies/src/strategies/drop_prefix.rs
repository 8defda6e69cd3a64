//! `drop_prefix`: the earliest tokens are dropped.
//!
//! The control for rules that thin the start of the sequence, as the released code of Zhan et al. does (see
//! `utrc_released`). Formula: keep the last `n_keep` unprotected tokens.

use crate::registry::{Family, Registration};
use crate::rule::{Placement, Rule, Score};

inventory::submit! {
    Registration {
        name: "drop_prefix",
        family: Family::Control,
        version: 1,
        summary: "Control: the earliest tokens are dropped.",
        source: "control",
        formula: "keep = {n - n_keep, .., n-1}",
        differs: "",
        options: &[],
        seeded: false,
        build: &|_| Rule::Prune(Score::Position(Placement::Last)),
    }
}
