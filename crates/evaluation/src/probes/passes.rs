//! Passes through a model that probes share: packed, layer by layer, looked at on the way.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;
use ssm_kernels::Segments;
use ssm_kernels::ops::{TokenScore, gather_rows, log_probs};
use ssm_model::{Activations, LanguageModel, LayerState, RecurrentState};

use super::questions::Question;
use super::table::{Gather, Key, ProbeTable};
use crate::error::EvaluationError;
use crate::finite::check_values;
use crate::run::{Check, Observer, PackedStream, RowTokens, Shown, Wanted, run_layers};

/// Rows of a packed call, about: as in an evaluation, so that a probe needs no more memory than a cell.
const MAX_TOKENS: usize = 1024;

/// One observation, to be gathered: item, measure, value, keys.
pub(super) type Observation = (usize, &'static str, f64, Vec<Key>);

/// Looks at groups of questions in parallel (one after the other on a GPU, which has one queue) and gathers what they saw in
/// order. A group has about so many rows that it fits into one call, where each question makes `copies` of itself.
pub(super) fn in_groups<'a>(
    model: &LanguageModel,
    questions: &[Question<'a>],
    copies: usize,
    look: impl Fn(&[Question<'a>]) -> Result<Vec<Observation>, EvaluationError> + Sync,
) -> Result<ProbeTable, EvaluationError> {
    let mut groups: Vec<&[Question<'a>]> = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (index, question) in questions.iter().enumerate() {
        let own = copies * (question.context.len() + question.continuation.len());
        if rows + own > MAX_TOKENS && index > start {
            groups.push(&questions[start..index]);
            (start, rows) = (index, 0);
        }
        rows += own;
    }
    groups.extend((start < questions.len()).then(|| &questions[start..]));
    let seen: Vec<Vec<Observation>> = if model.placement().device.is_cpu() {
        groups.into_par_iter().map(&look).collect::<Result<_, _>>()?
    } else {
        groups.into_iter().map(&look).collect::<Result<_, _>>()?
    };
    let mut gather = Gather::default();
    for (item, measure, value, keys) in seen.into_iter().flatten() {
        gather.add(item, measure, value, &keys);
    }
    Ok(gather.finish())
}

/// Embeds sequences as a packed stream without parents.
pub(super) fn embed(model: &LanguageModel, sequences: &[Vec<u32>]) -> Result<PackedStream, EvaluationError> {
    let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
    let activations = model.embed(&sequences.concat())?;
    Ok(PackedStream::new(activations, Segments::independent(&lengths), RowTokens::untouched()))
}

/// Runs `layers` over a stream and shows what each returns of `wanted` to `look`. Every layer is checked.
pub(super) fn forward(
    model: &LanguageModel,
    stream: PackedStream,
    layers: Range<usize>,
    wanted: impl Fn(usize) -> Wanted<'static>,
    look: impl FnMut(usize, &PackedStream, Shown) -> Result<(), EvaluationError>,
) -> Result<PackedStream, EvaluationError> {
    run_layers(model, stream, layers, &mut Looking { wanted, look })
}

/// As [`forward`], without looking.
pub(super) fn through(
    model: &LanguageModel,
    stream: PackedStream,
    layers: Range<usize>,
) -> Result<PackedStream, EvaluationError> {
    forward(model, stream, layers, |_| Wanted::default(), |_, _, _| Ok(()))
}

/// Looks at every layer and changes nothing.
struct Looking<W, L> {
    wanted: W,
    look: L,
}

impl<W, L> Observer for Looking<W, L>
where
    W: Fn(usize) -> Wanted<'static>,
    L: FnMut(usize, &PackedStream, Shown) -> Result<(), EvaluationError>,
{
    fn wanted(&self, layer: usize) -> Wanted<'_> {
        Wanted { check: Check::Sequences, ..(self.wanted)(layer) }
    }

    fn after(&mut self, layer: usize, stream: &mut PackedStream, shown: Shown) -> Result<(), EvaluationError> {
        (self.look)(layer, stream, shown)
    }
}

/// The rows of several streams, one after the other.
pub(super) fn joined(streams: &[&Activations]) -> Result<Activations, EvaluationError> {
    let join = |part: fn(&Activations) -> Option<&Tensor>| -> Result<Option<Tensor>, EvaluationError> {
        let parts: Option<Vec<&Tensor>> = streams.iter().map(|stream| part(stream)).collect();
        Ok(parts.map(|parts| Tensor::cat(&parts, 0)).transpose()?)
    };
    let hidden = join(|stream| Some(&stream.hidden))?.unwrap_or_else(|| unreachable!("every stream has hidden states"));
    let (residual, embeddings) = (join(|stream| stream.residual.as_ref())?, join(|stream| stream.embeddings.as_ref())?);
    Ok(Activations { hidden, residual, embeddings })
}

/// Rows of a stream.
pub(super) fn rows_of(activations: &Activations, rows: &[u32]) -> Result<Activations, EvaluationError> {
    Ok(activations.map(|tensor| gather_rows(tensor, rows))?)
}

/// The residual stream that the next block reads: residual plus hidden states, in host memory.
pub(super) fn residual_stream(activations: &Activations) -> Result<Tensor, EvaluationError> {
    let sum = match &activations.residual {
        Some(residual) => (residual + activations.hidden.to_dtype(residual.dtype())?)?,
        None => activations.hidden.clone(),
    };
    host(&sum)
}

/// A tensor in host memory, float32 and contiguous.
pub(super) fn host(tensor: &Tensor) -> Result<Tensor, EvaluationError> {
    Ok(ssm_kernels::host::copy(tensor)?)
}

/// Log-probabilities of targets at rows of the last layer.
fn score(
    model: &LanguageModel,
    activations: &Activations,
    readings: &[(usize, u32)],
) -> Result<Vec<TokenScore>, EvaluationError> {
    let rows: Vec<u32> = readings.iter().map(|(row, _)| *row as u32).collect();
    let targets: Vec<u32> = readings.iter().map(|(_, target)| *target).collect();
    let mut scores = Vec::with_capacity(readings.len());
    for (rows, targets) in rows.chunks(MAX_TOKENS).zip(targets.chunks(MAX_TOKENS)) {
        scores.extend(log_probs(&model.head(activations, rows)?, targets)?);
    }
    check_values("log-probabilities", &scores.iter().map(|score| score.log_prob).collect::<Vec<_>>())?;
    Ok(scores)
}

/// How well a model gives the answer to a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AnswerLoss {
    /// Mean of -ln p over the scored tokens.
    pub(super) loss: f64,
    /// Whether all of them are the greedy ones.
    pub(super) right: bool,
}

/// Where the answer to a question is read whose inputs begin at `first`, with `removed` rows before those of the readings removed.
pub(super) fn answer_readings(question: &Question<'_>, first: usize, removed: usize) -> Vec<(usize, u32)> {
    question.readings().into_iter().map(|(row, target)| (first + row - removed, target)).collect()
}

/// How well each copy of a question gives its answer, from the readings of each.
pub(super) fn answers(
    model: &LanguageModel,
    activations: &Activations,
    readings: &[Vec<(usize, u32)>],
) -> Result<Vec<AnswerLoss>, EvaluationError> {
    let scores = score(model, activations, &readings.concat())?;
    let mut scores = scores.as_slice();
    let answer = |readings: &Vec<(usize, u32)>| {
        let (own, rest) = scores.split_at(readings.len());
        scores = rest;
        answer_loss(own, readings)
    };
    Ok(readings.iter().map(answer).collect())
}

/// From the scores of the answer's tokens.
fn answer_loss(scores: &[TokenScore], readings: &[(usize, u32)]) -> AnswerLoss {
    let loss = scores.iter().map(|score| -f64::from(score.log_prob)).sum::<f64>() / scores.len().max(1) as f64;
    let right = scores.iter().zip(readings).all(|(score, (_, target))| score.greedy == *target);
    AnswerLoss { loss, right }
}

/// The state of a recurrent layer as two tensors: inputs of the convolution `[segments, channels, d_conv]` and the scan's `[segments, ..]`.
pub(super) fn parts(state: &LayerState) -> Result<(&Tensor, &Tensor), EvaluationError> {
    let state = state.recurrent()?;
    Ok((&state.conv, &state.ssm))
}

/// The opposite of [`parts`].
pub(super) fn whole(conv: Tensor, ssm: Tensor) -> LayerState {
    LayerState::Recurrent(RecurrentState { conv, ssm })
}
