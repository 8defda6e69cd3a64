//! Probe `leak`: do logits at a position change when later tokens change?
//!
//! The whole input is reduced, as under the protocol `aligned`, twice: as it is, and with its second half reversed. A causal model that is
//! not reduced gives the same logits in the first half; a strategy that looks at the whole sequence decides there by what comes
//! later.

use reduction_strategies::{SegmentTokens, TokenTable};
use ssm_kernels::Segments;
use ssm_model::Activations;

use super::passes::{Observation, host, in_groups};
use super::questions::{Question, questions};
use super::table::{Key, ProbeTable};
use super::{Column, Measure, Needs, Probe, ProbeSetup, Subject, Values, items};
use crate::batch::Batch;
use crate::error::EvaluationError;
use crate::finite::check_logits;
use crate::run::{Driven, drive, located};

/// Classes of distances to the first changed token: name and lower bound.
const CLASSES: [(&str, usize); 4] = [("1-4", 1), ("5-16", 5), ("17-64", 17), (">64", 65)];

pub(super) static PROBE: Probe = Probe {
    name: "leak",
    version: 1,
    question: "How much of what is predicted at a position changes when only later tokens change?",
    formula: "total variation (1/2) sum_v |p(v) - p'(v)| of the predictions at positions of the first half when the second half is reversed",
    columns: &[Column {
        name: "distance",
        help: "tokens from the position to the first changed token, or all",
        values: Values::Open,
    }],
    measures: &[
        Measure {
            name: "total_variation",
            unit: "probability",
            help: "0 for the same prediction, 1 for disjoint ones",
        },
        Measure { name: "changed", unit: "share", help: "positions whose logits are not the same bit for bit" },
        Measure {
            name: "moved",
            unit: "share",
            help: "positions that are read from another surviving row than before",
        },
    ],
    options: &[items(40)],
    subject: Subject::Reduction,
    needs: Needs::NOTHING,
    cost: "two reduced passes over each item and the head at half of its rows",
    run,
};

fn run(setup: &ProbeSetup<'_>) -> Result<ProbeTable, EvaluationError> {
    let (model, reduction) = (setup.model, setup.reduction());
    in_groups(model, &questions(setup.items), 1, |group| {
        let texts: Vec<Vec<u32>> = group.iter().map(Question::inputs).collect();
        let mut changed = texts.clone();
        for text in &mut changed {
            let half = text.len() / 2;
            text[half..].reverse();
        }
        let pass = |texts: &[Vec<u32>]| {
            let batch = batch(group, texts);
            drive(model, &batch, reduction).map_err(|error| located(model, &batch, reduction, &error).unwrap_or(error))
        };
        let (before, after) = (pass(&texts)?, pass(&changed)?);
        let mut seen: Vec<Observation> = Vec::new();
        for (index, (question, (text, changed))) in group.iter().zip(texts.iter().zip(&changed)).enumerate() {
            // Up to the first token that really differs.
            let Some(first) = text.iter().zip(changed).position(|(a, b)| a != b) else { continue };
            let rows = |pass: &(Activations, Driven)| -> Vec<Option<(u32, u32)>> {
                let positions = &pass.1.table.segments[index].positions;
                let start = pass.1.segments.rows(index).start;
                let nearest = |position: u32| positions.partition_point(|known| *known <= position).checked_sub(1);
                (0..first as u32).map(|at| nearest(at).map(|row| ((start + row) as u32, positions[row]))).collect()
            };
            let pairs = rows(&before).into_iter().zip(rows(&after)).enumerate();
            // Where nothing at or before the position survives there is no prediction to compare.
            let pairs: Vec<_> = pairs.filter_map(|(at, (a, b))| Some((first - at, a?, b?))).collect();
            let logits = |activations: &Activations, rows: Vec<u32>| -> Result<Vec<Vec<f32>>, EvaluationError> {
                if rows.is_empty() {
                    return Ok(Vec::new());
                }
                let logits = model.head(activations, &rows)?;
                check_logits(&logits)?;
                Ok(host(&logits)?.to_vec2()?)
            };
            let a = logits(&before.0, pairs.iter().map(|(_, a, _)| a.0).collect())?;
            let b = logits(&after.0, pairs.iter().map(|(_, _, b)| b.0).collect())?;
            for ((distance, from, to), (a, b)) in pairs.into_iter().zip(a.iter().zip(&b)) {
                let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                let class = CLASSES.iter().rev().find(|(_, low)| distance >= *low).map_or("1-4", |(name, _)| name);
                for class in [class, "all"] {
                    let mut see = |measure, value| seen.push((question.item, measure, value, vec![Key::from(class)]));
                    see("total_variation", if same { 0.0 } else { total_variation(a, b) });
                    see("changed", f64::from(u8::from(!same)));
                    see("moved", f64::from(u8::from(from.1 != to.1)));
                }
            }
        }
        Ok(seen)
    })
}

fn batch(group: &[Question<'_>], texts: &[Vec<u32>]) -> Batch {
    let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
    let table = group.iter().zip(&lengths).map(|(question, n)| SegmentTokens::reducible(question.item as u64, *n));
    Batch {
        tokens: texts.concat(),
        segments: Segments::independent(&lengths),
        table: TokenTable::new(table.collect()),
        placements: Vec::new(),
    }
}

/// `(1/2) sum_v |p(v) - q(v)|` of the softmax of two rows of logits.
fn total_variation(a: &[f32], b: &[f32]) -> f64 {
    let softmax = |logits: &[f32]| -> Vec<f64> {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = logits.iter().map(|logit| f64::from(logit - top).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    };
    softmax(a).iter().zip(softmax(b)).map(|(p, q)| (p - q).abs()).sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_variation_by_hand() {
        let ln = |p: f32| p.ln();
        assert!((total_variation(&[ln(0.5), ln(0.5)], &[ln(0.9), ln(0.1)]) - 0.4).abs() < 1e-6);
        assert!(total_variation(&[1.0, 2.0], &[3.0, 4.0]).abs() < 1e-6, "the same after the softmax");
    }
}
