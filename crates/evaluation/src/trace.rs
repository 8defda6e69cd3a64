//! What the strategies did, gathered over batches for the records.

use std::collections::BTreeMap;

use reduction_strategies::Plan;

use crate::drive::Driven;
use crate::protocol::Batch;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemPlan {
    /// Index of the item.
    pub item: usize,
    /// 0-based layer.
    pub site: usize,
    /// Positions that leave the site.
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

pub(crate) struct Traces {
    recorded: usize,
    sites: BTreeMap<usize, (SiteTotals, f64, u64)>,
    /// By item and site; only an item's first reducible sequence is recorded.
    plans: BTreeMap<(usize, usize), ItemPlan>,
}

impl Traces {
    pub(crate) fn new(recorded: usize) -> Self {
        Self { recorded, sites: BTreeMap::new(), plans: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, batch: &Batch, driven: &Driven) {
        for trace in &driven.sites {
            for (segment, plan) in trace.plan.plans.iter().enumerate() {
                let Some(plan) = plan else { continue };
                let item = batch.table.segments[segment].item as usize;
                let positions = &trace.arriving.segments[segment].positions;
                let step = Step {
                    site: trace.site,
                    tokens_in: plan.n_tokens() as u64,
                    tokens_out: plan.keep().len() as u64,
                    merged_similarity: trace.merged_similarity[segment],
                    decision: (item < self.recorded).then(|| Decision::new(plan, positions)),
                };
                self.add_step(item, &step);
            }
        }
    }

    /// Adds one sequence. Sequences come in the order of the protocol's layout, whatever batches they ran in, so that
    /// sums have the same bits. Under `upstream` that is longest first, and of an item's several sequences the plan of the
    /// first one is kept.
    pub(crate) fn add_step(&mut self, item: usize, step: &Step) {
        let (totals, sum, count) = self.sites.entry(step.site).or_default();
        totals.site = step.site;
        totals.tokens_in += step.tokens_in;
        totals.tokens_out += step.tokens_out;
        if let Some(similarity) = step.merged_similarity {
            *sum += similarity;
            *count += 1;
        }
        if let Some(decision) = step.decision.as_ref().filter(|_| item < self.recorded) {
            self.plans.entry((item, step.site)).or_insert_with(|| ItemPlan {
                item,
                site: step.site,
                kept: decision.kept.clone(),
                dropped: decision.dropped.clone(),
                merged: decision.merged.clone(),
            });
        }
    }

    pub(crate) fn sites(&self) -> Vec<SiteTotals> {
        let with_mean = self.sites.values().map(|(totals, sum, count)| SiteTotals {
            merged_similarity: (*count > 0).then(|| sum / *count as f64),
            ..*totals
        });
        with_mean.collect()
    }

    pub(crate) fn plans(self) -> Vec<ItemPlan> {
        self.plans.into_values().collect()
    }
}
