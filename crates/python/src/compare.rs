//! Two strategies compared item by item: the numbers of `sweep compare`, and its text.

use std::path::PathBuf;

use analysis::compare::{CompareRow, Pick, compare as compare_folders, rows};
use pyo3::prelude::*;

use crate::error::{hinted, refused};

/// One task of one pair, a dictionary in Python; the frame of a comparison has these columns.
#[derive(IntoPyObject)]
pub(super) struct Row {
    model: String,
    protocol: String,
    setting: String,
    a: String,
    b: String,
    /// None in the mean over tasks.
    task: Option<String>,
    metric: String,
    n: usize,
    value_a: f64,
    value_b: f64,
    difference: f64,
    ci_low: f64,
    ci_high: f64,
    p_value: f64,
    p_holm: Option<f64>,
    b_better: usize,
    b_worse: usize,
    achieved_a: f64,
    achieved_b: f64,
    equal_terms: bool,
    lower_is_better: bool,
}

impl From<CompareRow> for Row {
    fn from(row: CompareRow) -> Self {
        let CompareRow { model, protocol, setting, a, b, task, metric, n, value_a, value_b, difference, .. } = row;
        let CompareRow { ci_low, ci_high, p_value, p_holm, b_better, b_worse, achieved_a, achieved_b, .. } = row;
        let CompareRow { equal_terms, lower_is_better, .. } = row;
        Self {
            model,
            protocol,
            setting,
            a,
            b,
            task,
            metric,
            n,
            value_a,
            value_b,
            difference,
            ci_low,
            ci_high,
            p_value,
            p_holm,
            b_better,
            b_worse,
            achieved_a,
            achieved_b,
            equal_terms,
            lower_is_better,
        }
    }
}

/// Compares strategy `a` of the first results folder with `b` of the second: rows, and what `sweep compare` prints.
#[pyfunction]
pub(super) fn compare(
    py: Python<'_>,
    first: PathBuf,
    second: PathBuf,
    a: Option<&str>,
    b: Option<&str>,
) -> PyResult<(Vec<Row>, String)> {
    let pick = |text: Option<&str>| text.map(str::parse::<Pick>).transpose();
    let wrong = |words: String| refused(py, &words, Some("name a strategy: utrc, or utrc:q=0.5,importance=clip"));
    let (a, b) = (pick(a).map_err(wrong)?, pick(b).map_err(wrong)?);
    let pairs =
        py.detach(|| compare_folders(&first, &second, a.as_ref(), b.as_slice())).map_err(|error| hinted(py, &error))?;
    Ok((rows(&pairs).into_iter().map(Row::from).collect(), report::comparison(&pairs)))
}
