//! `dense`: every token stays. The baseline of every comparison.

use crate::registry::{Registration, never_causal};
use crate::rule::Rule;

inventory::submit! {
    Registration {
        name: "dense",
        version: 1,
        summary: "Baseline: every token stays, whatever the keep ratio.",
        source: "control",
        formula: "keep = {0, .., n-1}",
        differs: "",
        options: &[],
        seeded: false,
        causal: never_causal,
        build: |_| Rule::Identity,
    }
}
