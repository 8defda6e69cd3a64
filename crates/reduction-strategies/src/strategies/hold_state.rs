//! `hold_state`: the most important tokens stay; where a token is missing the scan holds its state.
//!
//! `ToP-ViM` (Zhan et al., *Exploring Token Pruning in Vision State Space Models*, `NeurIPS` 2024,
//! <https://arxiv.org/abs/2409.18962>; ZLKong/ToP-ViM): a pruned position keeps its place in every scan order and hands on the
//! state of the position before it, `h_t = h_{t-1}`. Formula: keep the `n_keep` highest `S_t = (1/D') sum_d max(0, y_td)`
//! over the SSM output.
//!
//! Text has one scan order, and there holding the state and leaving the position out are the same: `h_t = h_{t-1}` for a
//! removed `t` gives every later position the state that the shorter sequence gives it (`tests::holding_is_dropping`). So this
//! is the rule of `top_k` with that paper's importance, under its own name: a table that compares the two would compare a
//! method with itself. To keep the decay of a removed token instead of the state, see `state_merge`.
//!
//! **Differs from the paper in**: one scan order, so no alignment is needed. The convolution before each scan sees the
//! neighbours that are left. No fine-tuning after pruning.

use crate::blocks::importance::{Importance, Source, CLIP};
use crate::registry::{Family, Registration};
use crate::rule::{Extreme, Rule, Score};

inventory::submit! {
    Registration {
        name: "hold_state",
        family: Family::StateAware,
        version: 1,
        summary: "The most important tokens stay; at a missing one the scan holds its state, which in one scan order is dropping it.",
        source: "ToP-ViM, Zhan et al., NeurIPS 2024, https://arxiv.org/abs/2409.18962; ZLKong/ToP-ViM",
        formula: "S_t = (1/D') sum_d max(0, y_td); keep = the n_keep highest S_t; h_t = h_(t-1) at a removed t",
        differs: "One scan order, where holding the state equals leaving the position out: the plans are those of top_k. The \
                  convolution sees the neighbours that are left; no fine-tuning.",
        options: &[],
        seeded: false,
        build: &|_| {
            let importance = Importance::new(&CLIP, Source::SsmOutput);
            Rule::Prune(Score::Importance { importance, keep: Extreme::Highest })
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::registry::Strategy;

    #[test]
    fn the_plans_are_those_of_top_k() {
        let rule = |name| Strategy::new(name, &BTreeMap::new()).unwrap().rule().fingerprint();
        assert_eq!(rule("hold_state"), rule("top_k"));
    }

    /// States after each kept position: of the whole sequence with held states, and of the shorter sequence.
    #[test]
    fn holding_is_dropping() {
        let (dt, write) = ([0.5_f64, 0.1, 0.9, 0.3, 0.7], [1.0_f64, -2.0, 0.5, 3.0, -1.0]);
        let kept = [true, false, true, false, true];
        let (mut held, mut shorter) = (0.0_f64, 0.0_f64);
        for ((dt, write), kept) in dt.into_iter().zip(write).zip(kept) {
            let step = |h: f64, dt: f64| (-dt).exp() * h + dt * write;
            // In its place, with a step of no length, a removed position holds the state.
            held = step(held, if kept { dt } else { 0.0 });
            if kept {
                shorter = step(shorter, dt);
                assert_eq!(held.to_bits(), shorter.to_bits());
            }
        }
    }
}
