//! The packed stream after a layer, and each of its sequences as a rule sees it.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use ssm_kernels::host::{self, F32View};
use ssm_kernels::{KernelError, Segments};
use ssm_model::{Activations, Signal, SignalSet, Signals};

use super::memo::{Memo, remember};
use super::sequence::{Draw, Matrix, Owners, ScanView, SequenceView, SignalViews};
use super::stop::Stop;
use super::tokens::{SegmentTokens, TokenTable};
use crate::error::PlanError;

/// The packed stream after a layer, with what the layer showed: everything that a site is decided from.
///
/// It borrows all its parts, so it is cheap to copy and to build. `T` is the bookkeeping of its tokens: a [`TokenTable`] on the
/// host, or its counterpart on a GPU where plans are made there.
#[derive(Debug)]
pub struct SiteStream<'a, T = TokenTable> {
    /// The layer that the stream comes from, 0-based.
    pub layer: usize,
    /// Which tokens the rows are.
    pub tokens: &'a T,
    /// Which rows belong to which sequence.
    pub segments: &'a Segments,
    /// Output of the block, `[tokens, d_model]`.
    pub hidden: &'a Tensor,
    /// Residual stream that the next block adds it to, `[tokens, d_model]`, float32.
    pub residual: &'a Tensor,
    /// Embeddings of the tokens, where a later layer may read them. No rule does; they are reduced as the residual stream is.
    pub embeddings: Option<&'a Tensor>,
    /// What the layer showed: what [`crate::Rule::signals`] asks for, at least.
    pub signals: &'a Signals,
    /// What rules that planned this very stream computed from it: one memo per segment, or none at all.
    pub memos: &'a [Memo],
    /// Asked by loops that compare all tokens of a sequence.
    pub stop: Stop<'a>,
}

// By hand: a derive would ask for `T: Clone`.
impl<T> Clone for SiteStream<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SiteStream<'_, T> {}

impl<'a, T> SiteStream<'a, T> {
    /// The stream after `layer`, without memos.
    ///
    /// # Errors
    /// [`PlanError::NoResidual`] for activations that have not passed a block.
    pub fn new(
        layer: usize,
        tokens: &'a T,
        segments: &'a Segments,
        activations: &'a Activations,
        signals: &'a Signals,
    ) -> Result<Self, PlanError> {
        let Activations { hidden, residual, embeddings } = activations;
        let (residual, embeddings) = (residual.as_ref().ok_or(PlanError::NoResidual)?, embeddings.as_ref());
        Ok(Self { layer, tokens, segments, hidden, residual, embeddings, signals, memos: &[], stop: Stop::default() })
    }

    /// With one memo per segment, for a stream that several rules plan.
    #[must_use]
    pub fn with_memos(self, memos: &'a [Memo]) -> Self {
        Self { memos, ..self }
    }

    /// Planning ends with [`PlanError::Stopped`] once `stop` is true.
    #[must_use]
    pub fn stopping_when(self, stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { stop: Stop::when(stop), ..self }
    }

    /// With other bookkeeping of the same tokens.
    #[must_use]
    pub fn with_tokens<U>(self, tokens: &'a U) -> SiteStream<'a, U> {
        let Self { layer, tokens: _, segments, hidden, residual, embeddings, signals, memos, stop } = self;
        SiteStream { layer, tokens, segments, hidden, residual, embeddings, signals, memos, stop }
    }

    /// All of it, as the next layer takes it. Copies no values.
    #[must_use]
    pub fn activations(&self) -> Activations {
        let (residual, embeddings) = (Some(self.residual.clone()), self.embeddings.cloned());
        Activations { hidden: self.hidden.clone(), residual, embeddings }
    }
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
/// Only the signals in `wanted` are read, and the activations that `reads` names. Random choices of a view depend on `seed`, on the
/// segment's item and on the layer.
///
/// # Errors
/// Tables that do not describe the same stream, tensors that cannot be read, values among those read that are NaN or infinite,
/// or what `f` refuses.
pub fn map_sequences<R: Send>(
    stream: &SiteStream<'_>,
    wanted: SignalSet,
    reads: Reads,
    seed: u64,
    f: impl Fn(&SequenceView<'_>) -> Result<R, PlanError> + Sync,
) -> Result<Vec<Option<R>>, PlanError> {
    let SiteStream { layer, tokens: table, segments, hidden, residual, signals, memos, stop, .. } = *stream;
    check_table(table, segments)?;
    let draw = Draw { seed, item: 0, site: layer };
    let n = segments.n_tokens();
    let branch = |tensor, name, read| if read { HostMatrix::new(tensor, name, n) } else { HostMatrix::unread(n) };
    let (hidden, residual) = (branch(hidden, "hidden", reads.hidden)?, branch(residual, "residual", reads.residual)?);
    let mut owners = Owners { hidden: Some(&hidden.tensor), residual: Some(&residual.tensor), ..Owners::default() };
    let (hidden, residual) = (hidden.view()?, residual.view()?);
    let mut shown = Vec::new();
    for signal in wanted.iter() {
        if let Some(tensor) = signals.get(signal) {
            shown.push((signal, HostMatrix::new(tensor, signal.name(), n)?));
        }
    }
    for (signal, matrix) in &shown {
        owners = owners.with(*signal, &matrix.tensor);
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
            owners,
            stop,
            ..SequenceView::new(tokens, hidden.rows_of(&rows), residual.rows_of(&rows), draw)
        };
        remember(view.memo, || Finite(wanted, reads), || view.check_finite())?;
        f(&view).map(Some)
    };
    table.segments.par_iter().enumerate().map(one).collect()
}

/// Memo key: these tensors hold no value that is NaN or infinite.
#[derive(PartialEq)]
struct Finite(SignalSet, Reads);

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
pub(crate) struct HostMatrix {
    tensor: Tensor,
}

impl HostMatrix {
    pub(crate) fn new(tensor: &Tensor, name: &'static str, n_tokens: usize) -> Result<Self, PlanError> {
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

    pub(crate) fn view(&self) -> Result<HostView<'_>, PlanError> {
        let (values, rows, columns) = host::matrix(&self.tensor, "plan_site", "activations")?;
        Ok(HostView { values, rows, columns })
    }
}

/// A [`HostMatrix`] borrowed for reading.
pub(crate) struct HostView<'a> {
    values: F32View<'a>,
    rows: usize,
    columns: usize,
}

impl HostView<'_> {
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        Matrix { values: &self.values, rows: self.rows, columns: self.columns }
    }
}

/// All values of a tensor, in order.
fn flat(tensor: &Tensor) -> Result<Vec<f32>, PlanError> {
    let values = host::copy(tensor)?.flatten_all().and_then(|tensor| tensor.to_vec1()).map_err(KernelError::from)?;
    Ok(values)
}
