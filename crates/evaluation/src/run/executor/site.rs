//! The packed stream at a site as rules read it: where the model is, or copied to the host for rules that plan there.

use std::borrow::Cow;
use std::collections::BTreeSet;

use candle_core::Tensor;
use reduction_strategies::Memo;
use ssm_kernels::{KernelError, Segments, host};
use ssm_model::{Activations, Signal, SignalSet, Signals};

use super::walk::{Branch, Pack};
use crate::error::EvaluationError;
use crate::finite::Arriving;

/// The stream at a site: branches of a pack with their rows.
pub(super) struct PackedSite<'a> {
    pub(super) layer: usize,
    /// All branches of the pack.
    pub(super) pack: &'a [Branch],
    /// Those whose rows these are, as indices into the pack.
    pub(super) branches: Vec<usize>,
    pub(super) segments: Cow<'a, Segments>,
    pub(super) activations: Cow<'a, Activations>,
    pub(super) signals: Cow<'a, Signals>,
    /// One per segment: scores and edges are computed once for all operations.
    pub(super) memos: Vec<Memo>,
    /// What of the rows is NaN or infinite; nobody asks for it in host memory.
    pub(super) arriving: Option<&'a Arriving>,
}

/// What a rule reads of the rows in host memory, besides the output of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HostReads {
    pub(super) signals: SignalSet,
    /// The residual stream; where no rule reads it, it is not copied and the output of the block is passed instead.
    pub(super) residual: bool,
}

impl<'a> PackedSite<'a> {
    pub(super) fn new(pack: &'a Pack, signals: &'a Signals, layer: usize, arriving: &'a Arriving) -> Self {
        Self {
            layer,
            pack: &pack.branches,
            branches: (0..pack.branches.len()).collect(),
            segments: Cow::Borrowed(&pack.segments),
            activations: Cow::Borrowed(&pack.activations),
            signals: Cow::Borrowed(signals),
            memos: (0..pack.segments.len()).map(|_| Memo::default()).collect(),
            arriving: Some(arriving),
        }
    }

    /// With the influence of the rows.
    pub(super) fn with_influence(mut self, influence: &Tensor) -> Self {
        self.signals.to_mut().set(Signal::Influence, Some(influence.clone()));
        self
    }

    /// Some of the branches, with what rules read of their rows in host memory: copied once for all that read the same.
    pub(super) fn on_host(&self, branches: BTreeSet<usize>, reads: HostReads) -> Result<Self, EvaluationError> {
        let (mut rows, mut lengths, mut first) = (Vec::new(), Vec::new(), 0);
        for (index, branch) in self.pack.iter().enumerate() {
            let n: usize = branch.rows.iter().sum();
            if branches.contains(&index) {
                rows.extend(first as u32..(first + n) as u32);
                lengths.extend(&branch.rows);
            }
            first += n;
        }
        let all = rows.len() == first;
        let rows = Tensor::new(rows, self.activations.hidden.device()).map_err(KernelError::from)?;
        let copy = |tensor: &Tensor| -> Result<Tensor, KernelError> {
            if all { host::copy(tensor) } else { host::copy(&tensor.index_select(&rows, 0)?) }
        };
        // No rule reads the embeddings.
        let Activations { hidden, residual, .. } = &*self.activations;
        let shown = self.signals.select(reads.signals, |signal, tensor| {
            if signal.info().per_token { copy(tensor) } else { host::copy(tensor) }
        })?;
        let hidden = copy(hidden)?;
        let residual = match residual {
            Some(residual) if reads.residual => copy(residual)?,
            _ => hidden.clone(),
        };
        Ok(Self {
            segments: Cow::Owned(Segments::independent(&lengths)),
            activations: Cow::Owned(Activations { hidden, residual: Some(residual), embeddings: None }),
            signals: Cow::Owned(shown),
            memos: lengths.iter().map(|_| Memo::default()).collect(),
            branches: branches.into_iter().collect(),
            arriving: None,
            ..*self
        })
    }
}
