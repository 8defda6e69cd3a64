//! One site of a packed stream: a plan per segment, and its application.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use ssm_kernels::host::{self, F32View};
use ssm_kernels::ops::{RowMerges, merge_rows};
use ssm_kernels::{KernelError, Segments};
use ssm_model::{Signal, SignalSet, Signals};

use crate::error::PlanError;
use crate::matching::{dot, norm};
use crate::memo::{Memo, MemoKey, remember};
use crate::plan::{BranchMerges, Plan};
use crate::planner::plan_sequence;
use crate::rule::Rule;
use crate::tokens::{SegmentTokens, TokenTable};
use crate::view::{Draw, Matrix, ScanView, SequenceView, SignalViews};

/// One plan per segment of a packed stream; `None` leaves the segment untouched.
#[derive(Clone, Debug, PartialEq)]
pub struct SitePlan {
    /// In stream order.
    pub plans: Vec<Option<Plan>>,
}

/// Plans every reducible segment of a stream, each by itself: neighbours cannot change a plan.
///
/// # Shapes
/// - `hidden`, `residual`: `[tokens, d_model]`
/// - `signals`: those of [`Rule::signals`] at least; others are not looked at
///
/// # Errors
/// Tables that do not describe the same stream, tensors that cannot be read, or what
/// [`plan_sequence`] refuses.
#[allow(clippy::too_many_arguments)] // A site is all of this; every argument has its own type or a plain meaning.
pub fn plan_site(
    rule: &Rule,
    keep_ratio: f64,
    seed: u64,
    site: usize,
    table: &TokenTable,
    segments: &Segments,
    hidden: &Tensor,
    residual: &Tensor,
    signals: &Signals,
) -> Result<SitePlan, PlanError> {
    plan_site_with(rule, keep_ratio, seed, site, table, segments, hidden, residual, signals, &[])
}

/// As [`plan_site`] for a stream that several rules plan: `memos` has one entry per segment (or none at all), and keeps
/// what a rule computes for those that come after it with the same stream.
///
/// # Errors
/// As [`plan_site`].
#[allow(clippy::too_many_arguments)] // As `plan_site`.
pub fn plan_site_with(
    rule: &Rule,
    keep_ratio: f64,
    seed: u64,
    site: usize,
    table: &TokenTable,
    segments: &Segments,
    hidden: &Tensor,
    residual: &Tensor,
    signals: &Signals,
    memos: &[Memo],
) -> Result<SitePlan, PlanError> {
    let stream = Stream { table, segments, hidden, residual, signals };
    let plan = |view: &SequenceView<'_>| plan_sequence(rule, view, keep_ratio);
    let draw = Draw { seed, item: 0, site };
    let reads = Reads { hidden: rule.reads_values(), residual: rule.reads_values() && rule.reads_residual() };
    let plans = map_sequences(&stream, rule.signals(), reads, draw, memos, plan)?;
    Ok(SitePlan { plans })
}

/// A packed stream after a block, with what the layer showed of itself.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// Which tokens the rows are.
    pub table: &'a TokenTable,
    /// Where the sequences stand.
    pub segments: &'a Segments,
    /// `[tokens, d_model]`
    pub hidden: &'a Tensor,
    /// `[tokens, d_model]`
    pub residual: &'a Tensor,
    /// What the layer showed.
    pub signals: &'a Signals,
}

/// Which activations are read; a matrix without columns stands in for one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// Output of the block.
    pub hidden: bool,
    /// Residual stream.
    pub residual: bool,
}

impl Reads {
    /// Both.
    pub const ALL: Self = Self { hidden: true, residual: true };
    /// Neither.
    pub const NONE: Self = Self { hidden: false, residual: false };
}

/// Calls `f` with the view of every reducible segment, as a rule would see it; one entry per segment, `None` for the others.
/// Of the signals those in `wanted` are read, the activations as `reads` says. `memos` has one entry per segment (or none at
/// all); `draw.item` is that of each segment.
///
/// # Errors
/// Tables that do not describe the same stream, tensors that cannot be read, values among those read that are NaN or infinite,
/// or what `f` refuses.
pub fn map_sequences<R: Send>(
    stream: &Stream<'_>,
    wanted: SignalSet,
    reads: Reads,
    draw: Draw,
    memos: &[Memo],
    f: impl Fn(&SequenceView<'_>) -> Result<R, PlanError> + Sync,
) -> Result<Vec<Option<R>>, PlanError> {
    let Stream { table, segments, hidden, residual, signals } = *stream;
    check_table(table, segments)?;
    let n = segments.n_tokens();
    let branch = |tensor, name, read| if read { HostMatrix::new(tensor, name, n) } else { HostMatrix::unread(n) };
    let (hidden, residual) = (branch(hidden, "hidden", reads.hidden)?, branch(residual, "residual", reads.residual)?);
    let (hidden, residual) = (hidden.view()?, residual.view()?);
    let mut shown = Vec::new();
    for signal in wanted.iter() {
        if let Some(tensor) = signals.get(signal) {
            shown.push((signal, HostMatrix::new(tensor, signal.name(), n)?));
        }
    }
    let shown =
        shown.iter().map(|(signal, matrix)| Ok((*signal, matrix.view()?))).collect::<Result<Vec<_>, PlanError>>()?;
    let scan = signals.scan().filter(|_| wanted.contains(Signal::Scan));
    let scan = scan.map(|scan| Ok::<_, PlanError>((scan.ngroups, flat(&scan.a)?))).transpose()?;
    let mut views = SignalViews::default();
    for (signal, view) in &shown {
        views = views.with(*signal, view.matrix());
    }
    if let Some((ngroups, a)) = &scan {
        views = views.with_scan(ScanView { ngroups: *ngroups, a });
    }
    let (hidden, residual) = (hidden.matrix(), residual.matrix());
    let one = |(index, tokens): (usize, &SegmentTokens)| {
        if !tokens.reducible {
            return Ok(None);
        }
        let rows = segments.rows(index);
        let view = SequenceView {
            signals: views.rows_of(&rows),
            memo: memos.get(index),
            ..SequenceView::new(tokens, hidden.rows_of(&rows), residual.rows_of(&rows), draw)
        };
        remember(view.memo, || MemoKey::Finite(wanted, reads), || view.check_finite())?;
        f(&view).map(Some)
    };
    table.segments.par_iter().enumerate().map(one).collect()
}

impl SitePlan {
    /// Whether every segment stays as it is.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.plans.iter().flatten().all(Plan::is_identity)
    }

    /// Applies the plans to both branches: `(hidden', residual', segments')`. Where nothing leaves, the very same tensors
    /// come back.
    ///
    /// # Errors
    /// Plans for another stream, or tensors that cannot be read.
    pub fn apply(
        &self,
        segments: &Segments,
        hidden: &Tensor,
        residual: &Tensor,
    ) -> Result<(Tensor, Tensor, Segments), PlanError> {
        self.check(segments)?;
        if self.is_identity() {
            return Ok((hidden.clone(), residual.clone(), segments.clone()));
        }
        let identities: Vec<Plan> = (0..segments.len())
            .map(|index| Plan::identity(if self.plans[index].is_none() { segments.length(index) } else { 0 }))
            .collect();
        let plans: Vec<&Plan> =
            self.plans.iter().zip(&identities).map(|(plan, identity)| plan.as_ref().unwrap_or(identity)).collect();
        let merge = |x: &Tensor, rows: fn(&Plan) -> &[u32], branch: fn(&Plan) -> &BranchMerges| {
            let merges: Vec<RowMerges<'_>> = plans
                .iter()
                .enumerate()
                .map(|(index, plan)| RowMerges {
                    first_row: segments.rows(index).start,
                    keep: rows(plan),
                    groups: &branch(plan).groups,
                    rule: branch(plan).rule,
                })
                .collect();
            merge_rows(x, &merges)
        };
        let lengths: Vec<usize> = plans.iter().map(|plan| plan.keep().len()).collect();
        let hidden = merge(hidden, Plan::keep, Plan::hidden)?;
        Ok((hidden, merge(residual, Plan::residual_of, Plan::residual)?, segments.with_lengths(&lengths)))
    }

    /// Mean cosine similarity of the pairs (removed token, token it is merged into) on the hidden branch, one entry per
    /// segment; `None` where nothing was merged. `hidden`: the stream before the plan, `[tokens, d_model]`.
    ///
    /// # Errors
    /// Plans for another stream, or a tensor that cannot be read.
    pub fn merged_similarity(&self, segments: &Segments, hidden: &Tensor) -> Result<Vec<Option<f64>>, PlanError> {
        self.check(segments)?;
        if self.plans.iter().flatten().all(|plan| plan.merged().is_empty()) {
            return Ok(vec![None; self.plans.len()]);
        }
        let hidden = HostMatrix::new(hidden, "hidden", segments.n_tokens())?;
        let hidden = hidden.view()?;
        let hidden = hidden.matrix();
        let rows = |index| hidden.rows_of(&segments.rows(index));
        let similarity = |(index, plan): (usize, &Option<Plan>)| {
            let pairs = plan.as_ref()?.merged();
            let rows = rows(index);
            let sum: f64 =
                pairs.iter().map(|(token, into)| cosine(rows.row(*token as usize), rows.row(*into as usize))).sum();
            (!pairs.is_empty()).then(|| sum / pairs.len() as f64)
        };
        Ok(self.plans.par_iter().enumerate().map(similarity).collect())
    }

    fn check(&self, segments: &Segments) -> Result<(), PlanError> {
        if self.plans.len() != segments.len() {
            let (got, expected) = (self.plans.len(), segments.len());
            return Err(PlanError::Stream { what: "plans and segments", got, expected });
        }
        for (index, plan) in self.plans.iter().enumerate() {
            if let Some(plan) = plan.as_ref().filter(|plan| plan.n_tokens() != segments.length(index)) {
                return Err(PlanError::Length { got: plan.n_tokens(), expected: segments.length(index) });
            }
        }
        Ok(())
    }
}

/// A segment of a stream and the plan for it; `None` takes it as it is.
pub type Fork<'a> = (usize, Option<&'a Plan>);

/// Builds a new stream from segments of another one, in any order and as often as wanted: how one sequence goes on under
/// several plans. Returns `(hidden', residual')`, `[sum of kept tokens, d_model]` each; a segment comes out with the bits
/// that [`SitePlan::apply`] gives it.
///
/// # Errors
/// A segment that is not there, a plan for another length, or tensors that are not contiguous float32 in host memory.
pub fn apply_forks(
    forks: &[Fork<'_>],
    segments: &Segments,
    hidden: &Tensor,
    residual: &Tensor,
) -> Result<(Tensor, Tensor), PlanError> {
    for (segment, plan) in forks {
        if *segment >= segments.len() {
            return Err(PlanError::Stream { what: "segment to fork", got: *segment, expected: segments.len() });
        }
        if let Some(plan) = plan.filter(|plan| plan.n_tokens() != segments.length(*segment)) {
            return Err(PlanError::Length { got: plan.n_tokens(), expected: segments.length(*segment) });
        }
    }
    let longest = forks.iter().map(|(segment, _)| segments.length(*segment)).max().unwrap_or(0);
    let all: Vec<u32> = (0..longest as u32).collect();
    let none = BranchMerges::default();
    let merge = |x: &Tensor, rows: fn(&Plan) -> &[u32], branch: fn(&Plan) -> &BranchMerges| {
        let merges: Vec<RowMerges<'_>> = forks
            .iter()
            .map(|(segment, plan)| {
                let merges = plan.map_or(&none, branch);
                RowMerges {
                    first_row: segments.rows(*segment).start,
                    keep: plan.map_or(&all[..segments.length(*segment)], rows),
                    groups: &merges.groups,
                    rule: merges.rule,
                }
            })
            .collect();
        merge_rows(x, &merges)
    };
    Ok((merge(hidden, Plan::keep, Plan::hidden)?, merge(residual, Plan::residual_of, Plan::residual)?))
}

fn check_table(table: &TokenTable, segments: &Segments) -> Result<(), PlanError> {
    if table.segments.len() != segments.len() {
        let (got, expected) = (table.segments.len(), segments.len());
        return Err(PlanError::Stream { what: "segments of token table and stream", got, expected });
    }
    for (index, tokens) in table.segments.iter().enumerate() {
        if tokens.positions.len() != segments.length(index) {
            let (got, expected) = (tokens.positions.len(), segments.length(index));
            return Err(PlanError::Stream { what: "tokens of a segment in table and stream", got, expected });
        }
    }
    Ok(())
}

/// A tensor of the stream in host memory; one on a GPU is copied.
struct HostMatrix {
    tensor: Tensor,
}

impl HostMatrix {
    fn new(tensor: &Tensor, name: &'static str, n_tokens: usize) -> Result<Self, PlanError> {
        let (rows, _) = tensor.dims2().map_err(KernelError::from)?;
        if rows != n_tokens {
            return Err(PlanError::View { part: name, got: rows, expected: n_tokens });
        }
        Ok(Self { tensor: host::copy(tensor)? })
    }

    /// A matrix without columns, for a rule that reads none.
    fn unread(n_tokens: usize) -> Result<Self, PlanError> {
        let tensor = Tensor::zeros((n_tokens, 0), DType::F32, &Device::Cpu).map_err(KernelError::from)?;
        Ok(Self { tensor })
    }

    fn view(&self) -> Result<HostView<'_>, PlanError> {
        let (values, rows, columns) = host::matrix(&self.tensor, "plan_site", "activations")?;
        Ok(HostView { values, rows, columns })
    }
}

/// A [`HostMatrix`] borrowed for reading.
struct HostView<'a> {
    values: F32View<'a>,
    rows: usize,
    columns: usize,
}

impl HostView<'_> {
    fn matrix(&self) -> Matrix<'_> {
        Matrix { values: &self.values, rows: self.rows, columns: self.columns }
    }
}

/// All values of a tensor, in order.
fn flat(tensor: &Tensor) -> Result<Vec<f32>, PlanError> {
    let values = host::copy(tensor)?.flatten_all().and_then(|tensor| tensor.to_vec1()).map_err(KernelError::from)?;
    Ok(values)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let lengths = norm(a) * norm(b);
    // NaN stays NaN.
    if lengths == 0.0 { 0.0 } else { dot(a, b) / lengths }
}
