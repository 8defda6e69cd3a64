//! Probe `position`: where in the context does a loss of tokens hurt?
//!
//! A block of neighbouring tokens is removed after one layer, at evenly spaced places of the context. Every place is a pass of its
//! own from that layer on.

use ssm_kernels::Segments;
use ssm_model::LanguageModel;

use super::passes::{Observation, answer_readings, answers, embed, in_groups, rows_of, through};
use super::questions::{Question, questions};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, SITE_DEPTH, Subject, Values, items};
use crate::error::EvaluationError;
use crate::run::{PackedStream, RowTokens};
use reduction_strategies::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};

const BLOCK: OptionInfo = OptionInfo {
    name: "block",
    kind: OptionKind::Number { min: 0.0, max: 1.0 },
    default: OptionDefault::Number(0.1),
    help: "tokens of the block, as a share of those that may be removed; at least one token",
};

const PLACES: OptionInfo = OptionInfo {
    name: "places",
    kind: OptionKind::Integer { min: 2, max: 100 },
    default: OptionDefault::Integer(9),
    help: "places of the block, the first at the start of the context and the last at its end",
};

pub(super) static PROBE: Probe = Probe {
    name: "position",
    version: 1,
    question: "At which place of the context does a removed block of tokens cost the answer most, and is it more than the tokens' content?",
    formula: "loss of the answer without the block minus the loss of the whole sequence, by place = start / (n - block)",
    columns: &[
        Column {
            name: "place",
            help: "0 the block at the start of the context, 1 at its end (the last token stays)",
            values: Values::Follow(|facts| places(facts.options).map(Key::from).collect()),
        },
        Column {
            name: "necessary",
            help: "removed: the block holds a token that the answer needs; kept; any: both together",
            values: Values::Follow(|facts| {
                let words: &[&str] = if facts.marks { &["removed", "kept", "any"] } else { &["kept", "any"] };
                words.iter().map(|word| Key::from(*word)).collect()
            }),
        },
    ],
    measures: &[
        Measure { name: "loss_increase", unit: "nats per scored token", help: "of the answer" },
        Measure { name: "answer_lost", unit: "share", help: "answers that were the greedy ones and are no more" },
    ],
    options: &[items(40), SITE_DEPTH, BLOCK, PLACES],
    subject: Subject::Model,
    needs: Needs::NOTHING,
    cost: "one pass over each item for each place",
    run,
};

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let (model, site) = (setup.model, setup.site());
    let (share, places) = (setup.options.number("block"), setup.options.integer("places") as usize);
    in_groups(model, &questions(setup.items), places + 1, |group| look(model, site, share, places, group))
}

/// The places of the block, from 0 at the start of the context to 1 at its end.
fn places(options: &ResolvedOptions) -> impl Iterator<Item = f64> {
    let places = options.integer("places") as usize;
    (0..places).map(move |place| at(place, places))
}

fn at(place: usize, places: usize) -> f64 {
    place as f64 / (places - 1) as f64
}

/// Start and length of the block at `place` of `places` in `n` removable tokens.
fn block(n: usize, share: f64, place: usize, places: usize) -> (usize, usize) {
    let length = ((share * n as f64).round() as usize).clamp(1, n);
    let start = ((n - length) as f64 * place as f64 / (places - 1) as f64).round() as usize;
    (start, length)
}

fn look(
    model: &LanguageModel,
    site: usize,
    share: f64,
    places: usize,
    group: &[Question<'_>],
) -> Result<Vec<Observation>, EvaluationError> {
    let group: Vec<&Question<'_>> = group.iter().filter(|question| question.reducible() > 0).collect();
    let inputs: Vec<Vec<u32>> = group.iter().map(|question| question.inputs()).collect();
    let arriving = through(model, embed(model, &inputs)?, 0..site + 1)?;
    let (mut rows, mut positions) = (Vec::new(), Vec::new());
    let (mut lengths, mut readings) = (Vec::new(), Vec::new());
    let mut first = 0;
    for (index, question) in group.iter().enumerate() {
        let all = arriving.segments.rows(index);
        // The whole sequence, then one without the block at each place.
        let blocks = (0..places).map(|place| block(question.reducible(), share, place, places));
        for (start, length) in std::iter::once((0, 0)).chain(blocks) {
            let removed = all.start + start..all.start + start + length;
            let kept = all.clone().filter(|row| !removed.contains(row));
            // The positions keep the gap of the removed block.
            positions.extend(kept.clone().map(|row| (row - all.start) as u32));
            rows.extend(kept.map(|row| row as u32));
            lengths.push(all.len() - length);
            readings.push(answer_readings(question, first, length));
            first += all.len() - length;
        }
    }
    let activations = rows_of(&arriving.activations, &rows)?;
    let stream = PackedStream::new(activations, Segments::independent(&lengths), RowTokens::at(model, positions));
    let stream = through(model, stream, site + 1..model.config().n_layer())?;
    let answers = answers(model, &stream.activations, &readings)?;
    let mut seen = Vec::new();
    for (question, answers) in group.iter().zip(answers.chunks(places + 1)) {
        let marks = question.marks();
        let (dense, without) = (answers[0], &answers[1..]);
        for (place, answer) in without.iter().enumerate() {
            let (start, length) = block(marks.len(), share, place, places);
            let necessary = if marks[start..start + length].contains(&true) { "removed" } else { "kept" };
            for necessary in [necessary, "any"] {
                let keys = vec![Key::from(at(place, places)), Key::from(necessary)];
                seen.push((question.item, "loss_increase", answer.loss - dense.loss, keys.clone()));
                if dense.right {
                    seen.push((question.item, "answer_lost", f64::from(u8::from(!answer.right)), keys));
                }
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_reach_from_end_to_end() {
        assert_eq!([0, 1, 2].map(|place| block(21, 0.1, place, 3)), [(0, 2), (10, 2), (19, 2)]);
        assert_eq!(block(3, 0.01, 1, 2), (2, 1));
        assert_eq!(block(4, 1.0, 1, 2), (0, 4));
    }
}
