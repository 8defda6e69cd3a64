//! Two strategies compared item by item: the numbers of `sweep compare`, and its text.

use std::path::PathBuf;

use analysis::compare::{Pair, Pick, Row as Compared, compare as compare_folders};
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
    b_better: usize,
    b_worse: usize,
    achieved_a: f64,
    achieved_b: f64,
    equal_terms: bool,
    lower_is_better: bool,
}

impl Row {
    fn new(pair: &Pair, row: &Compared, task: Option<&str>) -> Self {
        let [a, b] = pair.labels.clone();
        let [value_a, value_b] = row.values;
        let [ci_low, ci_high] = row.interval;
        let [b_better, b_worse] = row.signs;
        let [achieved_a, achieved_b] = row.achieved;
        Self {
            model: pair.model.clone(),
            protocol: pair.protocol.clone(),
            setting: pair.setting.clone(),
            a,
            b,
            task: task.map(str::to_owned),
            metric: row.metric.clone(),
            n: row.n,
            value_a,
            value_b,
            difference: row.difference,
            ci_low,
            ci_high,
            p_value: row.p_value,
            b_better,
            b_worse,
            achieved_a,
            achieved_b,
            equal_terms: row.is_on_equal_terms(),
            lower_is_better: row.lower_is_better,
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
        py.detach(|| compare_folders(&first, &second, a.as_ref(), b.as_ref())).map_err(|error| hinted(py, &error))?;
    let rows = pairs.iter().flat_map(|pair| {
        let tasks = pair.rows.iter().map(|row| Row::new(pair, row, Some(&row.task)));
        tasks.chain(pair.mean.as_ref().map(|mean| Row::new(pair, mean, None)))
    });
    Ok((rows.collect(), report::comparison(&pairs)))
}
