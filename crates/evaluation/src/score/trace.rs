//! What the strategies did, gathered over batches for the records.

use std::collections::BTreeMap;

use reduction_strategies::Plan;
use serde::{Deserialize, Serialize};

/// One site, summed over the evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SiteTotals {
    /// 0-based layer.
    pub site: usize,
    /// Tokens that arrived in reducible sequences.
    pub tokens_in: u64,
    /// Tokens that left them.
    pub tokens_out: u64,
    /// Mean cosine similarity of merged pairs on the hidden branch.
    pub merged_similarity: Option<f64>,
}

/// What was decided for one item at one site, in original positions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemPlan {
    /// Index of the item.
    pub item: usize,
    /// 0-based layer.
    pub site: usize,
    /// Positions of the tokens kept by the site.
    pub kept: Vec<u32>,
    /// Positions dropped here.
    pub dropped: Vec<u32>,
    /// `(position, into)` of positions merged here on the hidden branch.
    pub merged: Vec<(u32, u32)>,
}

/// What happened to one reducible sequence at one site.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// 0-based layer.
    pub(crate) site: usize,
    /// Tokens that arrived.
    pub(crate) tokens_in: u64,
    /// Tokens that left.
    pub(crate) tokens_out: u64,
    /// Mean cosine similarity of merged pairs; none where nothing was merged.
    pub(crate) merged_similarity: Option<f64>,
    /// What was decided; there only where the sequence's item is recorded.
    pub(crate) decision: Option<Decision>,
}

/// A plan in original positions.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    kept: Vec<u32>,
    dropped: Vec<u32>,
    merged: Vec<(u32, u32)>,
}

impl Decision {
    /// `plan` for a sequence whose tokens have these original positions.
    pub(crate) fn new(plan: &Plan, positions: &[u32]) -> Self {
        let at = |index: &u32| positions[*index as usize];
        Self {
            kept: plan.keep().iter().map(at).collect(),
            dropped: plan.dropped().iter().map(at).collect(),
            merged: plan.merged().iter().map(|(source, into)| (at(source), at(into))).collect(),
        }
    }
}

/// Everything that happened at the sites, in the order of the layout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Traces {
    sites: BTreeMap<usize, Site>,
    /// By item and site. Of an item's reducible sequences only the first one is recorded.
    plans: BTreeMap<usize, BTreeMap<usize, ItemPlan>>,
}

/// One site. Similarities are kept one by one: the bits of their sum depend on its order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Site {
    tokens_in: u64,
    tokens_out: u64,
    /// Bits of the mean similarity of each sequence that merged something.
    similarities: Vec<u64>,
}

impl Traces {
    /// Adds one sequence. Sequences come in the order of the layout, whatever batches they ran in. Under `upstream` that is longest
    /// first, and of an item's several sequences the plan of the first one is kept.
    pub(crate) fn add_step(&mut self, item: usize, step: Step) {
        let site = self.sites.entry(step.site).or_default();
        site.tokens_in += step.tokens_in;
        site.tokens_out += step.tokens_out;
        site.similarities.extend(step.merged_similarity.map(f64::to_bits));
        if let Some(Decision { kept, dropped, merged }) = step.decision {
            self.add_plan(ItemPlan { item, site: step.site, kept, dropped, merged });
        }
    }

    fn add_plan(&mut self, plan: ItemPlan) {
        self.plans.entry(plan.item).or_default().entry(plan.site).or_insert(plan);
    }

    /// Adds what follows in the layout.
    pub(crate) fn append(&mut self, next: Self) {
        for (index, site) in next.sites {
            let own = self.sites.entry(index).or_default();
            own.tokens_in += site.tokens_in;
            own.tokens_out += site.tokens_out;
            own.similarities.extend(site.similarities);
        }
        for plan in next.plans.into_values().flat_map(BTreeMap::into_values) {
            self.add_plan(plan);
        }
    }

    pub(crate) fn sites(&self) -> Vec<SiteTotals> {
        let totals = self.sites.iter().map(|(index, site)| {
            let (sum, count) = site
                .similarities
                .iter()
                .fold((0.0, 0_u64), |(sum, count), similarity| (sum + f64::from_bits(*similarity), count + 1));
            SiteTotals {
                site: *index,
                tokens_in: site.tokens_in,
                tokens_out: site.tokens_out,
                merged_similarity: (count > 0).then(|| sum / count as f64),
            }
        });
        totals.collect()
    }

    /// By item, then site.
    pub(crate) fn plans(self) -> Vec<ItemPlan> {
        self.plans.into_values().flat_map(BTreeMap::into_values).collect()
    }
}
