//! A site: every rule and ratio plans once for all lanes that share it, and lanes go on together as long as their plans
//! are equal.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use reduction_strategies::{Plan, SegmentTokens, SitePlan, SiteStream, TokenTable};
use ssm_model::Signal;

use super::catalogue::{Lane, Operation};
use super::site::{HostReads, PackedSite};
use super::walk::{Branch, Pack, SiteSignals, Walk};
use crate::batch::Positions;
use crate::error::EvaluationError;
use crate::finite::Arriving;
use crate::run::drive::{SiteDecision, decide_stream, plans_on_host, queues};
use crate::run::reduction::matching;
use crate::run::{Reduction, influence};
use crate::score::{Decision, Step};

/// A branch after a site.
pub(super) struct Child {
    /// Index of the branch in the arriving pack.
    pub(super) parent: usize,
    /// One plan per segment of the branch; none where every token is kept.
    pub(super) plans: Option<Vec<Option<Plan>>>,
    pub(super) branch: Branch,
}

/// Lanes of one branch that plan alike.
struct Asking {
    /// Index of the branch in the pack.
    branch: usize,
    lanes: Vec<usize>,
    /// Item that random choices depend on.
    item: u64,
}

/// What one branch becomes under one operation.
type Planned = (Vec<Option<Plan>>, Vec<Option<f64>>);

/// A decision for the asking branches of a pack.
struct Deciding {
    decision: SiteDecision,
    /// The tokens that it was made for.
    table: TokenTable,
    /// The segments of each asking branch.
    places: Vec<Range<usize>>,
}

impl Deciding {
    /// The plans of each asking branch; waits for a GPU.
    fn read(self) -> Result<Vec<Planned>, EvaluationError> {
        let (mut plan, similarities) = self.decision.read(&self.table, &self.places)?;
        // No two branches have a segment in common.
        let of = |at: Range<usize>| {
            let plans = plan.plans[at.clone()].iter_mut().map(Option::take);
            (plans.collect(), similarities[at].to_vec())
        };
        Ok(self.places.into_iter().map(of).collect())
    }
}

impl Walk<'_> {
    /// The children of `pack` at a site, by branch: the lanes for which nothing is removed first, then one child per distinct
    /// plan. Lanes whose rule fails end here.
    pub(super) fn fork(
        &mut self,
        pack: &Pack,
        shown: &SiteSignals,
        site: usize,
        arriving: &Arriving,
    ) -> Result<Vec<Child>, EvaluationError> {
        let mut children: Vec<Vec<Child>> = pack.branches.iter().map(|_| Vec::new()).collect();
        for (parent, branch) in pack.branches.iter().enumerate() {
            let stays = |lane: &usize| !self.reduction(branch, *lane).sites.contains(&site);
            let lanes: Vec<usize> = branch.lanes.iter().copied().filter(stays).collect();
            let branch = Branch { lanes, ..branch.clone() };
            children[parent].push(Child { parent, plans: None, branch });
        }
        // The first entry holds what does not depend on influence, with the memos of all rules that read none.
        let mut seen = Vec::new();
        for (earlier, signals) in [(false, Some(&shown.signals)), (true, shown.earlier.as_ref())] {
            let Some(signals) = signals else { continue };
            seen.push((Reads { earlier, influence: None }, PackedSite::new(pack, signals, site, arriving)));
            for (positions, influence) in &shown.influence {
                let reads = Reads { earlier, influence: Some(*positions) };
                seen.push((reads, PackedSite::new(pack, signals, site, arriving).with_influence(influence)));
            }
        }
        let rounds: Vec<Vec<Asking>> = self.asking(pack, site).into_values().collect();
        // A GPU has all decisions that it makes before the host waits for the first of them.
        let queued: Vec<Option<Result<Deciding, EvaluationError>>> = rounds
            .iter()
            .map(|asking| {
                let reduction = self.reduction(&pack.branches[asking[0].branch], asking[0].lanes[0]);
                let shown = || by_reads(&seen, self.reads_of(&pack.branches, asking, site));
                queues(self.model, reduction).then(|| self.decide_together(shown(), asking))
            })
            .collect();
        let on_host = self.on_host(&seen, &rounds)?;
        for (asking, queued) in rounds.into_iter().zip(queued) {
            let reads = self.reads_of(&pack.branches, &asking, site);
            let host = self.reads_on_host(&pack.branches, &asking);
            let copied =
                on_host.iter().find(|copied| (copied.0, Some(copied.1)) == (reads, host)).map(|copied| &copied.2);
            let planned = self.plan(copied.unwrap_or_else(|| by_reads(&seen, reads)), &asking, queued);
            for (asking, planned) in asking.into_iter().zip(planned) {
                let branch = &pack.branches[asking.branch];
                match planned {
                    Ok((plans, similarities)) => {
                        self.log(branch, &asking, site, &plans, &similarities);
                        let positions = self.reduction(branch, asking.lanes[0]).positions;
                        join(&mut children[asking.branch], branch, &asking, plans, positions)?;
                    }
                    Err(error) => {
                        let error = Arc::new(error);
                        for lane in &asking.lanes {
                            self.logs[branch.document][*lane].end = Some(Err(Arc::clone(&error)));
                        }
                    }
                }
            }
        }
        let mut all: Vec<Child> = children.into_iter().flatten().collect();
        all.retain(|child| !child.branch.lanes.is_empty());
        for child in &mut all {
            child.branch.lanes.sort_unstable();
            self.set_horizons(&child.branch, site);
            child.branch.rows = self.live_rows(child.branch.document, &child.branch.lanes, &child.branch.table);
        }
        Ok(all)
    }

    /// What rules that plan on the host read there, with the rows of the branches that ask for it; nothing where the model lies on
    /// the host itself.
    fn on_host<'p>(
        &self,
        seen: &[Seen<'p>],
        rounds: &[Vec<Asking>],
    ) -> Result<Vec<(Reads, HostReads, PackedSite<'p>)>, EvaluationError> {
        let mut asked: Vec<(Reads, HostReads, BTreeSet<usize>)> = Vec::new();
        for asking in rounds {
            let pack = seen[0].1.pack;
            let Some(host) = self.reads_on_host(pack, asking) else { continue };
            let reads = self.reads_of(pack, asking, seen[0].1.layer);
            let branches = asking.iter().map(|asker| asker.branch);
            match asked.iter_mut().find(|known| (known.0, known.1) == (reads, host)) {
                Some((_, _, known)) => known.extend(branches),
                None => asked.push((reads, host, branches.collect())),
            }
        }
        let copy = |(reads, host, branches)| Ok((reads, host, by_reads(seen, reads).on_host(branches, host)?));
        asked.into_iter().map(copy).collect()
    }

    /// Which signals an operation reads at a site.
    fn reads_of(&self, pack: &[Branch], asking: &[Asking], site: usize) -> Reads {
        let (config, reduction) = (self.model.config(), self.reduction(&pack[asking[0].branch], asking[0].lanes[0]));
        let positions = if config.uses_positions() { reduction.positions } else { Positions::default() };
        Reads {
            earlier: reduction.source(config, site) < site,
            influence: reduction.rule.signals().contains(Signal::Influence).then_some(positions),
        }
    }

    /// What an operation reads in host memory; none where it plans where the rows lie, or reads none.
    fn reads_on_host(&self, pack: &[Branch], asking: &[Asking]) -> Option<HostReads> {
        let reduction = self.reduction(&pack[asking[0].branch], asking[0].lanes[0]);
        let copies = !self.model.placement().device.is_cpu() && plans_on_host(self.model, reduction);
        let Reduction { rule, .. } = reduction;
        copies.then(|| HostReads { signals: rule.signals(), residual: rule.reads_residual() })
    }

    /// Who plans together: lanes of one operation. Where a document belongs to several items and the rule draws, each item
    /// needs a round of its own, because a stream holds one item per segment.
    fn asking(&self, pack: &Pack, site: usize) -> BTreeMap<(Operation, usize), Vec<Asking>> {
        let mut all: BTreeMap<(Operation, usize), Vec<Asking>> = BTreeMap::new();
        for (index, branch) in pack.branches.iter().enumerate() {
            let mut own: BTreeMap<Operation, Vec<Asking>> = BTreeMap::new();
            for lane in &branch.lanes {
                let Lane { cell, item, .. } = self.lane(branch, *lane);
                let reduction = &self.cells[cell].reduction;
                if !reduction.sites.contains(&site) {
                    continue;
                }
                let rounds = own.entry(self.catalogue.operation_of[cell]).or_default();
                match rounds.iter_mut().find(|asking| !reduction.rule.draws() || asking.item == item) {
                    Some(asking) => asking.lanes.push(*lane),
                    None => rounds.push(Asking { branch: index, lanes: vec![*lane], item }),
                }
            }
            for (operation, rounds) in own {
                for (round, asking) in rounds.into_iter().enumerate() {
                    all.entry((operation, round)).or_default().push(asking);
                }
            }
        }
        all
    }

    /// Plans of the asking branches, in one call for all of them; where that fails, one by one, so that an error stays with
    /// its branch.
    fn plan(
        &self,
        site: &PackedSite<'_>,
        asking: &[Asking],
        queued: Option<Result<Deciding, EvaluationError>>,
    ) -> Vec<Result<Planned, EvaluationError>> {
        let first = &asking[0];
        if self.reduction(&site.pack[first.branch], first.lanes[0]).rule.is_blind() {
            return asking.iter().map(|asking| self.plan_blindly(site, asking)).collect();
        }
        let deciding = queued.unwrap_or_else(|| self.decide_together(site, asking));
        match deciding.and_then(Deciding::read) {
            Ok(planned) => planned.into_iter().map(Ok).collect(),
            Err(error) if asking.len() == 1 => vec![Err(error)],
            Err(_) => {
                let alone = |one: &Asking| {
                    let deciding = self.decide_together(site, std::slice::from_ref(one));
                    deciding.and_then(Deciding::read).map(|planned| planned.into_iter().next().unwrap_or_default())
                };
                asking.iter().map(alone).collect()
            }
        }
    }

    /// A plan that needs no values: the branch may have lost the rows that nobody reads.
    fn plan_blindly(&self, site: &PackedSite<'_>, asking: &Asking) -> Result<Planned, EvaluationError> {
        let branch = &site.pack[asking.branch];
        let reduction = self.reduction(branch, asking.lanes[0]);
        let SitePlan { plans } = reduction.plan_blindly(site.layer, &branch.table, Some(asking.item))?;
        let similarities = vec![None; plans.len()];
        Ok((plans, similarities))
    }

    fn decide_together(&self, site: &PackedSite<'_>, asking: &[Asking]) -> Result<Deciding, EvaluationError> {
        let PackedSite { pack, branches, segments, activations, signals, layer, memos, arriving } = site;
        for asker in asking {
            let branch = &pack[asker.branch];
            if self.reduction(branch, asker.lanes[0]).rule.signals().contains(Signal::Influence) {
                branch.table.iter().try_for_each(influence::check)?;
            }
        }
        let mut askers = asking.iter().peekable();
        let (mut tables, mut places) = (Vec::with_capacity(segments.len()), Vec::with_capacity(asking.len()));
        for index in branches.iter().copied() {
            let branch = &pack[index];
            if let Some(asker) = askers.next_if(|asker| asker.branch == index) {
                places.push(tables.len()..tables.len() + branch.table.len());
                tables.extend(branch.table.iter().map(|segment| SegmentTokens { item: asker.item, ..segment.clone() }));
            } else {
                // The rule does not see the others.
                tables.extend(branch.rows.iter().map(|rows| SegmentTokens::fixed(0, 0, *rows)));
            }
        }
        let first = &asking[0];
        let reduction = self.reduction(&pack[first.branch], first.lanes[0]);
        let table = TokenTable::new(tables);
        let stream = SiteStream::new(*layer, &table, segments, activations, signals)?.with_memos(memos);
        let own = Arriving::default();
        let decision = decide_stream(self.model, reduction, &stream, arriving.unwrap_or(&own))?;
        Ok(Deciding { decision, table, places })
    }

    /// Writes a site down for the lanes that went through it.
    fn log(
        &mut self,
        branch: &Branch,
        asking: &Asking,
        site: usize,
        plans: &[Option<Plan>],
        similarities: &[Option<f64>],
    ) {
        let recorded = asking.lanes.iter().any(|lane| (self.lane(branch, *lane).item as usize) < self.recorded_plans);
        let rule = &self.reduction(branch, asking.lanes[0]).rule;
        let flops = matching(rule, self.model.config(), site, &branch.table, plans);
        let mut steps = Vec::new();
        for ((plan, similarity), tokens) in plans.iter().zip(similarities).zip(&branch.table) {
            let Some(plan) = plan else { continue };
            steps.push(Arc::new(Step {
                site,
                tokens_in: plan.n_tokens() as u64,
                tokens_out: plan.keep().len() as u64,
                merged_similarity: *similarity,
                decision: recorded.then(|| Decision::new(plan, &tokens.positions)),
            }));
        }
        for lane in &asking.lanes {
            let log = &mut self.logs[branch.document][*lane];
            log.matching_flops += flops;
            log.steps.extend(steps.iter().cloned());
        }
    }

    fn reduction(&self, branch: &Branch, lane: usize) -> &Reduction {
        &self.cells[self.lane(branch, lane).cell].reduction
    }
}

/// Which of the signals at a site an operation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reads {
    /// Those of an earlier layer, and not of the site's own.
    earlier: bool,
    /// Influence of the rows, under these positions.
    influence: Option<Positions>,
}

/// What arrived, with some of the signals.
type Seen<'p> = (Reads, PackedSite<'p>);

/// That with the signals which an operation reads.
fn by_reads<'s, 'p>(seen: &'s [Seen<'p>], reads: Reads) -> &'s PackedSite<'p> {
    seen.iter().find(|(own, _)| *own == reads).map_or(&seen[0].1, |(_, arriving)| arriving)
}

/// Adds lanes to the child of the same plan and positions, or makes one. The first child is the one from which nothing is removed.
fn join(
    children: &mut Vec<Child>,
    branch: &Branch,
    asking: &Asking,
    plans: Vec<Option<Plan>>,
    positions: Positions,
) -> Result<(), EvaluationError> {
    let child = if plans.iter().flatten().all(Plan::is_identity) {
        Some(&mut children[0])
    } else {
        children.iter_mut().find(|child| child.plans.as_ref() == Some(&plans) && child.branch.positions == positions)
    };
    if let Some(child) = child {
        child.branch.lanes.extend_from_slice(&asking.lanes);
        return Ok(());
    }
    let site = SitePlan { plans };
    let table = TokenTable::apply_to(&branch.table, &site)?.segments;
    children.push(Child {
        parent: asking.branch,
        plans: Some(site.plans),
        branch: Branch { document: branch.document, lanes: asking.lanes.clone(), table, rows: Vec::new(), positions },
    });
    Ok(())
}
