//! Plans: which tokens stay and where the others go, as plain data.

use serde::{Deserialize, Serialize};
use ssm_kernels::ops::{MergeGroup, MergeRule};
use ssm_model::RowTime;

use crate::error::PlanError;

/// What happens to the values of one branch (hidden states or residual).
#[derive(Clone, Debug, PartialEq)]
pub struct BranchMerges {
    /// Groups, ascending by kept token.
    pub groups: Vec<MergeGroup>,
    /// How a group becomes one row.
    pub rule: MergeRule,
}

impl Default for BranchMerges {
    /// Nothing is merged.
    fn default() -> Self {
        Self { groups: Vec::new(), rule: MergeRule::WeightedMean }
    }
}

/// The fate of every token of one sequence at one site; valid by construction.
///
/// Kept tokens stay in order. The same tokens stay on both branches ([`Plan::with_residual_of`] departs from that); what the
/// removed ones leave behind may differ. A token that is neither kept nor merged is dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "PlanRecord", into = "PlanRecord")]
pub struct Plan {
    n_tokens: usize,
    keep: Vec<u32>,
    hidden: BranchMerges,
    residual: BranchMerges,
    residual_of: Option<Vec<u32>>,
    times: Vec<(u32, RowTime)>,
}

/// Sizes of the tokens after a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct SizesAfter {
    /// One size per kept token.
    pub kept: Vec<f32>,
    /// What was dropped without being merged anywhere; `kept` and this sum to what arrived.
    pub dropped: f32,
}

impl Plan {
    /// A plan from its parts.
    ///
    /// # Errors
    /// Kept tokens that do not increase strictly within `0..n_tokens`; a group whose token is not kept, that has no
    /// source or is out of order; a source that is kept or used twice on a branch; a weight that is not finite and
    /// positive (under [`MergeRule::ChannelTopHalf`] a source may weigh 0: its values enter, its count does not).
    pub fn new(
        n_tokens: usize,
        keep: Vec<u32>,
        hidden: BranchMerges,
        residual: BranchMerges,
    ) -> Result<Self, PlanError> {
        check_keep(&keep, n_tokens)?;
        check_branch("hidden", &hidden, n_tokens, &keep)?;
        check_branch("residual", &residual, n_tokens, &keep)?;
        Ok(Self { n_tokens, keep, hidden, residual, residual_of: None, times: Vec::new() })
    }

    /// Every token stays.
    #[must_use]
    pub fn identity(n_tokens: usize) -> Self {
        let keep = (0..n_tokens as u32).collect();
        let (hidden, residual) = (BranchMerges::default(), BranchMerges::default());
        Self { n_tokens, keep, hidden, residual, residual_of: None, times: Vec::new() }
    }

    /// The same plan with other tokens on the residual: the `i`-th kept token goes on with the residual of token `tokens[i]`. What
    /// the token is otherwise (position, size, hidden states) stays.
    ///
    /// # Errors
    /// Another number of tokens than are kept, tokens that do not increase strictly within the sequence, or a plan that merges on
    /// the residual.
    pub fn with_residual_of(mut self, tokens: Vec<u32>) -> Result<Self, PlanError> {
        if tokens.len() != self.keep.len() {
            return Err(PlanError::Count { got: tokens.len(), expected: self.keep.len() });
        }
        check_keep(&tokens, self.n_tokens)?;
        if let Some(group) = self.residual.groups.first() {
            let reason = "tokens that go on with another residual cannot take any in".to_owned();
            return Err(PlanError::Group { branch: "residual", into: group.into, reason });
        }
        self.residual_of = Some(tokens).filter(|tokens| *tokens != self.keep);
        Ok(self)
    }

    /// The same plan, after which some kept tokens last longer or shorter for the scans of later layers.
    ///
    /// # Errors
    /// Tokens that do not increase strictly or are not kept; factors that are not finite and positive.
    pub fn with_times(mut self, times: Vec<(u32, RowTime)>) -> Result<Self, PlanError> {
        for (entry, (token, time)) in times.iter().enumerate() {
            let in_order = entry == 0 || times[entry - 1].0 < *token;
            if !in_order || !time.is_valid() || self.keep.binary_search(token).is_err() {
                return Err(PlanError::Time { token: *token, decay: time.decay, write: time.write });
            }
        }
        self.times = times;
        Ok(self)
    }

    /// How long tokens last after the plan where that changes, ascending.
    #[must_use]
    pub fn times(&self) -> &[(u32, RowTime)] {
        &self.times
    }

    /// How long each kept token lasts after the plan.
    ///
    /// # Errors
    /// Another number of times than tokens.
    pub fn times_after(&self, times: &[RowTime]) -> Result<Vec<RowTime>, PlanError> {
        if times.len() != self.n_tokens {
            return Err(PlanError::Length { got: self.n_tokens, expected: times.len() });
        }
        if self.times.is_empty() {
            return Ok(self.keep.iter().map(|token| times[*token as usize]).collect());
        }
        let after = |token: &u32| {
            let changed = self.times.binary_search_by_key(token, |(token, _)| *token);
            changed.map_or(times[*token as usize], |entry| self.times[entry].1)
        };
        Ok(self.keep.iter().map(after).collect())
    }

    /// `keep` stays, the rest is dropped.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn prune(n_tokens: usize, keep: Vec<u32>) -> Result<Self, PlanError> {
        Self::new(n_tokens, keep, BranchMerges::default(), BranchMerges::default())
    }

    /// Number of tokens that arrive.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// Tokens that stay, strictly increasing.
    #[must_use]
    pub fn keep(&self) -> &[u32] {
        &self.keep
    }

    /// Tokens whose residual the kept ones go on with, one per kept token: themselves, but for [`Plan::with_residual_of`].
    #[must_use]
    pub fn residual_of(&self) -> &[u32] {
        self.residual_of.as_deref().unwrap_or(&self.keep)
    }

    /// Merges of the hidden states.
    #[must_use]
    pub fn hidden(&self) -> &BranchMerges {
        &self.hidden
    }

    /// Merges of the residual stream.
    #[must_use]
    pub fn residual(&self) -> &BranchMerges {
        &self.residual
    }

    /// Whether every token stays (and so nothing is merged).
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.keep.len() == self.n_tokens
    }

    /// Whether nothing is merged on either branch and every kept token goes on with its own residual: rows are chosen and nothing else.
    #[must_use]
    pub fn only_chooses(&self) -> bool {
        self.hidden.groups.is_empty() && self.residual.groups.is_empty() && self.residual_of.is_none()
    }

    /// Tokens that are neither kept nor merged on the hidden branch, ascending.
    #[must_use]
    pub fn dropped(&self) -> Vec<u32> {
        let merged = self.merged();
        let (mut keep, mut merged) = (self.keep.iter().peekable(), merged.iter().peekable());
        let mut stays =
            |token: &u32| keep.next_if_eq(&token).is_some() || merged.next_if(|pair| pair.0 == *token).is_some();
        let mut dropped = Vec::with_capacity(self.n_tokens - self.keep.len());
        dropped.extend((0..self.n_tokens as u32).filter(|token| !stays(token)));
        dropped
    }

    /// `(token, kept token it goes into)` on the hidden branch, ascending by token.
    #[must_use]
    pub fn merged(&self) -> Vec<(u32, u32)> {
        let mut pairs = Vec::new();
        for group in &self.hidden.groups {
            pairs.extend(group.sources.iter().map(|(source, _)| (*source, group.into)));
        }
        // A token is a source once at most, so that no two pairs are equal.
        pairs.sort_unstable();
        pairs
    }

    /// Sizes after the plan: the size of a removed token goes to the token that it is merged into, on the hidden branch
    /// or else on the residual one.
    ///
    /// # Errors
    /// Another number of sizes than tokens.
    pub fn sizes_after(&self, sizes: &[f32]) -> Result<SizesAfter, PlanError> {
        if sizes.len() != self.n_tokens {
            return Err(PlanError::Length { got: self.n_tokens, expected: sizes.len() });
        }
        // Where each token's size goes, as the place of a kept token. The hidden branch, written last, comes first.
        let mut place = vec![NOWHERE; self.n_tokens];
        for (kept, token) in self.keep.iter().enumerate() {
            place[*token as usize] = kept as u32;
        }
        for branch in [&self.residual, &self.hidden] {
            for group in &branch.groups {
                let into = place[group.into as usize];
                group.sources.iter().for_each(|(source, _)| place[*source as usize] = into);
            }
        }
        let mut kept = vec![0.0; self.keep.len()];
        let mut dropped = 0.0;
        for (size, place) in sizes.iter().zip(place) {
            *kept.get_mut(place as usize).unwrap_or(&mut dropped) += size;
        }
        Ok(SizesAfter { kept, dropped })
    }
}

/// The place of a token whose size goes to no kept one.
const NOWHERE: u32 = u32::MAX;

fn check_keep(keep: &[u32], n_tokens: usize) -> Result<(), PlanError> {
    for (entry, token) in keep.iter().enumerate() {
        if *token as usize >= n_tokens || (entry > 0 && keep[entry - 1] >= *token) {
            return Err(PlanError::Keep { entry, token: *token, n_tokens });
        }
    }
    Ok(())
}

fn check_branch(branch: &'static str, merges: &BranchMerges, n_tokens: usize, keep: &[u32]) -> Result<(), PlanError> {
    if merges.groups.is_empty() {
        return Ok(());
    }
    let mut used = vec![false; n_tokens];
    for token in keep {
        used[*token as usize] = true;
    }
    let positive = |weight: f32| weight.is_finite() && weight > 0.0;
    let counted = |weight: f32| positive(weight) || (weight == 0.0 && merges.rule != MergeRule::WeightedMean);
    let mut last: Option<u32> = None;
    for group in &merges.groups {
        let refuse = |reason: String| Err(PlanError::Group { branch, into: group.into, reason });
        if keep.binary_search(&group.into).is_err() {
            return refuse("the token is not kept".to_owned());
        }
        if last.is_some_and(|last| last >= group.into) {
            return refuse("groups must ascend, one per kept token".to_owned());
        }
        last = Some(group.into);
        if group.sources.is_empty() {
            return refuse("no sources".to_owned());
        }
        if !positive(group.own_weight) {
            return refuse(format!("own weight {} is not finite and positive", group.own_weight));
        }
        if group.sources.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return refuse("sources must ascend".to_owned());
        }
        for (source, weight) in &group.sources {
            match used.get_mut(*source as usize) {
                None => return refuse(format!("source {source} is outside the sequence")),
                Some(true) => return refuse(format!("source {source} is kept or already merged")),
                Some(slot) => *slot = true,
            }
            if !counted(*weight) {
                return refuse(format!("weight {weight} of source {source} is not finite and positive"));
            }
        }
    }
    Ok(())
}

/// The form in which a plan is written down; reading one back checks it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanRecord {
    n_tokens: usize,
    keep: Vec<u32>,
    hidden: BranchRecord,
    residual: BranchRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    residual_of: Option<Vec<u32>>,
    /// `(token, decay, write)`
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    times: Vec<(u32, f32, f32)>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BranchRecord {
    rule: RuleRecord,
    groups: Vec<GroupRecord>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RuleRecord {
    WeightedMean,
    ChannelTopHalf { kept: usize },
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupRecord {
    into: u32,
    own_weight: f32,
    sources: Vec<(u32, f32)>,
}

impl From<Plan> for PlanRecord {
    fn from(plan: Plan) -> Self {
        Self {
            n_tokens: plan.n_tokens,
            keep: plan.keep,
            hidden: plan.hidden.into(),
            residual: plan.residual.into(),
            residual_of: plan.residual_of,
            times: plan.times.into_iter().map(|(token, time)| (token, time.decay, time.write)).collect(),
        }
    }
}

impl TryFrom<PlanRecord> for Plan {
    type Error = PlanError;

    fn try_from(record: PlanRecord) -> Result<Self, PlanError> {
        let times = record.times.into_iter().map(|(token, decay, write)| (token, RowTime { decay, write }));
        let plan = Self::new(record.n_tokens, record.keep, record.hidden.into(), record.residual.into())?
            .with_times(times.collect())?;
        match record.residual_of {
            Some(tokens) => plan.with_residual_of(tokens),
            None => Ok(plan),
        }
    }
}

impl From<BranchMerges> for BranchRecord {
    fn from(merges: BranchMerges) -> Self {
        let rule = match merges.rule {
            MergeRule::WeightedMean => RuleRecord::WeightedMean,
            MergeRule::ChannelTopHalf { kept } => RuleRecord::ChannelTopHalf { kept },
        };
        let groups = merges.groups.into_iter();
        let groups = groups
            .map(|group| GroupRecord { into: group.into, own_weight: group.own_weight, sources: group.sources })
            .collect();
        Self { rule, groups }
    }
}

impl From<BranchRecord> for BranchMerges {
    fn from(record: BranchRecord) -> Self {
        let rule = match record.rule {
            RuleRecord::WeightedMean => MergeRule::WeightedMean,
            RuleRecord::ChannelTopHalf { kept } => MergeRule::ChannelTopHalf { kept },
        };
        let groups = record.groups.into_iter();
        let groups = groups
            .map(|group| MergeGroup { into: group.into, own_weight: group.own_weight, sources: group.sources })
            .collect();
        Self { groups, rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(groups: &[(u32, &[u32])]) -> BranchMerges {
        let group = |(into, sources): &(u32, &[u32])| MergeGroup {
            into: *into,
            own_weight: 1.0,
            sources: sources.iter().map(|source| (*source, 1.0)).collect(),
        };
        BranchMerges { groups: groups.iter().map(group).collect(), rule: MergeRule::WeightedMean }
    }

    #[test]
    fn sizes_follow_the_hidden_branch_first() {
        let plan = Plan::new(6, vec![1, 4], mean(&[(1, &[0])]), mean(&[(1, &[3]), (4, &[0])])).unwrap();
        let after = plan.sizes_after(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]).unwrap();
        assert_eq!(after, SizesAfter { kept: vec![11.0, 16.0], dropped: 36.0 });
        assert_eq!(plan.dropped(), [2, 3, 5]);
        assert_eq!(plan.merged(), [(0, 1)]);
        assert!(plan.sizes_after(&[1.0]).is_err());
    }

    #[test]
    fn impossible_plans_are_refused() {
        assert!(matches!(Plan::prune(3, vec![1, 1]), Err(PlanError::Keep { entry: 1, .. })));
        assert!(matches!(Plan::prune(3, vec![2, 1]), Err(PlanError::Keep { .. })));
        assert!(matches!(Plan::prune(3, vec![3]), Err(PlanError::Keep { .. })));
        let none = BranchMerges::default;
        let refused = |merges: BranchMerges| {
            Plan::new(5, vec![1, 3], merges.clone(), none()).is_err()
                && Plan::new(5, vec![1, 3], none(), merges).is_err()
        };
        assert!(refused(mean(&[(0, &[2])])), "into a removed token");
        assert!(refused(mean(&[(3, &[2]), (1, &[0])])), "groups out of order");
        assert!(refused(mean(&[(1, &[0]), (1, &[2])])), "two groups of one token");
        assert!(refused(mean(&[(1, &[3])])), "a kept source");
        assert!(refused(mean(&[(1, &[1])])), "a token into itself");
        assert!(refused(mean(&[(1, &[0]), (3, &[0])])), "a source used twice");
        assert!(refused(mean(&[(1, &[2, 0])])), "sources out of order");
        assert!(refused(mean(&[(1, &[5])])), "a source outside");
        assert!(refused(mean(&[(1, &[])])), "no sources");
        for weight in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let mut merges = mean(&[(1, &[0])]);
            merges.groups[0].sources[0].1 = weight;
            assert!(refused(merges), "weight {weight}");
            let mut merges = mean(&[(1, &[0])]);
            merges.groups[0].own_weight = weight;
            assert!(refused(merges), "own weight {weight}");
        }
        assert!(!refused(mean(&[(1, &[0, 2]), (3, &[4])])));
    }

    #[test]
    fn tokens_may_go_on_with_the_residual_of_others() {
        let plan = || Plan::prune(5, vec![1, 3]).unwrap();
        assert_eq!(plan().residual_of(), [1, 3]);
        let apart = plan().with_residual_of(vec![0, 4]).unwrap();
        assert_eq!((apart.keep(), apart.residual_of(), apart.dropped()), (&[1, 3][..], &[0, 4][..], vec![0, 2, 4]));
        assert_eq!(plan().with_residual_of(vec![1, 3]).unwrap(), plan());
        assert!(matches!(plan().with_residual_of(vec![1]), Err(PlanError::Count { got: 1, expected: 2 })));
        assert!(matches!(plan().with_residual_of(vec![3, 1]), Err(PlanError::Keep { entry: 1, .. })));
        let merging = Plan::new(5, vec![1, 3], BranchMerges::default(), mean(&[(1, &[0])])).unwrap();
        assert!(matches!(merging.with_residual_of(vec![0, 1]), Err(PlanError::Group { branch: "residual", .. })));
    }

    #[test]
    fn a_plan_survives_writing_and_reading_checks_it() {
        let mut hidden = mean(&[(1, &[0, 2])]);
        hidden.rule = MergeRule::ChannelTopHalf { kept: 1 };
        let plan = Plan::new(4, vec![1, 3], hidden, mean(&[(3, &[2])])).unwrap();
        let written = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&written).unwrap(), plan);
        assert!(!written.contains("residual_of"), "{written}");
        let apart = Plan::prune(4, vec![1, 3]).unwrap().with_residual_of(vec![0, 3]).unwrap();
        let apart_written = serde_json::to_string(&apart).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&apart_written).unwrap(), apart);
        let spoiled = written.replace("\"keep\":[1,3]", "\"keep\":[3,1]");
        let error = serde_json::from_str::<Plan>(&spoiled).unwrap_err();
        assert!(error.to_string().contains("strictly"), "{error}");
    }
}
