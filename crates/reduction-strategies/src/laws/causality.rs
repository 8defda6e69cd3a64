//! Whether a rule decides and merges for token t from tokens up to t alone.

use ssm_kernels::ops::MergeGroup;

use super::SEED;
use super::cases::{Kind, Sequence};
use crate::error::PlanError;
use crate::interpret::plan_sequence;
use crate::plan::{BranchMerges, Plan};
use crate::rule::{Causality, Rule};

/// What a plan says about the tokens before `end`: who stays, and what is merged into them on each branch.
fn before(plan: &Plan, end: usize) -> (Vec<u32>, [Vec<MergeGroup>; 2]) {
    let early = |token: &u32| (*token as usize) < end;
    let groups = |branch: &BranchMerges| branch.groups.iter().filter(|g| early(&g.into)).cloned().collect();
    let keep = plan.keep().iter().copied().filter(early).collect();
    (keep, [groups(plan.hidden()), groups(plan.residual())])
}

/// The first breach of causality that is found, in words. A merge of a later token into an earlier one is a breach
/// whatever else holds; so is anything before `end` that changes when tokens from `end` on change. When they vanish or
/// arrive, what may change is within the block that they leave unfinished or fill up.
///
/// # Errors
/// The rule makes no plan.
pub fn breach_of_causality(rule: &Rule, claim: Causality, keep_ratio: f64) -> Result<Option<String>, PlanError> {
    let block = match claim {
        Causality::WithinBlock(block) => block,
        Causality::None | Causality::Streaming => 1,
    };
    let n = 48;
    let sequence = Sequence::new(11, n, Kind::Plain);
    let longer = Sequence::new(13, n + 17, Kind::Plain);
    let plan = |sequence: &Sequence| plan_sequence(rule, &sequence.view(SEED), keep_ratio);
    let whole = plan(&sequence)?;
    for group in whole.hidden().groups.iter().chain(&whole.residual().groups) {
        if let Some((source, _)) = group.sources.iter().find(|(source, _)| *source > group.into) {
            return Ok(Some(format!("token {source} is merged into the earlier token {}", group.into)));
        }
    }
    for end in 1..=n {
        let changed = sequence.with_later_tokens_of(end, &Sequence::new(12, n, Kind::Plain));
        // Arriving tokens fill up the block in which the sequence ended.
        let last = n - n % block;
        let others = [
            ("change", end, plan(&changed)?),
            ("vanish", end - end % block, plan(&sequence.prefix(end))?),
            ("arrive", end.min(last), plan(&sequence.with_later_tokens_of(end, &longer))?),
        ];
        for (event, end, other) in others {
            if before(&other, end) != before(&whole, end) {
                return Ok(Some(format!("the fate of tokens before {end} changes when later tokens {event}")));
            }
        }
    }
    Ok(None)
}
