//! Probe `state_divergence`: how far are the states from those of the whole sequence after a token was taken away?
//!
//! One context token is removed from the stream after one layer, as a pruning strategy would. From there on both streams run through the
//! model cut into chained segments, so that the states at chosen distances behind the removed token are states of segments: no
//! second implementation of the scan is needed, and the probe runs wherever the model runs. After the token the two streams hold the
//! same tokens, row for row.
//!
//! What decays and what does not can be told apart by the half-lives of the parts of a state, taken at the mean step sizes of the
//! whole sequence ([`super::half_life`]).

use reduction_strategies::options::ResolvedOptions;
use ssm_kernels::Segments;
use ssm_kernels::host::{F32View, matrix};
use ssm_model::{LanguageModel, Signal, SignalSet};

use super::columns::{Facts, REMOVED, keys, thinned};
use super::half_life::{CLASSES, class, half_lives, mean_row};
use super::passes::{Observation, embed, forward, host, in_groups, parts, residual_stream, rows_of, through};
use super::questions::{Question, Removed, questions};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Recurrence, SITE_DEPTH, Subject, Values, every, items};
use crate::error::EvaluationError;
use crate::run::{PackedStream, RowTokens, Shown, Wanted};

pub(super) static PROBE: Probe = Probe {
    name: "state_divergence",
    version: 1,
    question: "After a token was removed, do the states return to those of the whole sequence, and how fast?",
    formula: "||h_t - h'_t|| / ||h_t|| over the parts of a state with half-life ln 2 / (mean_t dt |A|) in a class, t = distance behind the token",
    columns: &[
        Column {
            name: "layer",
            help: "0-based, of those with a scan",
            values: Values::Follow(|facts| keys(&shown(&facts.scans(), facts.options))),
        },
        Column { name: "distance", help: "tokens behind the removed one", values: Values::PowersOfTwo },
        Column {
            name: "half_life",
            help: "class of half-lives in tokens, or all",
            values: Values::Follow(half_life_keys),
        },
        Column { name: "removed", help: "necessary: a token that the answer needs; other", values: REMOVED },
    ],
    measures: &[
        Measure {
            name: "divergence",
            unit: "share",
            help: "of the states; 0 where they are the same, about 1.4 where unrelated",
        },
        Measure {
            name: "stream_divergence",
            unit: "share",
            help: "of the residual stream behind the layer, at the same row",
        },
        Measure { name: "weight", unit: "share", help: "part of ||h_t||^2 that the class holds" },
    ],
    options: &[items(40), SITE_DEPTH, every(4)],
    subject: Subject::Model,
    needs: Needs { recurrence: Recurrence::SomeLayer, ..Needs::NOTHING },
    cost: "two passes over each item for each of two removed tokens",
    run,
};

/// A removed token of a question, and where both streams are cut.
struct Case<'q, 'a> {
    question: &'q Question<'a>,
    position: usize,
    removed: Removed,
    /// Distances behind the token that the sequence is long enough for, ascending.
    distances: Vec<usize>,
}

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let (model, site) = (setup.model, setup.site());
    // In a hybrid the layers between them are run through and not looked at.
    let config = model.config();
    let scans: Vec<usize> = (site + 1..config.n_layer()).filter(|layer| config.layers[*layer].has_scan()).collect();
    let shown = shown(&scans, setup.options);
    // Two tokens, each with a whole and a shortened stream.
    in_groups(model, &questions(setup.items), 4, |group| look(model, site, &shown, setup.seed, group))
}

/// Those of the layers with a scan that are looked at.
fn shown(scans: &[usize], options: &ResolvedOptions) -> Vec<usize> {
    thinned(scans, options.integer("every") as usize)
}

/// The classes, and all of them together; the stream has no half-life.
fn half_life_keys(facts: &Facts<'_>) -> Vec<Key> {
    let classes = CLASSES.iter().map(|(name, _)| *name).filter(|_| facts.measure != "stream_divergence");
    classes.chain((facts.measure != "weight").then_some("all")).map(Key::from).collect()
}

/// 1, 2, 4, .. up to what fits behind `position` in `n` rows.
fn distances(position: usize, n: usize) -> Vec<usize> {
    std::iter::successors(Some(1_usize), |distance| Some(distance * 2)).take_while(|d| position + d < n).collect()
}

/// Lengths of the pieces behind the first one: they end at the distances, and at the end.
fn pieces(distances: &[usize], behind: usize) -> Vec<usize> {
    let ends: Vec<usize> =
        distances.iter().copied().chain((distances.last() != Some(&behind)).then_some(behind)).collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    ends.iter().zip(starts).map(|(end, start)| end - start).collect()
}

fn look(
    model: &LanguageModel,
    site: usize,
    layers: &[usize],
    seed: u64,
    group: &[Question<'_>],
) -> Result<Vec<Observation>, EvaluationError> {
    let inputs: Vec<Vec<u32>> = group.iter().map(Question::inputs).collect();
    let arriving = through(model, embed(model, &inputs)?, 0..site + 1)?;
    let mut cases = Vec::new();
    let (mut rows, mut positions) = (Vec::new(), Vec::new());
    let (mut lengths, mut parents) = (Vec::new(), Vec::new());
    for (index, question) in group.iter().enumerate() {
        let all = arriving.segments.rows(index);
        for (position, removed) in question.tokens_to_remove(seed, 1) {
            let distances = distances(position, all.len());
            let behind = all.len() - position - 1;
            for skip in [false, true] {
                let kept = all.clone().filter(|row| !skip || *row != all.start + position);
                positions.extend(kept.clone().map(|row| (row - all.start) as u32));
                rows.extend(kept.map(|row| row as u32));
                let first = lengths.len();
                lengths.extend([position + usize::from(!skip)].into_iter().chain(pieces(&distances, behind)));
                parents.extend((first..lengths.len()).map(|segment| (segment > first).then(|| segment - 1)));
            }
            cases.push(Case { question, position, removed, distances });
        }
    }
    let segments = Segments::new(&lengths, &parents)?;
    let activations = rows_of(&arriving.activations, &rows)?;
    let stream = PackedStream::new(activations, segments, RowTokens::at(model, positions));
    let mut seen = Vec::new();
    let wanted = |layer| {
        let looks = layers.contains(&layer);
        let signals = if looks { SignalSet::of(&[Signal::Dt, Signal::Scan]) } else { SignalSet::NONE };
        Wanted { signals, states: looks, ..Wanted::default() }
    };
    forward(model, stream, site + 1..model.config().n_layer(), wanted, |layer, stream, shown| {
        if layers.contains(&layer) { compare(layer, stream, &shown, &cases, &mut seen) } else { Ok(()) }
    })?;
    Ok(seen)
}

/// Compares the states of the two streams of each case after one layer.
fn compare(
    layer: usize,
    stream: &PackedStream,
    shown: &Shown,
    cases: &[Case<'_, '_>],
    seen: &mut Vec<Observation>,
) -> Result<(), EvaluationError> {
    let (Some(state), Some(dt), Some(scan)) = (&shown.state, shown.signals.get(Signal::Dt), shown.signals.scan())
    else {
        unreachable!("asked for")
    };
    let ssm = host(&parts(state)?.1.flatten_from(1)?)?;
    let (dt, a, after) = (host(dt)?, host(&scan.a.flatten_all()?)?, residual_stream(&stream.activations)?);
    let (states, _, size) = matrix(&ssm, "state_divergence", "states")?;
    let (dt, _, heads) = matrix(&dt, "state_divergence", "dt")?;
    let (after, _, width) = matrix(&after, "state_divergence", "stream")?;
    let a = F32View::new(&a, "state_divergence", "A")?;
    let mut first = 0;
    for case in cases {
        let n = 1 + pieces(&case.distances, case.question.inputs().len() - case.position - 1).len();
        let (whole, short) = (first, first + n);
        first += 2 * n;
        // Step sizes of the whole sequence: of the first of the two streams.
        let rows = stream.segments.rows(whole).start..stream.segments.rows(short).start;
        let lives = half_lives(&mean_row(&dt[rows.start * heads..rows.end * heads], heads), &a);
        let repeat = size / lives.len();
        for (piece, distance) in case.distances.iter().enumerate() {
            let at = |first: usize| &states[(first + 1 + piece) * size..(first + 2 + piece) * size];
            let mut sums = [(0.0_f64, 0.0_f64); CLASSES.len()];
            for (part, (h, other)) in at(whole).iter().zip(at(short)).enumerate() {
                let sums = &mut sums[class(lives[part / repeat])];
                sums.0 += f64::from(h - other).powi(2);
                sums.1 += f64::from(*h).powi(2);
            }
            let total = sums.iter().fold((0.0, 0.0), |all, own| (all.0 + own.0, all.1 + own.1));
            let key = |half_life: &str| {
                vec![Key::from(layer), Key::from(*distance), Key::from(half_life), Key::from(case.removed.name())]
            };
            for ((name, _), own) in CLASSES.iter().zip(sums).filter(|(_, own)| own.1 > 0.0) {
                seen.push((case.question.item, "divergence", (own.0 / own.1).sqrt(), key(name)));
                seen.push((case.question.item, "weight", own.1 / total.1, key(name)));
            }
            seen.push((case.question.item, "divergence", (total.0 / total.1).sqrt(), key("all")));
            let row = |first: usize| {
                let last = stream.segments.rows(first + 1 + piece).end - 1;
                &after[last * width..(last + 1) * width]
            };
            seen.push((case.question.item, "stream_divergence", relative(row(whole), row(short)), key("all")));
        }
    }
    Ok(())
}

/// `||a - b|| / ||a||`
pub(super) fn relative(a: &[f32], b: &[f32]) -> f64 {
    let (mut difference, mut norm) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        difference += f64::from(a - b).powi(2);
        norm += f64::from(*a).powi(2);
    }
    (difference / norm).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_by_hand() {
        assert_eq!(distances(2, 8), [1, 2, 4]);
        assert_eq!(pieces(&[1, 2, 4], 5), [1, 1, 2, 1]);
        assert_eq!(pieces(&[1, 2, 4], 4), [1, 1, 2]);
        assert!(distances(2, 3).is_empty());
        assert_eq!(pieces(&[], 0), [0]);
    }
}
