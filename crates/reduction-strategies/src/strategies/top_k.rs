//! `top_k`: the most important tokens stay; the rest is dropped.
//!
//! After `EViT` (Liang et al., ICLR 2022, <https://arxiv.org/abs/2202.07800>), with an importance that a state space
//! model has; the paper by Zhan et al. (EMNLP 2024, <https://aclanthology.org/2024.emnlp-main.100>) compares with such
//! a baseline. Formula: keep the `n_keep` highest `S_t`, by default Eq. 5 of Zhan et al.,
//! `S_t = (1/D') sum_d max(0, y_td)` over the SSM output `y`.
//!
//! **Differs from the paper in**: `EViT` ranks by the attention of the class token and merges the removed tokens into one;
//! a causal model has no class token, and nothing is merged here. The released baseline of Zhan et al. keeps the *least*
//! important tokens: see `evit_released`.

use crate::blocks::importance::{IMPORTANCE_OPTION, Importance, SOURCE_OPTION};
use crate::registry::{Family, Registration};
use crate::rule::{Extreme, Rule, Score};

inventory::submit! {
    Registration {
        name: "top_k",
        family: Family::Pruning,
        version: 1,
        summary: "The most important tokens stay, the rest is dropped.",
        source: "EViT, Liang et al., ICLR 2022, https://arxiv.org/abs/2202.07800; importance: Zhan et al., EMNLP 2024, Eq. 5",
        formula: "S_t = (1/D') sum_d max(0, y_td); keep = the n_keep highest S_t",
        differs: "No class-token attention (a causal model has none) and no fused token for what is removed. y holds the skip D x, as in \
                  mamba_ssm; the paper's formula of the scan has none: source: scan_output is y - D x.",
        options: &[IMPORTANCE_OPTION, SOURCE_OPTION],
        seeded: false,
        build: &|options| {
            Rule::Prune(Score::Importance { importance: Importance::from_options(options), keep: Extreme::Highest })
        },
    }
}
