//! What later tokens miss of removed ones: a part of what these would hand on is taken away, in all layers after their removal.
//!
//! | part | conv inputs of later tokens | state after a removed token |
//! |---|---|---|
//! | `whole` | with the token | `exp(dt A) h + dt B x`: nothing is taken away |
//! | `write` | with the token | `exp(dt A) h` (decayed, nothing written) |
//! | `decay` | with the token | `h + dt B x` (written, not decayed) |
//! | `write_and_decay` | with the token | `h` (as if the scan had skipped it) |
//! | `conv` | without | `exp(dt A) h + dt B x` |
//! | `all` | without | `h`: what pruning does |
//!
//! No layer is changed for this. States are values: of every part the tokens between two removed ones run as segments that start from a
//! state which is put together from the one before and from what the removed tokens hand on. That is always what they hand on in the
//! whole sequence, which runs along as the *front*: a removed token's own rows are those of the whole sequence, and reach later tokens
//! through what the part keeps alone. A layer without a scan has no state to put together. There later tokens read the rows of the removed ones in
//! the whole sequence, and under `all` they do not.

use candle_core::Tensor;
use ssm_kernels::Segments;
use ssm_model::{Activations, LanguageModel, LayerState, Signal, SignalSet, Signals};

use super::passes::{AnswerLoss, answer_readings, answers, joined, parts, rows_of, whole};
use super::questions::Question;
use crate::error::EvaluationError;
use crate::run::{Check, LayerInput, PackedStream, RowTokens, Wanted, run_layer};

/// What is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Write,
    Decay,
    WriteAndDecay,
    Conv,
    All,
}

/// All of them; [`Part::Whole`], with which the others are compared, is the first.
pub(super) const PARTS: [Part; 6] = [Part::Whole, Part::Write, Part::Decay, Part::WriteAndDecay, Part::Conv, Part::All];

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Write => "write",
            Self::Decay => "decay",
            Self::WriteAndDecay => "write_and_decay",
            Self::Conv => "conv",
            Self::All => "all",
        }
    }

    fn takes_conv(self) -> bool {
        matches!(self, Self::Conv | Self::All)
    }
}

/// Removed tokens of one question.
pub(super) struct Case<'q, 'a> {
    pub(super) question: &'q Question<'a>,
    /// Index of its sequence in the stream.
    pub(super) sequence: usize,
    /// Position of each removed token, ascending, and the first layer that runs without it.
    pub(super) removed: Vec<(usize, usize)>,
}

/// Removed tokens that follow each other in one layer: a range of the removed tokens of a case.
type Block = std::ops::Range<usize>;

/// The stretches between the removed tokens of a layer: the `k`-th of every case that has so many, in every part.
struct Step {
    /// Indices of cases, and the block before the stretch.
    blocks: Vec<(usize, Block)>,
    stream: PackedStream,
}

/// Sees the states at the end of a case after a layer: `[parts, ..]`.
pub(super) type AtEnd<'f> = dyn FnMut(usize, usize, &Tensor) -> Result<(), EvaluationError> + 'f;

/// The answer of every case (in order) with every part taken away (within), from the stream that arrives at layer `first`. `at_end` is
/// called with the layer, the case and its states.
pub(super) fn run(
    model: &LanguageModel,
    arriving: &PackedStream,
    first: usize,
    cases: &[Case<'_, '_>],
    at_end: &mut AtEnd<'_>,
) -> Result<Vec<AnswerLoss>, EvaluationError> {
    let mut streams = Streams::new(arriving, cases)?;
    for layer in first..model.config().n_layer() {
        if cases.iter().any(|case| case.removed.iter().any(|(_, from)| *from == layer)) {
            streams.remove(model, layer)?;
        }
        if model.config().layers[layer].has_scan() {
            streams.scan(model, layer, at_end)?;
        } else {
            streams.mix(model, layer)?;
        }
    }
    streams.answers(model)
}

/// The whole sequences of all cases, and the rows of every part that differ from theirs.
struct Streams<'c, 'q, 'a> {
    cases: &'c [Case<'q, 'a>],
    /// Whole sequences, cut at every token that is removed somewhere.
    front: PackedStream,
    /// First row of each case in the front, and the segment of each of its removed tokens.
    starts: Vec<usize>,
    removed_segments: Vec<Vec<usize>>,
    /// What is already missed.
    steps: Vec<Step>,
    /// Of each case and part, the row of each position in the front and all steps, joined in this order: a removed token's is that of the
    /// whole sequence.
    rows: Vec<Vec<u32>>,
}

impl<'c, 'q, 'a> Streams<'c, 'q, 'a> {
    fn new(arriving: &PackedStream, cases: &'c [Case<'q, 'a>]) -> Result<Self, EvaluationError> {
        let (mut front, mut starts, mut removed_segments, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut lengths, mut parents) = (Vec::new(), Vec::new());
        for case in cases {
            let own = arriving.segments.rows(case.sequence);
            let start = front.len();
            starts.push(start);
            rows.extend(PARTS.map(|_| (start as u32..(start + own.len()) as u32).collect::<Vec<u32>>()));
            let (root, mut next, mut segments) = (lengths.len(), 0, Vec::new());
            let mut add = |length: usize| {
                if length > 0 {
                    parents.push((lengths.len() > root).then(|| lengths.len() - 1));
                    lengths.push(length);
                }
                lengths.len() - 1
            };
            for (position, _) in &case.removed {
                if *position > next {
                    add(position - next);
                }
                segments.push(add(1));
                next = position + 1;
            }
            if own.len() > next {
                add(own.len() - next);
            }
            removed_segments.push(segments);
            front.extend(own.map(|row| row as u32));
        }
        let activations = rows_of(&arriving.activations, &front)?;
        let front = PackedStream::new(activations, Segments::new(&lengths, &parents)?, RowTokens::untouched());
        Ok(Self { cases, front, starts, removed_segments, steps: Vec::new(), rows })
    }

    /// Rows of the front and of all steps.
    fn joined(&self) -> Result<Activations, EvaluationError> {
        let mut streams = vec![&self.front.activations];
        streams.extend(self.steps.iter().map(|step| &step.stream.activations));
        joined(&streams)
    }

    /// What is removed before `layer` is missed from here on.
    fn remove(&mut self, model: &LanguageModel, layer: usize) -> Result<(), EvaluationError> {
        let all = self.joined()?;
        // Of each case, in order: a block and the positions up to the next one.
        let stretches: Vec<Vec<(Block, std::ops::Range<usize>)>> = (0..self.cases.len())
            .map(|index| {
                let removed = &self.cases[index].removed;
                let gone: Vec<usize> = (0..removed.len()).filter(|token| removed[*token].1 <= layer).collect();
                let blocks: Vec<&[usize]> = gone.chunk_by(|a, b| removed[*b].0 == removed[*a].0 + 1).collect();
                let end = self.rows[index * PARTS.len()].len();
                let stretch = |(k, block): (usize, &&[usize])| {
                    let after = removed[block[block.len() - 1]].0 + 1;
                    let until = blocks.get(k + 1).map_or(end, |next| removed[next[0]].0);
                    // Nothing fits between neighbours: all removed tokens of the range are gone.
                    (block[0]..block[block.len() - 1] + 1, after..until)
                };
                blocks.iter().enumerate().map(stretch).collect()
            })
            .collect();
        let most = stretches.iter().map(Vec::len).max().unwrap_or(0);
        let mut first = self.front.segments.n_tokens();
        let mut new_rows: Vec<(usize, std::ops::Range<usize>, usize)> = Vec::new();
        self.steps = (0..most)
            .map(|k| {
                let (mut blocks, mut lengths, mut positions, mut rows) =
                    (Vec::new(), Vec::new(), Vec::new(), Vec::new());
                for (index, own) in stretches.iter().enumerate() {
                    let Some((block, kept)) = own.get(k) else { continue };
                    blocks.push((index, block.clone()));
                    for part in index * PARTS.len()..(index + 1) * PARTS.len() {
                        new_rows.push((part, kept.clone(), first + rows.len()));
                        lengths.push(kept.len());
                        positions.extend(kept.start as u32..kept.end as u32);
                        rows.extend_from_slice(&self.rows[part][kept.clone()]);
                    }
                }
                first += rows.len();
                let (segments, tokens) = (Segments::independent(&lengths), RowTokens::at(model, positions));
                Ok(Step { blocks, stream: PackedStream::new(rows_of(&all, &rows)?, segments, tokens) })
            })
            .collect::<Result<_, EvaluationError>>()?;
        // Everything else, removed tokens among it, goes on as in the whole sequence.
        for (index, rows) in self.rows.iter_mut().enumerate() {
            let start = self.starts[index / PARTS.len()];
            rows.iter_mut().enumerate().for_each(|(position, row)| *row = (start + position) as u32);
        }
        for (part, kept, first) in new_rows {
            let start = kept.start;
            kept.for_each(|position| self.rows[part][position] = (first + position - start) as u32);
        }
        Ok(())
    }

    /// A layer with a scan.
    fn scan(&mut self, model: &LanguageModel, layer: usize, at_end: &mut AtEnd<'_>) -> Result<(), EvaluationError> {
        let check = Check::Sequences;
        let wanted = Wanted { signals: SignalSet::of(&[Signal::Dt, Signal::Scan]), states: true, check };
        let output = run_layer(model, layer, self.front.input(), wanted)?;
        let state = output.state.as_ref().unwrap_or_else(|| unreachable!("asked for"));
        let handed = HandedOn::new(state, &output.signals, &self.front.segments)?;
        let mut before: Option<(Vec<usize>, LayerState)> = None;
        for k in 0..self.steps.len() {
            let step = &self.steps[k];
            let tokens = |(case, block): &(usize, Block)| self.removed_segments[*case][block.clone()].to_vec();
            let blocks: Vec<Vec<usize>> = step.blocks.iter().map(tokens).collect();
            let initial = match &before {
                None => handed.starts(&blocks)?,
                Some((cases, state)) => {
                    // Cases that end with the step before are left behind.
                    let place = |case: usize| cases.iter().position(|known| *known == case);
                    let own = step.blocks.iter().filter_map(|(case, _)| place(*case));
                    let own: Vec<u32> = own
                        .flat_map(|place| (place * PARTS.len()..(place + 1) * PARTS.len()).map(|i| i as u32))
                        .collect();
                    handed.after(&blocks, &state.select(&own)?)?
                }
            };
            let input = LayerInput { initial: Some(&initial), ..step.stream.input() };
            let after = run_layer(model, layer, input, Wanted { states: true, check, ..Wanted::default() })?;
            let state = after.state.unwrap_or_else(|| unreachable!("asked for"));
            let cases: Vec<usize> = step.blocks.iter().map(|(case, _)| *case).collect();
            let next: &[(usize, Block)] = self.steps.get(k + 1).map_or(&[], |step| &step.blocks);
            for (place, case) in cases.iter().enumerate() {
                if next.iter().all(|(other, _)| other != case) {
                    at_end(layer, *case, &parts(&state)?.1.narrow(0, place * PARTS.len(), PARTS.len())?)?;
                }
            }
            before = Some((cases, state));
            self.steps[k].stream.activations = after.activations;
        }
        self.front.activations = output.activations;
        Ok(())
    }

    /// A layer without a scan: attention, or one that looks at each row alone.
    fn mix(&mut self, model: &LanguageModel, layer: usize) -> Result<(), EvaluationError> {
        let wanted = Wanted { check: Check::Sequences, ..Wanted::default() };
        let all = self.joined()?;
        let output = run_layer(model, layer, self.front.input(), wanted)?;
        self.front.activations = output.activations;
        if self.steps.is_empty() {
            return Ok(());
        }
        let (mut rows, mut positions, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        // Where each row of the front and the steps goes.
        let mut places = vec![0; all.hidden.dim(0)?];
        for (index, own) in self.rows.iter().enumerate() {
            let (case, part) = (&self.cases[index / PARTS.len()], PARTS[index % PARTS.len()]);
            let is_gone = |position: usize| {
                let found = case.removed.binary_search_by_key(&position, |(position, _)| *position);
                found.is_ok_and(|token| case.removed[token].1 <= layer)
            };
            let start = rows.len();
            for (position, row) in own.iter().enumerate() {
                if part == Part::All && is_gone(position) {
                    continue;
                }
                places[*row as usize] = rows.len() as u32;
                rows.push(*row);
                positions.push(position as u32);
            }
            lengths.push(rows.len() - start);
        }
        let (segments, tokens) = (Segments::independent(&lengths), RowTokens::at(model, positions));
        let stream = PackedStream::new(rows_of(&all, &rows)?, segments, tokens);
        let output = run_layer(model, layer, stream.input(), wanted)?;
        let mut first = self.front.segments.n_tokens();
        for step in &mut self.steps {
            let own = &places[first..first + step.stream.segments.n_tokens()];
            step.stream.activations = rows_of(&output.activations, own)?;
            first += own.len();
        }
        Ok(())
    }

    fn answers(&self, model: &LanguageModel) -> Result<Vec<AnswerLoss>, EvaluationError> {
        let all = self.joined()?;
        let read = |(index, rows): (usize, &Vec<u32>)| {
            let readings = answer_readings(self.cases[index / PARTS.len()].question, 0, 0);
            readings.into_iter().map(|(position, target)| (rows[position] as usize, target)).collect()
        };
        let readings: Vec<Vec<(usize, u32)>> = self.rows.iter().enumerate().map(read).collect();
        answers(model, &all, &readings)
    }
}

/// What the tokens of the front hand on in a layer with a scan.
struct HandedOn {
    /// Inputs of the convolution and state of the scan after each segment; the last entry is before any token: zeros.
    conv: Tensor,
    ssm: Tensor,
    /// Parent of each segment.
    parents: Vec<Option<usize>>,
    /// First row of each segment.
    rows: Vec<u32>,
    /// `[rows, heads]`
    dt: Tensor,
    /// `[own, heads]`
    a: Tensor,
}

impl HandedOn {
    fn new(state: &LayerState, signals: &Signals, segments: &Segments) -> Result<Self, EvaluationError> {
        let (Some(dt), Some(scan)) = (signals.get(Signal::Dt), signals.scan()) else { unreachable!("asked for") };
        let with_zeros = |tensor: &Tensor| Tensor::cat(&[tensor, &tensor.narrow(0, 0, 1)?.zeros_like()?], 0);
        let (conv, ssm) = parts(state)?;
        Ok(Self {
            conv: with_zeros(conv)?,
            ssm: with_zeros(ssm)?,
            parents: (0..segments.len()).map(|segment| segments.parent(segment)).collect(),
            rows: (0..segments.len()).map(|segment| segments.rows(segment).start as u32).collect(),
            dt: dt.clone(),
            a: scan.a.reshape(((), dt.dim(1)?))?,
        })
    }

    /// `tensor` at one segment each.
    fn at(tensor: &Tensor, segments: impl Iterator<Item = usize>) -> Result<Tensor, EvaluationError> {
        let index: Vec<u32> = segments.map(|segment| segment as u32).collect();
        Ok(tensor.index_select(&Tensor::new(index.as_slice(), tensor.device())?, 0)?)
    }

    fn before(&self, segment: usize) -> usize {
        self.parents[segment].unwrap_or(self.parents.len())
    }

    /// `exp(dt A)` over all tokens of each group in the shape of a state: `[groups, d_inner, d_state]` or `[groups, nheads, 1, 1]`.
    fn decays(&self, groups: &[&[usize]]) -> Result<Tensor, EvaluationError> {
        let dt =
            sums(&Self::at(&self.dt, groups.concat().into_iter().map(|token| self.rows[token] as usize))?, groups)?;
        let (groups, heads) = dt.dims2()?;
        // [groups, own, heads] -> [groups, heads, own]
        let decay = dt.reshape((groups, 1, heads))?.broadcast_mul(&self.a.unsqueeze(0)?)?.exp()?;
        let decay = decay.transpose(1, 2)?.contiguous()?;
        Ok(if self.ssm.rank() == 4 { decay.unsqueeze(3)? } else { decay })
    }

    /// The states after the first block of each case: before it every part is the whole sequence. Cases in order, parts within.
    fn starts(&self, blocks: &[Vec<usize>]) -> Result<LayerState, EvaluationError> {
        let (firsts, lasts) =
            (|| blocks.iter().map(|block| block[0]), || blocks.iter().map(|block| block[block.len() - 1]));
        let befores = || firsts().map(|first| self.before(first));
        let (before, after) = (Self::at(&self.ssm, befores())?, Self::at(&self.ssm, lasts())?);
        let (conv_before, conv_after) = (Self::at(&self.conv, befores())?, Self::at(&self.conv, lasts())?);
        let scans = PARTS.map(|part| {
            Ok(match part {
                Part::Whole | Part::Conv => after.clone(),
                Part::Write => before.broadcast_mul(&self.decays(&slices(blocks))?)?,
                Part::Decay => self.written_on(&before, blocks)?,
                Part::WriteAndDecay | Part::All => before.clone(),
            })
        });
        let scans = scans.into_iter().collect::<Result<Vec<_>, EvaluationError>>()?;
        let convs = PARTS.map(|part| if part.takes_conv() { conv_before.clone() } else { conv_after.clone() });
        Ok(whole(interleave(&convs)?, interleave(&scans)?))
    }

    /// The states after later blocks, from those before them: cases in order, parts within.
    fn after(&self, blocks: &[Vec<usize>], state: &LayerState) -> Result<LayerState, EvaluationError> {
        let (conv, ssm) = parts(state)?;
        let of_part =
            |tensor: &Tensor, index: usize| Self::at(tensor, (0..blocks.len()).map(|case| case * PARTS.len() + index));
        let (firsts, lasts) =
            (|| blocks.iter().map(|block| block[0]), || blocks.iter().map(|block| block[block.len() - 1]));
        let (before, after) =
            (Self::at(&self.ssm, firsts().map(|first| self.before(first)))?, Self::at(&self.ssm, lasts())?);
        let decays = self.decays(&slices(blocks))?;
        let conv_after = Self::at(&self.conv, lasts())?;
        let lengths: Vec<usize> = blocks.iter().map(Vec::len).collect();
        let (mut convs, mut scans) = (Vec::new(), Vec::new());
        for (index, part) in PARTS.into_iter().enumerate() {
            let h = of_part(ssm, index)?;
            scans.push(match part {
                // What the block writes is its state in the whole sequence minus the decayed one before it.
                Part::Whole | Part::Conv => (&after + (h - &before)?.broadcast_mul(&decays)?)?,
                Part::Write => h.broadcast_mul(&decays)?,
                Part::Decay => self.written_on(&h, blocks)?,
                Part::WriteAndDecay | Part::All => h,
            });
            let own = of_part(conv, index)?;
            convs.push(if part.takes_conv() { own } else { shifted(&own, &conv_after, &lengths)? });
        }
        Ok(whole(interleave(&convs)?, interleave(&scans)?))
    }

    /// `h + dt B x` of every token of a block.
    fn written_on(&self, h: &Tensor, blocks: &[Vec<usize>]) -> Result<Tensor, EvaluationError> {
        let (tokens, blocks) = (blocks.concat(), slices(blocks));
        let after = Self::at(&self.ssm, tokens.iter().copied())?;
        let singles: Vec<&[usize]> = tokens.chunks(1).collect();
        let before = Self::at(&self.ssm, tokens.iter().map(|token| self.before(*token)))?;
        let decayed = before.broadcast_mul(&self.decays(&singles)?)?;
        Ok(((h + sums(&after, &blocks)?)? - sums(&decayed, &blocks)?)?)
    }
}

fn slices(blocks: &[Vec<usize>]) -> Vec<&[usize]> {
    blocks.iter().map(Vec::as_slice).collect()
}

/// The sum over each group: `values` has an entry for each member of each group, in order.
fn sums(values: &Tensor, groups: &[&[usize]]) -> Result<Tensor, EvaluationError> {
    if groups.iter().all(|group| group.len() == 1) {
        return Ok(values.clone());
    }
    let ids: Vec<u32> = groups.iter().enumerate().flat_map(|(index, group)| vec![index as u32; group.len()]).collect();
    let mut shape = values.dims().to_vec();
    shape[0] = groups.len();
    let zeros = Tensor::zeros(shape, values.dtype(), values.device())?;
    Ok(zeros.index_add(&Tensor::new(ids.as_slice(), values.device())?, values, 0)?)
}

/// Inputs of a convolution `[cases, channels, d_conv]`, oldest first, after so many more tokens, whose inputs are the last of `newer`.
fn shifted(older: &Tensor, newer: &Tensor, tokens: &[usize]) -> Result<Tensor, EvaluationError> {
    let (cases, channels, width) = older.dims3()?;
    let column = |tokens: &usize| {
        let shift = *tokens.min(&width);
        // Of the older inputs followed by the newer ones.
        (0..width).map(move |column| (if column + shift < width { column + shift } else { width + column }) as u32)
    };
    let index: Vec<u32> = tokens.iter().flat_map(column).collect();
    let index = Tensor::from_vec(index, (cases, 1, width), older.device())?;
    let index = index.broadcast_as((cases, channels, width))?.contiguous()?;
    Ok(Tensor::cat(&[older, newer], 2)?.contiguous()?.gather(&index, 2)?)
}

/// `[cases, ..]` of every part to `[cases * parts, ..]`.
fn interleave(parts: &[Tensor]) -> Result<Tensor, EvaluationError> {
    Ok(Tensor::stack(parts, 1)?.flatten(0, 1)?.contiguous()?)
}
