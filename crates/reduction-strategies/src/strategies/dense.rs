//! `dense`: every token stays. The baseline of every comparison, and causal: nothing is
//! decided at all.

use crate::registry::{Family, Registration};
use crate::rule::Rule;

inventory::submit! {
    Registration {
        name: "dense",
        family: Family::Baseline,
        version: 1,
        summary: "Baseline: every token stays, whatever the keep ratio.",
        source: "control",
        formula: "keep = {0, .., n-1}",
        differs: "",
        options: &[],
        seeded: false,
        build: &|_| Rule::Identity,
    }
}
