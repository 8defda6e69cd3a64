//! `block_causal_random`: the control for `block_causal`: scores are random numbers, quotas and order of decision the same.
//!
//! Formula: as `block_causal` with `u_t ~ U[0, 1)` per token from (seed, item, site). Under the protocol `causal` it stands where
//! `random` stands elsewhere; the control without content is `block_causal` with `block: 1`.

use crate::blocks::online::{BLOCK_OPTION, REMOVED_OPTION, removed};
use crate::options::{OptionInfo, OptionKind, ResolvedOptions};
use crate::registry::{Family, Registration};
use crate::rule::{OnlineRule, OnlineScore, Rule};

/// In blocks of one nothing would be random.
const BLOCK: OptionInfo = OptionInfo { kind: OptionKind::Integer { min: 2, max: 65_536 }, ..BLOCK_OPTION };

inventory::submit! {
    Registration {
        name: "block_causal_random",
        family: Family::Control,
        version: 1,
        summary: "Control: as block_causal with random scores.",
        source: "control",
        formula: "u_t ~ U[0,1) from (seed, item, site) in place of the importance of block_causal",
        differs: "",
        options: &[BLOCK, REMOVED_OPTION],
        seeded: true,
        build: &build,
    }
}

fn build(options: &ResolvedOptions) -> Rule {
    Rule::Online(OnlineRule {
        score: OnlineScore::Random,
        block: options.integer("block").unsigned_abs() as usize,
        removed: removed(options),
    })
}
