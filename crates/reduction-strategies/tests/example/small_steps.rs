//! `small_steps`: tokens with the smallest step sizes are dropped.
//!
//! <paper, year, link; upstream file @ commit>. Formula: keep the `n_keep` highest `S_t = (1/D) sum_d dt_td`, or, with
//! `invert: yes`, the `n_keep` lowest.
//!
//! **Differs from the paper in**: nothing is published; this is the example of `docs/adding-a-strategy.md`.

use crate::blocks::importance::{DT_MEAN, Importance, Source};
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::registry::{Family, Registration};
use crate::rule::{Extreme, Rule, Score};

const INVERT: OptionInfo = OptionInfo {
    name: "invert",
    kind: OptionKind::Choice(&["no", "yes"]),
    default: OptionDefault::Word("no"),
    help: "yes: the largest step sizes are dropped instead",
};

inventory::submit! {
    Registration {
        name: "small_steps",
        family: Family::StateAware,
        version: 1, // part of every trial id; an edited file is noticed without it
        summary: "Tokens with the smallest step sizes are dropped.",
        source: "docs/adding-a-strategy.md",
        formula: "S_t = (1/D) sum_d dt_td; keep = the n_keep highest S_t",
        differs: "Nothing is published.", // empty only for controls
        options: &[INVERT],
        seeded: false,
        build: &build,
    }
}

fn build(options: &ResolvedOptions) -> Rule {
    let importance = Importance::new(&DT_MEAN, Source::Dt);
    let keep = if options.word("invert") == "yes" { Extreme::Lowest } else { Extreme::Highest };
    Rule::Prune(Score::Importance { importance, keep })
}
