//! Comparisons as a table: one row per task of each pair, and one for the mean over tasks.

use polars::prelude::*;
use serde::Serialize;

use super::{Pair, Row};
use crate::error::AnalyseError;

/// One row; a column of the frame each, `null` where there is no value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompareRow {
    /// The model.
    pub model: String,
    /// The protocol.
    pub protocol: String,
    /// Sites and the reduction that was asked for, in words.
    pub setting: String,
    /// First strategy with its options.
    pub a: String,
    /// Second strategy with its options.
    pub b: String,
    /// Task; none in the mean over tasks.
    pub task: Option<String>,
    /// Metric.
    pub metric: String,
    /// Items.
    pub n: usize,
    /// Value of `a`.
    pub value_a: f64,
    /// Value of `b`.
    pub value_b: f64,
    /// `value_b - value_a`.
    pub difference: f64,
    /// Low end of its 95 % interval.
    pub ci_low: f64,
    /// High end of its 95 % interval.
    pub ci_high: f64,
    /// Two-sided, not corrected.
    pub p_value: f64,
    /// With Holm's correction over the pairs, [`Row::p_holm`].
    pub p_holm: Option<f64>,
    /// Items on which `b` is better.
    pub b_better: usize,
    /// Items on which `b` is worse.
    pub b_worse: usize,
    /// FLOPs reduction that `a` achieved.
    pub achieved_a: f64,
    /// FLOPs reduction that `b` achieved.
    pub achieved_b: f64,
    /// Whether they are at most half a point apart: otherwise the difference is not one of the rules alone.
    pub equal_terms: bool,
    /// Whether lower values are better.
    pub lower_is_better: bool,
}

/// The rows of all pairs, those of a pair together and its mean last.
pub fn rows(pairs: &[Pair]) -> Vec<CompareRow> {
    let of_pair = |pair: &Pair| {
        let tasks = pair.rows.iter().map(|row| of_row(pair, row, Some(row.task.clone())));
        tasks.chain(pair.mean.as_ref().map(|mean| of_row(pair, mean, None))).collect::<Vec<_>>()
    };
    pairs.iter().flat_map(of_pair).collect()
}

fn of_row(pair: &Pair, row: &Row, task: Option<String>) -> CompareRow {
    let [a, b] = pair.labels.clone();
    CompareRow {
        model: pair.model.clone(),
        protocol: pair.protocol.clone(),
        setting: pair.setting.clone(),
        a,
        b,
        task,
        metric: row.metric.clone(),
        n: row.n,
        value_a: row.values[0],
        value_b: row.values[1],
        difference: row.difference,
        ci_low: row.interval[0],
        ci_high: row.interval[1],
        p_value: row.p_value,
        p_holm: row.p_holm,
        b_better: row.signs[0],
        b_worse: row.signs[1],
        achieved_a: row.achieved[0],
        achieved_b: row.achieved[1],
        equal_terms: row.is_on_equal_terms(),
        lower_is_better: row.lower_is_better,
    }
}

/// The rows as a frame.
///
/// # Errors
/// polars cannot build it.
pub fn frame(pairs: &[Pair]) -> Result<DataFrame, AnalyseError> {
    let rows = rows(pairs);
    macro_rules! column {
        ($name:ident) => {
            column!($name, |value| value)
        };
        ($name:ident, $of:expr) => {
            Column::new(stringify!($name).into(), rows.iter().map(|row| $of(row.$name.clone())).collect::<Vec<_>>())
        };
    }
    let count = |value: usize| value as u64;
    let columns = vec![
        column!(model),
        column!(protocol),
        column!(setting),
        column!(a),
        column!(b),
        column!(task),
        column!(metric),
        column!(n, count),
        column!(value_a),
        column!(value_b),
        column!(difference),
        column!(ci_low),
        column!(ci_high),
        column!(p_value),
        column!(p_holm),
        column!(b_better, count),
        column!(b_worse, count),
        column!(achieved_a),
        column!(achieved_b),
        column!(equal_terms),
        column!(lower_is_better),
    ];
    DataFrame::new(rows.len(), columns).map_err(|source| AnalyseError::Frame { frame: "comparison".to_owned(), source })
}
