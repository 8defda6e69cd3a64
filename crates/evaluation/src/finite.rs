//! Where values are NaN or infinite: at a site, before anything is removed, and in a layer, once a score has turned out to be so.

use std::cell::OnceCell;
use std::rc::Rc;

use candle_core::Tensor;
use reduction_strategies::{SegmentTokens, SiteStream};
use ssm_kernels::ops::{NonFinite, first_non_finite};
use ssm_kernels::{Segments, host};
use ssm_model::{LayerOutput, Signal, Supplier};

use crate::error::EvaluationError;

const RESIDUAL: &str = "the residual";
const BLOCK: &str = "the output of the block";

/// Where the two branches at a site are NaN or infinite. A removed token takes such a value along, and no score would ever show it.
/// A GPU is not waited for until the rows are read.
pub(crate) struct NonFiniteRows {
    residual: NonFinite,
    hidden: NonFinite,
    /// What [`NonFiniteRows::rows`] has read.
    read: OnceCell<Vec<NonFiniteRow>>,
}

/// Tensor and first row of a segment that holds a value that is NaN or infinite; none where all are finite.
type NonFiniteRow = Option<(&'static str, usize)>;

impl NonFiniteRows {
    pub(crate) fn of<T>(stream: &SiteStream<'_, T>) -> Result<Self, EvaluationError> {
        let SiteStream { hidden, residual, segments, .. } = stream;
        let look = |tensor| first_non_finite(tensor, segments);
        Ok(Self { residual: look(residual)?, hidden: look(hidden)?, read: OnceCell::new() })
    }

    /// By segment. Waits for the GPU the first time.
    pub(crate) fn rows(&self) -> Result<&[NonFiniteRow], EvaluationError> {
        if let Some(known) = self.read.get() {
            return Ok(known);
        }
        let (residual, hidden) = (self.residual.rows()?, self.hidden.rows()?);
        let first = |(residual, hidden): (Option<usize>, Option<usize>)| {
            residual.map(|row| (RESIDUAL, row)).or(hidden.map(|row| (BLOCK, row)))
        };
        let rows = residual.into_iter().zip(hidden).map(first).collect();
        Ok(self.read.get_or_init(|| rows))
    }

    /// Refuses those of some segments. `place` of a segment and a row: its item, and the token's position. Waits for the GPU.
    pub(crate) fn check(
        &self,
        layer: usize,
        segments: impl IntoIterator<Item = usize>,
        place: impl Fn(usize, usize) -> (u64, u32),
    ) -> Result<(), EvaluationError> {
        let rows = self.rows()?;
        match segments.into_iter().find_map(|segment| Some((segment, rows[segment]?))) {
            Some((segment, (tensor, row))) => {
                let (own, token) = place(segment, row);
                Err(EvaluationError::NotFiniteIn { whose: item(own), layer, tensor, token })
            }
            None => Ok(()),
        }
    }
}

/// [`NonFiniteRows`] of what arrives at one site: looked for once, however many decisions and branches ask, and only if one does.
#[derive(Default)]
pub(crate) struct Arriving(OnceCell<Rc<NonFiniteRows>>);

impl Arriving {
    /// Those of `stream`, which is the same in every call save for tokens and signals.
    pub(crate) fn of<T>(&self, stream: &SiteStream<'_, T>) -> Result<Rc<NonFiniteRows>, EvaluationError> {
        if let Some(known) = self.0.get() {
            return Ok(Rc::clone(known));
        }
        let found = Rc::new(NonFiniteRows::of(stream)?);
        Ok(Rc::clone(self.0.get_or_init(|| found)))
    }
}

/// What messages call a sequence of this item.
fn item(index: u64) -> String {
    format!("item {index}")
}

/// Refuses the output of a layer that is NaN or infinite, and names the first such tensor, in the order in which a layer computes
/// them; only those that were asked for are read. `place` of a segment and a row: whose sequence it is, and the token's position in
/// it. Waits for the GPU.
fn check_layer(
    layer: usize,
    output: &LayerOutput,
    segments: &Segments,
    place: impl Fn(usize, usize) -> (String, u32),
) -> Result<(), EvaluationError> {
    let (shown, after) = (&output.signals, &output.activations);
    let signals = Signal::matrices_of(Supplier::Layer).map(|signal| (signal.info().what, shown.get(signal)));
    let tensors =
        std::iter::once((RESIDUAL, after.residual.as_ref())).chain(signals).chain([(BLOCK, Some(&after.hidden))]);
    for (tensor, values) in tensors {
        let Some(values) = values else { continue };
        let rows = first_non_finite(values, segments)?.rows()?;
        if let Some((segment, row)) = rows.iter().enumerate().find_map(|(segment, row)| Some((segment, (*row)?))) {
            let (whose, token) = place(segment, row);
            return Err(EvaluationError::NotFiniteIn { whose, layer, tensor, token });
        }
    }
    Ok(())
}

/// As [`check_layer`], for the items of a batch: the tokens of each segment.
pub(crate) fn check_items(
    layer: usize,
    output: &LayerOutput,
    segments: &Segments,
    tokens: &[SegmentTokens],
) -> Result<(), EvaluationError> {
    check_layer(layer, output, segments, |segment, row| {
        let (own, token) = tokens[segment].place(row);
        (item(own), token)
    })
}

/// As [`check_layer`], for sequences that belong to no item of a batch: the error names them by index.
pub(crate) fn check_sequences(layer: usize, output: &LayerOutput, segments: &Segments) -> Result<(), EvaluationError> {
    check_layer(layer, output, segments, |segment, row| (format!("sequence {segment} of the probe"), row as u32))
}

/// Refuses values that are not all finite numbers.
pub(crate) fn check_values(what: &str, values: &[f32]) -> Result<(), EvaluationError> {
    if ssm_kernels::finite::is_finite(values) {
        return Ok(());
    }
    Err(EvaluationError::NotFiniteAt { what: what.to_owned() })
}

/// Refuses logits, `[rows, vocabulary]`, that are not all finite numbers, by row.
///
/// # Errors
/// The first such row; errors of the tensor library.
pub fn check_logits(logits: &Tensor) -> Result<(), EvaluationError> {
    let logits = host::copy(logits)?;
    let (rows, _) = logits.dims2()?;
    match first_non_finite(&logits, &Segments::independent(&[rows]))?.rows()?[0] {
        Some(row) => Err(EvaluationError::NotFiniteAt { what: format!("the logits of token {row}") }),
        None => Ok(()),
    }
}
