//! What the strategies did, gathered over batches for the records.

use std::collections::BTreeMap;

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
            let (totals, sum, count) = self.sites.entry(trace.site).or_default();
            totals.site = trace.site;
            *sum += trace.merged_similarity.0;
            *count += trace.merged_similarity.1;
            // Under `upstream` batches come longest first, and an item's choices may stand in several batches: the plan
            // of its first sequence in that order is kept.
            for (segment, plan) in trace.plan.plans.iter().enumerate() {
                let Some(plan) = plan else { continue };
                totals.tokens_in += plan.n_tokens() as u64;
                totals.tokens_out += plan.keep().len() as u64;
                let item = batch.table.segments[segment].item as usize;
                if item < self.recorded {
                    let positions = &trace.arriving.segments[segment].positions;
                    let at = |index: &u32| positions[*index as usize];
                    self.plans.entry((item, trace.site)).or_insert_with(|| ItemPlan {
                        item,
                        site: trace.site,
                        kept: plan.keep().iter().map(at).collect(),
                        dropped: plan.dropped().iter().map(at).collect(),
                        merged: plan.merged().iter().map(|(source, into)| (at(source), at(into))).collect(),
                    });
                }
            }
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
