//! Which tokens are removed, where and how many.

use reduction_strategies::blocks::importance::Widths;
use reduction_strategies::{Draw, Plan, PlanError, Rule, SegmentTokens, SitePlan, plan_blind};
use ssm_model::ModelConfig;

use super::signal_from::SignalFrom;
use crate::batch::Positions;

/// Which tokens are removed, where and how many.
#[derive(Clone, Debug)]
pub struct Reduction {
    /// The strategy's rule.
    pub rule: Rule,
    /// Share of the reducible tokens that is kept at each site. A rule of free count does not read it.
    pub keep_ratio: f64,
    /// 0-based layers after which tokens are reduced, ascending.
    pub sites: Vec<usize>,
    /// Seed of everything random in the rule.
    pub seed: u64,
    /// Positions of the kept tokens, where the model reads them.
    pub positions: Positions,
    /// Which layer shows the rule what it reads at a site.
    pub signal_from: SignalFrom,
}

impl Reduction {
    /// No reduction at all.
    #[must_use]
    pub fn dense() -> Self {
        Self {
            rule: Rule::Identity,
            keep_ratio: 1.0,
            sites: Vec::new(),
            seed: 0,
            positions: Positions::Original,
            signal_from: SignalFrom::Site,
        }
    }

    /// Whether it may remove a token.
    pub(crate) fn reduces(&self) -> bool {
        !self.sites.is_empty() && (self.keep_ratio < 1.0 || self.rule.count().is_free())
    }

    /// The plans of a rule that looks at no value, from the tokens that arrive at a site. `item`: what draws depend on, where it is not the
    /// item of the tokens.
    pub(crate) fn plan_blindly(
        &self,
        site: usize,
        tokens: &[SegmentTokens],
        item: Option<u64>,
    ) -> Result<SitePlan, PlanError> {
        let plan = |tokens: &SegmentTokens| {
            let draw = Draw { seed: self.seed, item: item.unwrap_or(tokens.item), site };
            tokens.reducible.then(|| plan_blind(&self.rule, self.keep_ratio, draw, tokens)).transpose()
        };
        Ok(SitePlan { plans: tokens.iter().map(plan).collect::<Result<_, _>>()? })
    }

    /// The same sites with everything kept.
    pub(crate) fn keeping_all(&self) -> Self {
        // No ratio makes a rule of free count keep everything.
        let rule = if self.rule.count().is_free() { Rule::Identity } else { self.rule.clone() };
        Self { rule, keep_ratio: 1.0, ..self.clone() }
    }
}

/// FLOPs of the matching behind the plans of a site. `arriving`: the tokens of each segment.
pub(crate) fn matching(
    rule: &Rule,
    config: &ModelConfig,
    site: usize,
    arriving: &[SegmentTokens],
    plans: &[Option<Plan>],
) -> f64 {
    let (d_model, layer) = (config.d_model, &config.layers[site]);
    let widths = Widths { d_model, d_inner: layer.d_inner(d_model), dt: layer.dt_width(d_model) };
    let planned = arriving.iter().zip(plans).filter_map(|(tokens, plan)| Some((tokens, plan.as_ref()?)));
    let flops = planned.map(|(tokens, plan)| {
        let n = tokens.protected.iter().filter(|protected| !**protected).count();
        rule.matching_flops(n, n - (plan.n_tokens() - plan.keep().len()), widths)
    });
    flops.sum()
}
