//! All layers for some documents: live branches move in lock step, and children are run in groups where there are many.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::Tensor;
use reduction_strategies::{Fork, Plan, PlanError, SegmentTokens, SiteStream, apply_forks};
use ssm_kernels::Segments;
use ssm_kernels::ops::RowChoice;
use ssm_model::{Activations, LanguageModel, LayerOutput, Signal, SignalSet, Signals};

use super::budget::Budget;
use super::calls::calls;
use super::catalogue::{Catalogue, Lane, Operation};
use super::fork::Child;
use super::{CellRequest, Sharing, Stop};
use crate::batch::{Positions, token_pairs};
use crate::error::EvaluationError;
use crate::finite::{Arriving, NonFiniteRows};
use crate::run::drive::queues;
use crate::run::signal_from::Carried;
use crate::run::{LayerInput, Reduction, RowTokens, Wanted, influence, leave_one_out, run_layer};
use crate::score::{Answer, Step};

/// One document under one history of plans, and the lanes that share it.
#[derive(Clone)]
pub(super) struct Branch {
    /// Index of the document in the micro-batch.
    pub(super) document: usize,
    /// Indices into the document's lanes, ascending.
    pub(super) lanes: Vec<usize>,
    /// Live tokens of each segment, as the cells alone would have them.
    pub(super) table: Vec<SegmentTokens>,
    /// Rows of each segment that are executed: fewer where nobody reads the last ones (`horizon.rs`).
    pub(super) rows: Vec<usize>,
    /// Positions of the rows. As long as nothing has left, all are the same, and lanes of either kind share a branch.
    pub(super) positions: Positions,
}

/// Branches that run in one packed call.
pub(super) struct Pack {
    pub(super) branches: Vec<Branch>,
    /// Segments of all branches, in order.
    pub(super) segments: Segments,
    pub(super) activations: Activations,
    /// What an earlier layer showed, where a site reads it.
    carried: Option<Carried>,
}

/// What a layer shows at a site, as rules read it.
pub(super) struct SiteSignals {
    pub(super) signals: Signals,
    /// What an earlier layer showed, for rules that read it here.
    pub(super) earlier: Option<Signals>,
    /// Influence of the rows, by the positions of the kept tokens.
    pub(super) influence: Vec<(Positions, Tensor)>,
}

/// What has become of a lane.
#[derive(Clone, Default)]
pub(super) struct LaneLog {
    pub(super) steps: Vec<Arc<Step>>,
    pub(super) token_layers: u64,
    token_pairs: u64,
    block_flops: u64,
    /// Of [`LaneLog::token_layers`], those of the root segment.
    root_layers: u64,
    pub(super) matching_flops: f64,
    /// Rows executed for it, each divided by the number of lanes it was executed for.
    pub(super) share: f64,
    pub(super) end: Option<Result<End, Arc<EvaluationError>>>,
    /// First original position of the document that this lane will never read, once that is known.
    pub(super) horizon: Option<u32>,
}

/// The end of a lane that reached the head.
#[derive(Clone)]
pub(super) struct End {
    pub(super) answers: Vec<Answer>,
    pub(super) head_rows: u64,
    pub(super) tokens_kept: u64,
}

/// What a lane hands over.
pub(super) struct LaneResult {
    pub(super) share: f64,
    pub(super) result: Result<LaneOutcome, Arc<EvaluationError>>,
}

/// A lane that was scored.
pub(super) struct LaneOutcome {
    pub(super) end: End,
    pub(super) tokens_in: u64,
    pub(super) token_layers: u64,
    pub(super) token_pairs: u64,
    pub(super) block_flops: u64,
    pub(super) matching_flops: f64,
    pub(super) steps: Vec<Arc<Step>>,
}

/// A micro-batch on its way through the layers.
pub(super) struct Walk<'a> {
    pub(super) model: &'a LanguageModel,
    pub(super) cells: &'a [CellRequest<'a>],
    pub(super) catalogue: &'a Catalogue<'a>,
    /// Indices into the catalogue's documents.
    pub(super) documents: &'a [usize],
    pub(super) recorded_plans: usize,
    /// By document of the micro-batch and lane.
    pub(super) logs: Vec<Vec<LaneLog>>,
    pub(super) sharing: Sharing,
    budget: Budget,
    stop: Stop<'a>,
    /// Rows that wait for their other children.
    waiting_rows: usize,
    /// What arrived at sites where tokens were removed.
    watched: Vec<Watched>,
}

/// What arrived at a site, and the lanes that went on without some of it.
struct Watched {
    layer: usize,
    arriving: Rc<NonFiniteRows>,
    losing: Vec<LosingBranch>,
}

/// A branch of which lanes lost tokens.
struct LosingBranch {
    document: usize,
    lanes: Vec<usize>,
    /// Its segments in the stream, and the positions of their rows.
    first_segment: usize,
    positions: Vec<Vec<u32>>,
}

impl<'a> Walk<'a> {
    /// Runs `documents` through the model for all their lanes.
    pub(super) fn run(
        model: &'a LanguageModel,
        cells: &'a [CellRequest<'a>],
        catalogue: &'a Catalogue<'a>,
        documents: &'a [usize],
        budget: Budget,
        recorded_plans: usize,
        stop: Stop<'a>,
    ) -> Result<(Vec<(Lane, LaneResult)>, Sharing), EvaluationError> {
        let wanted = documents.iter().map(|document| &catalogue.documents[*document]);
        let mut walk = Self {
            model,
            cells,
            catalogue,
            documents,
            recorded_plans,
            logs: wanted.clone().map(|document| vec![LaneLog::default(); document.lanes.len()]).collect(),
            sharing: Sharing::default(),
            budget,
            stop,
            waiting_rows: 0,
            watched: Vec::new(),
        };
        let mut branches = Vec::with_capacity(documents.len());
        let mut tokens = Vec::new();
        for (index, document) in wanted.enumerate() {
            walk.foresee(index);
            let lanes: Vec<usize> = (0..document.lanes.len()).collect();
            let rows = walk.live_rows(index, &lanes, &document.table);
            for (segment, rows) in rows.iter().enumerate() {
                tokens.extend_from_slice(&document.tokens[document.segments.rows(segment)][..*rows]);
            }
            let positions = Positions::Original;
            branches.push(Branch { document: index, lanes, table: document.table.clone(), rows, positions });
        }
        let segments = walk.segments(&branches)?;
        budget.check(segments.n_tokens())?;
        let activations = model.embed(&tokens)?;
        walk.descend(Pack { branches, segments, activations, carried: None }, 0)?;
        walk.end_what_lost_non_finite()?;
        Ok((walk.lanes(), walk.sharing))
    }

    /// Runs `pack` from `layer` to the head. The children of a site that make several calls are run group by group from the
    /// activations that arrived there, depth first: what waits is one set of activations per site at most.
    fn descend(&mut self, mut pack: Pack, first_layer: usize) -> Result<(), EvaluationError> {
        for layer in first_layer..self.model.config().n_layer() {
            if (self.stop)() {
                return Err(EvaluationError::Stopped);
            }
            let output = self.run_layer(&pack, layer, self.wanted(&pack, layer))?;
            self.count(&pack, layer);
            pack.activations = output.activations;
            if self.carries(&pack.branches, layer, layer) {
                pack.carried = Some(Carried { layer, signals: output.signals.clone() });
            }
            let Some(signals) = self.signals(&pack, layer) else { continue };
            let earlier = pack.carried.as_ref().filter(|carried| carried.layer < layer);
            let earlier = earlier.map(|carried| carried.signals.clone());
            let mut shown = SiteSignals { signals: output.signals, earlier, influence: Vec::new() };
            if signals.contains(Signal::Influence) {
                for positions in self.positions_of_influence(&pack, layer) {
                    shown.influence.push((positions, self.influence(&pack, layer, positions)?));
                }
            }
            let arriving = Arriving::default();
            let children = self.fork(&pack, &shown, layer, &arriving)?;
            drop(shown);
            pack.carried = pack.carried.take().filter(|carried| self.carries(&pack.branches, carried.layer, layer));
            self.watch(&pack, &children, layer, &arriving)?;
            let goes_on =
                |child: &Child| child.plans.is_none() && child.branch.rows == pack.branches[child.parent].rows;
            if children.iter().all(goes_on) && children.len() == pack.branches.len() {
                pack.branches = children.into_iter().map(|child| child.branch).collect();
                continue;
            }
            let mut groups = self.groups(children, layer);
            let Some(last) = groups.pop() else { return Ok(()) };
            for group in groups {
                let child = self.gather(&pack, group)?;
                self.waiting_rows += pack.segments.n_tokens();
                self.descend(child, layer + 1)?;
                self.waiting_rows -= pack.segments.n_tokens();
            }
            pack = self.gather(&pack, last)?;
        }
        self.answer(&pack)
    }

    fn run_layer(&self, pack: &Pack, layer: usize, signals: SignalSet) -> Result<LayerOutput, EvaluationError> {
        let trees: Vec<_> = pack.branches.iter().map(|branch| (&branch.table[..], branch.positions)).collect();
        let tokens = &RowTokens::of(self.model, &trees, &pack.segments);
        let Pack { activations, segments, .. } = pack;
        let input = LayerInput { activations, segments, tokens, initial: None, gather: None };
        run_layer(self.model, layer, input, Wanted { signals, ..Wanted::default() })
    }

    /// Remembers what arrived at a site for the children that lose tokens there. A removed token takes a NaN or infinite value along,
    /// and no score would show it. A GPU is not waited for until the lanes have ended.
    fn watch(
        &mut self,
        pack: &Pack,
        children: &[Child],
        layer: usize,
        arriving: &Arriving,
    ) -> Result<(), EvaluationError> {
        let mut losing: Vec<LosingBranch> = Vec::new();
        let mut first_segment = 0;
        for (index, branch) in pack.branches.iter().enumerate() {
            let reduced = children.iter().filter(|child| child.parent == index && child.plans.is_some());
            let lanes: Vec<usize> = reduced.flat_map(|child| child.branch.lanes.iter().copied()).collect();
            if !lanes.is_empty() {
                let rows = branch.table.iter().zip(&branch.rows);
                let positions = rows.map(|(segment, rows)| segment.positions[..*rows].to_vec()).collect();
                losing.push(LosingBranch { document: branch.document, lanes, first_segment, positions });
            }
            first_segment += branch.table.len();
        }
        if !losing.is_empty() {
            let signals = Signals::default();
            let site = SiteStream::new(layer, &(), &pack.segments, &pack.activations, &signals)?;
            self.watched.push(Watched { layer, arriving: arriving.of(&site)?, losing });
        }
        Ok(())
    }

    /// Ends with an error the lanes that lost tokens of a sequence in which not everything was a number.
    fn end_what_lost_non_finite(&mut self) -> Result<(), EvaluationError> {
        for Watched { layer, arriving, losing } in std::mem::take(&mut self.watched) {
            let rows = arriving.rows()?;
            for LosingBranch { document, lanes, first_segment, positions } in losing {
                let own = rows[first_segment..].iter().zip(&positions);
                let Some((tensor, token)) = own.clone().find_map(|(found, positions)| {
                    let (tensor, row) = (*found)?;
                    Some((tensor, positions[row]))
                }) else {
                    continue;
                };
                for lane in lanes {
                    let item = self.catalogue.documents[self.documents[document]].lanes[lane].item;
                    let end = &mut self.logs[document][lane].end;
                    // The first error of a lane is the one that counts.
                    if !matches!(end, Some(Err(_))) {
                        let whose = format!("item {item}");
                        *end = Some(Err(Arc::new(EvaluationError::NotFiniteIn { whose, layer, tensor, token })));
                    }
                }
            }
        }
        Ok(())
    }

    /// What the rules of the lanes want to see of a layer.
    fn wanted(&self, pack: &Pack, layer: usize) -> SignalSet {
        let reductions = self.reductions(&pack.branches);
        reductions.fold(SignalSet::default(), |all, one| all.union(one.wanted(self.model.config(), layer)))
    }

    /// Whether a lane of these branches reads at a site after layer `now` what layer `source` showed.
    fn carries(&self, branches: &[Branch], source: usize, now: usize) -> bool {
        self.reductions(branches).any(|reduction| reduction.carries(self.model.config(), source, now))
    }

    fn reductions<'b>(&'b self, branches: &'b [Branch]) -> impl Iterator<Item = &'b Reduction> {
        let lanes = branches.iter().flat_map(|branch| branch.lanes.iter().map(|lane| self.lane(branch, *lane)));
        lanes.map(|lane| &self.cells[lane.cell].reduction)
    }

    /// What the rules of the lanes that have a site here read; none where no lane has one.
    fn signals(&self, pack: &Pack, layer: usize) -> Option<SignalSet> {
        let here = self.reductions(&pack.branches).filter(|reduction| reduction.sites.contains(&layer));
        here.map(|reduction| reduction.rule.signals()).reduce(SignalSet::union)
    }

    /// The positions under which lanes ask for influence at a site: removing a token moves those after it, or does not. Where the
    /// model reads none all are the same.
    fn positions_of_influence(&self, pack: &Pack, layer: usize) -> Vec<Positions> {
        if !self.model.config().uses_positions() {
            return vec![Positions::default()];
        }
        let asked = |positions: &Positions| pack.branches.iter().any(|branch| self.asks(branch, layer, *positions));
        [Positions::Original, Positions::Compacted].into_iter().filter(asked).collect()
    }

    /// Whether a lane of a branch asks for influence under these positions.
    fn asks(&self, branch: &Branch, layer: usize, positions: Positions) -> bool {
        branch.lanes.iter().any(|lane| {
            let reduction = &self.cells[self.lane(branch, *lane).cell].reduction;
            let counts = !self.model.config().uses_positions() || reduction.positions == positions;
            counts && reduction.sites.contains(&layer) && reduction.rule.signals().contains(Signal::Influence)
        })
    }

    /// Leave-one-out influence in the branches of lanes that ask for it; a branch that asks has all its rows.
    fn influence(&self, pack: &Pack, layer: usize, positions: Positions) -> Result<Tensor, EvaluationError> {
        let mut tokens = Vec::new();
        for branch in &pack.branches {
            let asks = self.asks(branch, layer, positions);
            // Where a sequence is too long, who asks fails at the fork and hurts nobody else.
            let measured = asks && branch.table.iter().all(|segment| influence::check(segment).is_ok());
            tokens.extend(branch.table.iter().map(|segment| measured.then_some(segment)));
        }
        let signals = Signals::default();
        let site = SiteStream::new(layer, &tokens, &pack.segments, &pack.activations, &signals)?;
        leave_one_out(self.model, &site, positions)
    }

    /// Counts a layer that ran.
    fn count(&mut self, pack: &Pack, layer: usize) {
        let rows = pack.segments.n_tokens();
        self.sharing.token_layers_executed += rows as u64;
        self.sharing.peak_rows = self.sharing.peak_rows.max(rows + self.waiting_rows);
        for branch in &pack.branches {
            let asked: usize = branch.table.iter().map(|segment| segment.positions.len()).sum();
            let rows: usize = branch.rows.iter().sum();
            let tree = &self.catalogue.documents[self.documents[branch.document]].segments;
            let lengths = branch.table.iter().map(|segment| segment.positions.len());
            let pairs = token_pairs(lengths, |index| tree.parent(index));
            let block_flops = self.model.config().block_flops(layer, asked as u64, pairs);
            for lane in &branch.lanes {
                let log = &mut self.logs[branch.document][*lane];
                log.token_layers += asked as u64;
                log.token_pairs += pairs;
                log.block_flops += block_flops;
                log.root_layers += branch.table[0].positions.len() as u64;
                log.share += rows as f64 / branch.lanes.len() as f64;
            }
        }
    }

    /// Children of a site that run together.
    fn groups(&self, children: Vec<Child>, site: usize) -> Vec<Vec<Child>> {
        let rows = |child: &Child| child.branch.rows.iter().sum();
        calls(children, |child| self.operation(child, site), rows, self.budget.rows_per_call)
    }

    /// What a child does at the sites after this one, where it matters to a call: a GPU plans all its rows at once, a host one sequence
    /// after the other.
    fn operation(&self, child: &Child, site: usize) -> Option<Operation> {
        child.branch.lanes.iter().find_map(|lane| {
            let cell = self.lane(&child.branch, *lane).cell;
            let reduction = &self.cells[cell].reduction;
            let plans = reduction.sites.iter().any(|later| *later > site) && queues(self.model, reduction);
            plans.then_some(self.catalogue.operation_of[cell])
        })
    }

    /// The stream of a group, taken from that of its parents.
    fn gather(&self, pack: &Pack, group: Vec<Child>) -> Result<Pack, EvaluationError> {
        let mut firsts = Vec::with_capacity(pack.branches.len());
        let mut first = 0;
        for branch in &pack.branches {
            firsts.push(first);
            first += branch.table.len();
        }
        // Where the parent has lost rows its plan is cut to what is left; rows that the child loses go afterwards.
        let mut cut = Vec::new();
        for child in &group {
            for (index, arriving) in pack.branches[child.parent].rows.iter().enumerate() {
                let plan = child.plans.as_ref().and_then(|plans| plans[index].as_ref());
                cut.push(plan.map(|plan| first_rows(plan, *arriving)).transpose()?);
            }
        }
        let (mut forks, mut lengths): (Vec<Fork<'_>>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut plans = cut.iter();
        for child in &group {
            for (index, arriving) in pack.branches[child.parent].rows.iter().enumerate() {
                let plan = plans.next().and_then(Option::as_deref);
                lengths.push(plan.map_or(*arriving, |plan| plan.keep().len()));
                forks.push((firsts[child.parent] + index, plan));
            }
        }
        let mut activations = apply_forks(&forks, &pack.segments, &pack.activations)?;
        let wanted: Vec<usize> = group.iter().flat_map(|child| &child.branch.rows).copied().collect();
        if wanted != lengths {
            let rows = first_of_each(&lengths, &wanted);
            let rows = RowChoice::new(lengths.iter().sum(), rows, activations.hidden.device())?;
            activations = activations.map(|tensor| rows.of(tensor))?;
        }
        let mut carried = None;
        if let Some(own) = &pack.carried {
            let kept = forks.iter().zip(&wanted).flat_map(|((segment, plan), wanted)| {
                let first = pack.segments.rows(*segment).start as u32;
                let row = |place: usize| plan.map_or(place as u32, |plan| plan.keep()[place]);
                (0..*wanted).map(move |place| first + row(place))
            });
            carried = Some(own.rows(&kept.collect::<Vec<u32>>())?);
        }
        let branches: Vec<Branch> = group.into_iter().map(|child| child.branch).collect();
        let segments = self.segments(&branches)?;
        Ok(Pack { branches, segments, activations, carried })
    }

    /// The segment table of some branches, one after the other.
    fn segments(&self, branches: &[Branch]) -> Result<Segments, EvaluationError> {
        let (mut lengths, mut parents) = (Vec::new(), Vec::new());
        for branch in branches {
            let first = lengths.len();
            let tree = &self.catalogue.documents[self.documents[branch.document]].segments;
            for (index, rows) in branch.rows.iter().enumerate() {
                lengths.push(*rows);
                parents.push(tree.parent(index).map(|parent| first + parent));
            }
        }
        Ok(Segments::new(&lengths, &parents)?)
    }

    /// The lane of that index in the branch's document.
    pub(super) fn lane(&self, branch: &Branch, index: usize) -> Lane {
        self.catalogue.documents[self.documents[branch.document]].lanes[index]
    }

    /// Hands all lanes over.
    fn lanes(&mut self) -> Vec<(Lane, LaneResult)> {
        let mut lanes = Vec::new();
        for (document, logs) in self.documents.iter().zip(std::mem::take(&mut self.logs)) {
            let document = &self.catalogue.documents[*document];
            for (lane, log) in document.lanes.iter().zip(logs) {
                let end = log.end.unwrap_or_else(|| unreachable!("every lane ends in an answer or in an error"));
                let contexts = self.catalogue.unit_of(*lane).1.placements.len() as u64;
                self.sharing.token_layers_asked += log.token_layers;
                self.sharing.token_layers_by_request += log.token_layers + (contexts - 1) * log.root_layers;
                let result = end.map(|end| {
                    self.sharing.head_rows_asked += end.head_rows;
                    LaneOutcome {
                        end,
                        tokens_in: document.tokens.len() as u64,
                        token_layers: log.token_layers,
                        token_pairs: log.token_pairs,
                        block_flops: log.block_flops,
                        matching_flops: log.matching_flops,
                        steps: log.steps,
                    }
                });
                lanes.push((*lane, LaneResult { share: log.share, result }));
            }
        }
        lanes
    }
}

/// `plan` for a segment of which only the first `rows` rows are there. Rows go missing only where what follows is pruned.
fn first_rows(plan: &Plan, rows: usize) -> Result<Cow<'_, Plan>, PlanError> {
    if plan.n_tokens() == rows {
        return Ok(Cow::Borrowed(plan));
    }
    let keep = plan.keep().iter().copied().filter(|row| (*row as usize) < rows).collect();
    Plan::prune(rows, keep).map(Cow::Owned)
}

/// Row numbers of the first `wanted[i]` rows of segments of `lengths[i]` rows.
fn first_of_each(lengths: &[usize], wanted: &[usize]) -> Vec<u32> {
    let mut start = 0;
    let mut rows = Vec::new();
    for (length, wanted) in lengths.iter().zip(wanted) {
        rows.extend(start as u32..(start + wanted) as u32);
        start += length;
    }
    rows
}
