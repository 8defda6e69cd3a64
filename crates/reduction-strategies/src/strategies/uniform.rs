//! `uniform`: evenly spaced tokens stay; the rest is dropped.
//!
//! The control without content and without chance. Formula: cut the span of the original positions of the unprotected
//! tokens into `n_keep` equal stretches; each keeps the token nearest to its centre. Where no token was removed yet these are the
//! places `floor((2 j + 1) n / (2 n_keep))`, `j = 0..n_keep`.
//!
//! Original positions, and not places among the survivors, keep repeated thinning even: if every site removed the same
//! relative places, each would remove the neighbours of what the one before it removed. Over seven sites of keep ratio
//! 0.93 seven tokens in a row would vanish where two are enough. A phase that differs from site to site does not cure that:
//! holes of two sites have different periods, so that they meet somewhere whatever their phases.

use crate::registry::{Family, Registration};
use crate::rule::{Placement, Rule, Score};

inventory::submit! {
    Registration {
        name: "uniform",
        family: Family::Control,
        version: 2,
        summary: "Control: evenly spaced tokens stay, the rest is dropped.",
        source: "control",
        formula: "keep = for each of n_keep equal stretches of the span of original positions the token nearest to its centre",
        differs: "",
        options: &[],
        seeded: false,
        build: &|_| Rule::Prune(Score::Position(Placement::Evenly)),
    }
}
