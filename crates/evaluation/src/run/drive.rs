//! Runs a batch through the model and reduces it at the sites: the reference that the executor must equal bit for bit.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;
use std::vec;

use rayon::prelude::*;
use reduction_strategies::{SegmentTokens, SitePlan, SiteStream, TokenTable, plan_site};
use ssm_model::{Activations, LanguageModel, LayerState, Signal, SignalSet, Signals};

use super::driven::{Driven, Passed, SiteTrace};
use super::influence::leave_one_out;
use super::layer::{Check, RowTokens, Wanted};
use super::layers::{Observer, PackedStream, Shown, run_layers};
#[cfg(feature = "cuda")]
use super::on_gpu;
use super::reduction::{Reduction, matching};
use super::signal_from::{Carried, kept_rows};
use crate::batch::{Batch, token_pairs_of};
use crate::error::EvaluationError;
use crate::finite::{Arriving, NonFiniteRows};

/// Looks at every site of a batch.
pub(crate) struct SiteObserver<'a> {
    /// What it needs besides the signals of the rule: at sites, or after every layer.
    pub(crate) signals: SignalSet,
    pub(crate) every_layer: bool,
    pub(crate) at_site: &'a mut AtSite<'a>,
}

/// Sees the stream at a site and the plan that is about to be carried out.
type AtSite<'a> = dyn FnMut(&SiteStream<'_>, &SitePlan) -> Result<(), EvaluationError> + 'a;

pub(crate) fn drive(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
) -> Result<(Activations, Driven), EvaluationError> {
    let (activations, passed) = pass(model, batch, reduction, foresee(batch, reduction)?)?;
    Ok((activations, passed.driven(model, batch, reduction)?))
}

/// What a rule that looks at no value decides at a site, known before anything runs.
pub(crate) struct Foreseen {
    plan: SitePlan,
    after: TokenTable,
}

/// The decisions at all sites of a rule that looks at no value; none for any other rule. Sequences are planned beside each other.
pub(crate) fn foresee(batch: &Batch, reduction: &Reduction) -> Result<Vec<Foreseen>, EvaluationError> {
    if !reduction.rule.is_blind() {
        return Ok(Vec::new());
    }
    let sites: BTreeSet<usize> = reduction.sites.iter().copied().collect();
    let through = |tokens: &SegmentTokens| {
        let mut own: Vec<Foreseen> = Vec::with_capacity(sites.len());
        for site in &sites {
            let arriving = own.last().map_or(std::slice::from_ref(tokens), |last| &last.after.segments);
            let plan = reduction.plan_blindly(*site, arriving, None)?;
            let after = TokenTable::apply_to(arriving, &plan)?;
            own.push(Foreseen { plan, after });
        }
        Ok(own)
    };
    let each = batch.table.segments.par_iter().map(through).collect::<Result<Vec<_>, EvaluationError>>()?;
    let nothing = || Foreseen { plan: SitePlan { plans: Vec::new() }, after: TokenTable::default() };
    let mut foreseen: Vec<Foreseen> = sites.iter().map(|_| nothing()).collect();
    for own in each {
        for (all, own) in foreseen.iter_mut().zip(own) {
            all.plan.plans.extend(own.plan.plans);
            all.after.segments.extend(own.after.segments);
        }
    }
    Ok(foreseen)
}

/// All layers, and no more than scores ask for. `foreseen`: what [`foresee`] says.
pub(crate) fn pass(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
    foreseen: Vec<Foreseen>,
) -> Result<(Activations, Passed), EvaluationError> {
    #[cfg(feature = "cuda")]
    if on_gpu::takes_all(model, reduction) {
        return on_gpu::pass(model, batch, reduction);
    }
    let (activations, driven) = drive_through(model, batch, reduction, foreseen, None, None)?;
    Ok((activations, Passed::Driven(driven)))
}

/// [`drive`] with every plan in host memory before the next layer runs, and seen by an observer, for whom every layer is checked;
/// adds the state after each layer to `states`.
pub(crate) fn drive_observed(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
    observer: Option<SiteObserver<'_>>,
    states: Option<&mut Vec<LayerState>>,
) -> Result<(Activations, Driven), EvaluationError> {
    drive_through(model, batch, reduction, foresee(batch, reduction)?, observer, states)
}

fn drive_through(
    model: &LanguageModel,
    batch: &Batch,
    reduction: &Reduction,
    foreseen: Vec<Foreseen>,
    observer: Option<SiteObserver<'_>>,
    states: Option<&mut Vec<LayerState>>,
) -> Result<(Activations, Driven), EvaluationError> {
    let (segments, table) = (batch.segments.clone(), batch.table.clone());
    let tokens = RowTokens::of(model, &[(&table.segments, reduction.positions)], &segments);
    let stream = PackedStream::new(model.embed(&batch.tokens)?, segments, tokens);
    let (sites, token_layers, token_pairs, block_flops, matching_flops) = (Vec::new(), 0, 0, 0, 0.0);
    let mut driver = Driver {
        model,
        reduction,
        observer,
        states,
        foreseen: foreseen.into_iter(),
        watched: Vec::new(),
        table,
        carried: None,
        sites,
        token_layers,
        token_pairs,
        block_flops,
        matching_flops,
    };
    let passed = run_layers(model, stream, 0..model.config().n_layer(), &mut driver);
    let PackedStream { activations, segments, .. } = match (passed, driver.check_what_arrived()) {
        (Ok(stream), Ok(())) => stream,
        // What was no number at a site comes before any error that followed from it.
        (_, Err(found @ EvaluationError::NotFiniteIn { .. })) => return Err(found),
        (Err(error), _) | (Ok(_), Err(error)) => return Err(error),
    };
    let Driver { table, sites, token_layers, token_pairs, block_flops, matching_flops, .. } = driver;
    Ok((activations, Driven { segments, table, sites, token_layers, token_pairs, block_flops, matching_flops }))
}

/// Reduces a stream at the sites of a reduction, and counts.
struct Driver<'a, 'o> {
    model: &'a LanguageModel,
    reduction: &'a Reduction,
    observer: Option<SiteObserver<'o>>,
    states: Option<&'a mut Vec<LayerState>>,
    /// The decisions at the sites to come, where they are known.
    foreseen: vec::IntoIter<Foreseen>,
    /// What arrived at sites where tokens were removed. A GPU is waited for once, at the end.
    watched: Vec<(usize, Rc<NonFiniteRows>)>,
    table: TokenTable,
    /// What an earlier layer showed, where a site reads it.
    carried: Option<Carried>,
    sites: Vec<SiteTrace>,
    token_layers: u64,
    token_pairs: u64,
    block_flops: u64,
    matching_flops: f64,
}

impl Observer for Driver<'_, '_> {
    fn wanted(&self, layer: usize) -> Wanted<'_> {
        let reduces = self.reduction.sites.contains(&layer);
        let mut signals = self.reduction.wanted(self.model.config(), layer);
        let mut check = Check::Off;
        if let Some(observer) = &self.observer {
            check = Check::Items(&self.table.segments);
            if reduces || observer.every_layer {
                signals = signals.union(observer.signals);
            }
        }
        Wanted { signals, states: self.states.is_some(), check }
    }

    fn after(&mut self, layer: usize, stream: &mut PackedStream, shown: Shown) -> Result<(), EvaluationError> {
        let (tokens, pairs) = (stream.segments.n_tokens() as u64, token_pairs_of(&stream.segments));
        self.token_layers += tokens;
        self.token_pairs += pairs;
        self.block_flops += self.model.config().block_flops(layer, tokens, pairs);
        if let Some(states) = &mut self.states {
            states.extend(shown.state);
        }
        if self.reduction.carries(self.model.config(), layer, layer) {
            self.carried = Some(Carried { layer, signals: shown.signals.clone() });
        }
        if self.reduction.sites.contains(&layer) {
            self.reduce(layer, stream, shown.signals)?;
        }
        Ok(())
    }
}

impl Driver<'_, '_> {
    fn reduce(&mut self, layer: usize, stream: &mut PackedStream, mut signals: Signals) -> Result<(), EvaluationError> {
        let Self { model, reduction, table, carried, .. } = self;
        let source = reduction.source(model.config(), layer);
        if let Some(carried) = carried.as_ref().filter(|carried| source < layer && carried.layer == source) {
            signals = carried.signals.clone();
        }
        let PackedStream { activations, segments, .. } = &*stream;
        if reduction.rule.signals().contains(Signal::Influence) {
            let tokens: Vec<_> = table.segments.iter().map(Some).collect();
            let site = SiteStream::new(layer, &tokens, segments, activations, &signals)?;
            let influence = leave_one_out(model, &site, reduction.positions)?;
            signals.set(Signal::Influence, Some(influence));
        }
        let site = SiteStream::new(layer, table, segments, activations, &signals)?;
        let arriving = Arriving::default();
        let ((plan, merged_similarity), foreseen) = if let Some(Foreseen { plan, after }) = self.foreseen.next() {
            let nothing_merged = vec![None; plan.plans.len()];
            ((plan, nothing_merged), Some(after))
        } else {
            let all = 0..site.segments.len();
            (decide_stream(model, reduction, &site, &arriving)?.read(site.tokens, &[all])?, None)
        };
        if let Some(observer) = &mut self.observer {
            (observer.at_site)(&site, &plan)?;
        }
        self.matching_flops += matching(&reduction.rule, model.config(), layer, &table.segments, &plan.plans);
        if !plan.is_identity() {
            self.watched.push((layer, arriving.of(&site)?));
        }
        *carried = match carried.take().filter(|carried| reduction.carries(model.config(), carried.layer, layer)) {
            Some(carried) => Some(carried.rows(&kept_rows(&plan, &stream.segments))?),
            None => None,
        };
        let (activations, segments) = plan.apply(&site)?;
        let after = foreseen.map_or_else(|| table.apply(&plan), Ok)?;
        let tokens = RowTokens::of(model, &[(&after.segments, reduction.positions)], &segments);
        *stream = PackedStream::new(activations, segments, tokens);
        let arriving = std::mem::replace(table, after);
        self.sites.push(SiteTrace { site: layer, plan, arriving, merged_similarity });
        Ok(())
    }

    /// Refuses what is NaN or infinite at a site where tokens were removed.
    fn check_what_arrived(&self) -> Result<(), EvaluationError> {
        for (layer, arriving) in &self.watched {
            // A site that failed after this note has no trace; the table is still the one that arrived.
            let trace = self.sites.iter().find(|site| site.site == *layer);
            let table = trace.map_or(&self.table, |trace| &trace.arriving);
            let place = |segment: usize, row| table.segments[segment].place(row);
            arriving.check(*layer, 0..table.segments.len(), place)?;
        }
        Ok(())
    }
}

/// Plans of all segments of a stream, and the mean similarity of merged pairs per segment.
pub(crate) type PlannedSite = (SitePlan, Vec<Option<f64>>);

/// What a rule decided for a stream.
pub(crate) enum SiteDecision {
    /// On the host.
    Made(PlannedSite),
    /// On a GPU, which may still be at it.
    #[cfg(feature = "cuda")]
    Queued(Box<on_gpu::QueuedSite>),
}

impl SiteDecision {
    /// The plans; waits for a GPU. `table`: the tokens of the stream. `asking`: the segments of those who asked for the decision; what is NaN
    /// or infinite elsewhere is none of theirs.
    #[cfg_attr(not(feature = "cuda"), expect(clippy::unnecessary_wraps, reason = "only a GPU can fail here"))]
    pub(crate) fn read(self, table: &TokenTable, asking: &[Range<usize>]) -> Result<PlannedSite, EvaluationError> {
        let _ = (table, asking);
        match self {
            Self::Made(planned) => Ok(planned),
            #[cfg(feature = "cuda")]
            Self::Queued(queued) => queued.read(table, asking),
        }
    }
}

/// The decision for a stream: queued on the GPU where the model is there and kernels know the rule, else made on the host. `arriving`:
/// that of the stream.
pub(crate) fn decide_stream(
    model: &LanguageModel,
    reduction: &Reduction,
    stream: &SiteStream<'_>,
    arriving: &Arriving,
) -> Result<SiteDecision, EvaluationError> {
    let _ = arriving;
    #[cfg(feature = "cuda")]
    if on_gpu::takes(model, reduction) {
        return Ok(SiteDecision::Queued(Box::new(on_gpu::QueuedSite::new(reduction, stream, arriving)?)));
    }
    let Reduction { rule, keep_ratio, seed, .. } = reduction;
    let stop = || model.is_stopped();
    let plan = plan_site(rule, *keep_ratio, *seed, &stream.stopping_when(&stop))?;
    let similarities = plan.merged_similarity(stream)?;
    Ok(SiteDecision::Made((plan, similarities)))
}

/// Whether [`decide_stream`] queues the decision on a GPU.
pub(crate) fn queues(model: &LanguageModel, reduction: &Reduction) -> bool {
    #[cfg(feature = "cuda")]
    if on_gpu::takes(model, reduction) {
        return true;
    }
    let _ = (model, reduction);
    false
}

/// Whether [`decide_stream`] reads the rows in host memory for this reduction.
pub(crate) fn plans_on_host(model: &LanguageModel, reduction: &Reduction) -> bool {
    !queues(model, reduction) && !reduction.rule.is_blind()
}
