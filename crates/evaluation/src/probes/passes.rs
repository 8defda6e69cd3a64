//! Passes through a model that probes share: packed, layer by layer, looked at on the way.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;
use ssm_kernels::Segments;
use ssm_kernels::ops::{TokenScore, gather_rows, log_probs};
use ssm_model::{Activations, LanguageModel, LayerOutput, LayerRequest, LayerState, RecurrentState};

use super::questions::Question;
use super::table::{Gather, Key, ProbeTable};
use crate::error::EvaluationError;
use crate::finite::{check_sequences, check_values};

/// Rows of a packed call, about: as in an evaluation, so that a probe needs no more memory than a cell.
const MAX_TOKENS: usize = 1024;

/// One observation, to be gathered: item, measure, value, keys.
pub(super) type Observation = (usize, &'static str, f64, Vec<Key>);

/// Looks at groups of questions beside each other (one after the other on a GPU, which has one queue) and gathers what they saw in
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
pub(super) fn embed(model: &LanguageModel, sequences: &[Vec<u32>]) -> Result<(Activations, Segments), EvaluationError> {
    let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
    Ok((model.embed(&sequences.concat())?, Segments::independent(&lengths)))
}

/// Runs `layers` over a stream and shows each output to `look`.
pub(super) fn forward(
    model: &LanguageModel,
    mut activations: Activations,
    segments: &Segments,
    layers: Range<usize>,
    request: LayerRequest<'_>,
    mut look: impl FnMut(usize, &LayerOutput) -> Result<(), EvaluationError>,
) -> Result<Activations, EvaluationError> {
    for layer in layers {
        let output = model.layer(layer, &activations, segments, request)?;
        check_sequences(layer, &output, segments)?;
        look(layer, &output)?;
        activations = output.activations;
    }
    Ok(activations)
}

/// As [`forward`], without looking. `positions` are those of the rows, for models that read them; numbered anew if not given.
pub(super) fn through(
    model: &LanguageModel,
    activations: Activations,
    segments: &Segments,
    layers: Range<usize>,
    positions: Option<&[u32]>,
) -> Result<Activations, EvaluationError> {
    let positions = positions.filter(|_| model.config().uses_positions());
    let request = LayerRequest { positions, ..LayerRequest::default() };
    forward(model, activations, segments, layers, request, |_, _| Ok(()))
}

/// Rows of both branches.
pub(super) fn rows_of(activations: &Activations, rows: &[u32]) -> Result<Activations, EvaluationError> {
    let residual = activations.residual.as_ref().map(|residual| gather_rows(residual, rows)).transpose()?;
    Ok(Activations { hidden: gather_rows(&activations.hidden, rows)?, residual })
}

/// The residual stream that the next block reads: residual plus hidden states, in host memory.
pub(super) fn stream(activations: &Activations) -> Result<Tensor, EvaluationError> {
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
pub(super) fn score(
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

/// How one answer came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    /// Mean of -ln p over the scored tokens.
    pub(super) loss: f64,
    /// Whether all of them are the greedy ones.
    pub(super) right: bool,
}

/// The answer to a question whose inputs begin at `first`, from which rows before those of the readings are gone: `removed` of them.
pub(super) fn answer_readings(question: &Question<'_>, first: usize, removed: usize) -> Vec<(usize, u32)> {
    question.readings().into_iter().map(|(row, target)| (first + row - removed, target)).collect()
}

/// One answer from the scores of its tokens.
pub(super) fn answer(scores: &[TokenScore], readings: &[(usize, u32)]) -> Answer {
    let loss = scores.iter().map(|score| -f64::from(score.log_prob)).sum::<f64>() / scores.len().max(1) as f64;
    let right = scores.iter().zip(readings).all(|(score, (_, target))| score.greedy == *target);
    Answer { loss, right }
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
