//! `utrc`: less important tokens leave for their most similar more important one; hybrid on hidden states, merge on the
//! residual. The method of Zhan et al. as their paper describes it.
//!
//! "Rethinking Token Reduction for State Space Models" (Zhan et al., EMNLP 2024,
//! <https://aclanthology.org/2024.emnlp-main.100>), section 4. Formula: importance `S_t = (1/D') sum_d max(0, y_td)`
//! (Eq. 5); the less important half is `M_A`, the other `M_B`; each `a` in `M_A` gets one edge to
//! `argmax_{b in M_B} cos(x_a, x_b)`; of the edges the strongest are used; on the hidden states a share `q` of them
//! prunes its source and the rest merges, on the residual all merge, at the same tokens.
//!
//! **Differs from the paper in**: the paper leaves open which of the used edges prune (option `pruned`, default the most
//! similar ones: they lose least) and which tensor is compared (option `match_on`, default the SSM output, the tensor that
//! the importance is computed from). Several sources of one target merge by one plain mean, not pair after pair, so that
//! their order does not matter. `n/2` is rounded down for the less important half. Where more than that half must leave,
//! further rounds follow. The released code does something else: see `utrc_released`.

use crate::blocks::importance::{IMPORTANCE_OPTION, Importance, SOURCE_OPTION, Source};
use crate::blocks::matching::{MATCH_WINDOW_OPTION, match_window};
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::registry::{Family, Registration};
use crate::rule::{Combine, Features, PairRule, Partition, Pruned, Rule};

const Q: OptionInfo = OptionInfo {
    name: "q",
    kind: OptionKind::Number { min: 0.0, max: 1.0 },
    default: OptionDefault::Number(0.5),
    help: "share of the used edges that prune on the hidden states; the others merge",
};

const PRUNED: OptionInfo = OptionInfo {
    name: "pruned",
    kind: OptionKind::Choice(&["most_similar", "least_similar", "least_important"]),
    default: OptionDefault::Word("most_similar"),
    help: "which of the used edges prune; the paper does not say",
};

const MATCH_ON: OptionInfo = OptionInfo {
    name: "match_on",
    kind: OptionKind::Choice(&["ssm_output", "scan_output", "block_output", "residual"]),
    default: OptionDefault::Word("ssm_output"),
    help: "the tensor that similarity is computed from",
};

inventory::submit! {
    Registration {
        name: "utrc",
        family: Family::Merging,
        version: 1,
        summary: "Each less important token leaves for its most similar more important one; a share q of them is pruned on \
                  the hidden states, all merge on the residual.",
        source: "Zhan et al., Rethinking Token Reduction for State Space Models, EMNLP 2024, \
                 https://aclanthology.org/2024.emnlp-main.100, section 4 (as described)",
        formula: "S_t = (1/D') sum_d max(0, y_td); A = lower half, B = upper half; b(a) = argmax_{b in B} cos(x_a, x_b); \
                  strongest edges: hidden: a share q dropped, the rest h_b <- mean(h_b, h_a..); residual: r_b <- mean(r_b, r_a..)",
        differs: "The paper does not say which used edges prune and which tensor is compared: options. y holds the skip D x, as in \
                  mamba_ssm; the paper's formula of the scan has none: scan_output is y - D x. One mean per target instead of pair \
                  after pair; further rounds where more than half are removed.",
        options: &[IMPORTANCE_OPTION, SOURCE_OPTION, Q, PRUNED, MATCH_ON, MATCH_WINDOW_OPTION],
        seeded: false,
        build: &build,
    }
}

fn build(options: &ResolvedOptions) -> Rule {
    let importance = Importance::from_options(options);
    let pruned = match options.word("pruned") {
        "most_similar" => Pruned::MostSimilar,
        "least_similar" => Pruned::LeastSimilar,
        _ => Pruned::LeastImportant(importance),
    };
    Rule::Pair(PairRule {
        partition: Partition::ByImportance(importance),
        features: Features {
            source: Source::from_word(options.word("match_on")),
            clip: false,
            window: match_window(options),
        },
        hidden: Combine::Hybrid { q: options.number("q"), pruned },
        residual: Combine::Mean,
    })
}
