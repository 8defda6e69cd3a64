//! Probe `similarity`: how alike are tokens in each layer, and what does merging cost there?
//!
//! Measured on whole contexts. Merging is judged by the pairs that ToMe would merge first: each token at an even place with its most
//! similar one at an odd place, the strongest tenth of these pairs.

use reduction_strategies::blocks::importance::Source;
use reduction_strategies::vectors::{dot, norm};
use reduction_strategies::{Matrix, Reads, SiteStream, TokenTable, map_sequences};
use ssm_model::{Signal, SignalSet};

use super::columns::keys;
use super::passes::{Observation, embed, forward, in_groups};
use super::questions::{Question, questions};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Subject, Values, every, items, layers};
use crate::error::EvaluationError;
use crate::run::Wanted;

/// Share of the even tokens whose merge is judged.
const MERGED_SHARE: f64 = 0.1;

pub(super) static PROBE: Probe = Probe {
    name: "similarity",
    version: 1,
    question: "Do tokens become alike with depth, and does merging the most similar ones become cheaper?",
    formula: "cosines of rows; effective rank (sum l)^2 / sum l^2 of the Gram matrix of centred rows; |a - b| / (|a| + |b|) of merged pairs",
    columns: &[
        Column {
            name: "layer",
            help: "0-based; read after this block",
            values: Values::Follow(|facts| keys(&facts.every())),
        },
        Column { name: "source", help: "tensor: block_output, residual or ssm_output", values: Values::Open },
    ],
    measures: &[
        Measure { name: "mean_cosine", unit: "cosine", help: "over all pairs of tokens" },
        Measure { name: "neighbour_cosine", unit: "cosine", help: "over neighbouring tokens" },
        Measure {
            name: "best_cosine",
            unit: "cosine",
            help: "of a token at an even place with its best match at an odd place",
        },
        Measure {
            name: "effective_rank",
            unit: "share",
            help: "participation ratio of the token cloud over min(tokens, width)",
        },
        Measure {
            name: "merge_error",
            unit: "share",
            help: "distance of two merged tokens from their mean over their mean norm, strongest tenth of the pairs",
        },
    ],
    options: &[items(40), every(1)],
    subject: Subject::Model,
    needs: Needs::NOTHING,
    cost: "one pass over each context; quadratic in its length",
    run,
};

const SOURCES: [Source; 3] = [Source::BlockOutput, Source::Residual, Source::SsmOutput];

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let model = setup.model;
    let looked_at = layers(0, model.config().n_layer(), setup.options.integer("every") as usize);
    in_groups(model, &questions(setup.items), 1, |group| {
        let contexts: Vec<Vec<u32>> = group.iter().map(|question| question.context.to_vec()).collect();
        let table = TokenTable::new(group.iter().map(Question::table).collect());
        let signals = SignalSet::of(&[Signal::SsmOutput]);
        let wanted = |_| Wanted { signals, ..Wanted::default() };
        let mut seen: Vec<Observation> = Vec::new();
        forward(model, embed(model, &contexts)?, 0..model.config().n_layer(), wanted, |layer, stream, shown| {
            if !looked_at.contains(&layer) {
                return Ok(());
            }
            let site = SiteStream::new(layer, &table, &stream.segments, &stream.activations, &shown.signals)?;
            let by_question = map_sequences(&site, signals, Reads::ALL, 0, |view| {
                SOURCES.iter().map(|source| Ok(Likeness::of(source.of(view)?))).collect::<Result<Vec<_>, _>>()
            })?;
            for (question, all) in group.iter().zip(by_question.into_iter().flatten()) {
                for (source, likeness) in SOURCES.iter().zip(all) {
                    for (measure, value) in likeness.0 {
                        let keys = vec![Key::from(layer), Key::from(source.name())];
                        seen.push((question.item, measure, value, keys));
                    }
                }
            }
            Ok(())
        })?;
        Ok(seen)
    })
}

/// The measures of one sequence.
struct Likeness([(&'static str, f64); 5]);

impl Likeness {
    fn of(rows: Matrix<'_>) -> Self {
        let n = rows.rows;
        let norms: Vec<f64> = (0..n).map(|row| norm(rows.row(row))).collect();
        let cosine = |i: usize, j: usize| {
            let product = norms[i] * norms[j];
            if product == 0.0 { 0.0 } else { dot(rows.row(i), rows.row(j)) / product }
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let pairs: Vec<f64> = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| cosine(i, j)).collect();
        let neighbours: Vec<f64> = (1..n).map(|i| cosine(i - 1, i)).collect();
        let best = |even: usize| {
            let matches = (1..n).step_by(2).map(|odd| (cosine(even, odd), odd));
            matches.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).map(|(cosine, odd)| (cosine, even, odd))
        };
        let mut edges: Vec<(f64, usize, usize)> = (0..n).step_by(2).filter_map(best).collect();
        let best: Vec<f64> = edges.iter().map(|edge| edge.0).collect();
        edges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        edges.truncate((MERGED_SHARE * edges.len() as f64).ceil() as usize);
        let error = |&(_, even, odd): &(f64, usize, usize)| {
            let square = norms[even].powi(2) + norms[odd].powi(2) - 2.0 * dot(rows.row(even), rows.row(odd));
            square.max(0.0).sqrt() / (norms[even] + norms[odd])
        };
        let errors: Vec<f64> = edges.iter().map(error).collect();
        Self([
            ("mean_cosine", mean(&pairs)),
            ("neighbour_cosine", mean(&neighbours)),
            ("best_cosine", mean(&best)),
            ("effective_rank", effective_rank(rows) / n.min(rows.columns) as f64),
            ("merge_error", mean(&errors)),
        ])
    }
}

/// `(sum_i l_i)^2 / sum_i l_i^2` over the eigenvalues of the Gram matrix `G` of centred rows, which is `tr(G)^2 / ||G||_F^2`.
fn effective_rank(rows: Matrix<'_>) -> f64 {
    let n = rows.rows;
    let mean = super::half_life::mean_row(rows.values, rows.columns);
    let centred: Vec<Vec<f32>> = (0..n)
        .map(|row| rows.row(row).iter().zip(&mean).map(|(value, mean)| (f64::from(*value) - mean) as f32).collect())
        .collect();
    let (mut trace, mut squares) = (0.0, 0.0);
    for i in 0..n {
        for j in 0..=i {
            let product = dot(&centred[i], &centred[j]);
            if i == j {
                trace += product;
                squares += product * product;
            } else {
                squares += 2.0 * product * product;
            }
        }
    }
    trace * trace / squares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(likeness: &Likeness, name: &str) -> f64 {
        likeness.0.iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn likeness_by_hand() {
        // Four rows: a, a, b, -b with a = (1, 0), b = (0, 2).
        let values = [1.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.0, -2.0];
        let likeness = Likeness::of(Matrix { values: &values, rows: 4, columns: 2 });
        // Pairs: 1, 0, 0, 0, 0, -1. Neighbours: 1, 0, -1. Even 0 with 1 (1.0); even 2 with 1 (0), not with 3 (-1).
        assert!(value(&likeness, "mean_cosine").abs() < 1e-12);
        assert!(value(&likeness, "neighbour_cosine").abs() < 1e-12);
        assert!((value(&likeness, "best_cosine") - 0.5).abs() < 1e-12);
        // The one strongest pair is equal.
        assert!(value(&likeness, "merge_error").abs() < 1e-12);
        // Centred: (0.5, 0) twice, (-0.5, 2), (-0.5, -2): variances 1 and 8, so 81 / 65, of 2.
        assert!((value(&likeness, "effective_rank") - 81.0 / 65.0 / 2.0).abs() < 1e-6);
    }
}
