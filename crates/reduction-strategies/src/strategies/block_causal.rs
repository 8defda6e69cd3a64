//! `block_causal`: any importance, decided token by token from what came before.
//!
//! A ranking over the whole sequence looks ahead: a token stays or leaves because of what follows. Here blocks of `block`
//! tokens have a fixed quota each, and inside a block token `t` stays if its score is high enough among the tokens before it
//! for what is left of the quota ([`crate::blocks::online`]). Nothing about token `t` follows from later tokens but where the
//! sequence ends, and that only in the last block. `block: 1` leaves the quota alone to decide: evenly spaced places, the control
//! without content.
//!
//! Small blocks spread what is kept evenly, large ones let importance choose. `removed: merge` carries a token that leaves into
//! the next one that stays (a later place, so nothing flows back); `removed: drop` drops it. A rule that pairs tokens has no
//! scores of single tokens: its causal relative is `local_merge` with `decide: online`.

use crate::blocks::importance::{CAUSAL_IMPORTANCE_OPTION, Importance, SOURCE_OPTION};
use crate::blocks::online::{BLOCK_OPTION, REMOVED_OPTION, removed};
use crate::options::ResolvedOptions;
use crate::registry::{Family, Registration};
use crate::rule::{OnlineRule, OnlineScore, Rule};

inventory::submit! {
    Registration {
        name: "block_causal",
        family: Family::Merging,
        version: 1,
        summary: "Causal: each token stays or leaves by its importance among the tokens before it, with a quota per block.",
        source: "causal counterpart of top_k",
        formula: "quota(block) = ceil(keep_ratio e) - ceil(keep_ratio b) from token b to e; with Q left for R tokens and g of the m \
                  tokens before t scoring as high: keep t iff Q > 0 and (Q = R or g/(m+1) < Q/R)",
        differs: "The highest scores so far stay, not the highest of all; the quota forces some at the end of a block.",
        options: &[CAUSAL_IMPORTANCE_OPTION, SOURCE_OPTION, BLOCK_OPTION, REMOVED_OPTION],
        seeded: false,
        build: &build,
    }
}

fn build(options: &ResolvedOptions) -> Rule {
    Rule::Online(OnlineRule {
        score: OnlineScore::Importance(Importance::from_options(options)),
        block: options.integer("block").unsigned_abs() as usize,
        removed: removed(options),
    })
}
