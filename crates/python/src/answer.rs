//! What a rule in Python returns, and the plan that it stands for.

use std::collections::BTreeMap;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use reduction_strategies::blocks::rank;
use reduction_strategies::{BranchMerges, Plan, SequenceView};
use ssm_kernels::ops::{MergeGroup, MergeRule};

/// A rule's answer, as `ssm_reduce.strategy` encodes it.
pub(crate) enum Answer {
    /// Which tokens are kept; what it says of protected ones counts for nothing.
    Mask(Vec<u8>),
    /// Kept rows.
    Rows(Vec<i64>),
    /// One score a token; the highest are kept.
    Scores(Vec<f32>),
    /// Rows that go into others, rows that are dropped, and whether means are weighted by sizes.
    Merge { sources: Vec<i64>, targets: Vec<i64>, dropped: Vec<i64>, by_size: bool },
    /// It raised, or returned something else: the words and a hint.
    Wrong(String, String),
}

/// What is wrong, and what its author can do.
pub(crate) type Wrong = (String, String);

fn numbers(bytes: &[u8]) -> Vec<i64> {
    let (numbers, _) = bytes.as_chunks::<8>();
    numbers.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
}

impl Answer {
    /// Reads `(kind, part, ..)`.
    pub(crate) fn extract(answer: &Bound<'_, PyAny>) -> PyResult<Self> {
        let kind: String = answer.get_item(0)?.extract()?;
        let part = |index: usize| Ok::<_, PyErr>(answer.get_item(index)?.cast::<PyBytes>()?.as_bytes().to_vec());
        let words = |index: usize| answer.get_item(index)?.extract::<String>();
        Ok(match kind.as_str() {
            "mask" => Self::Mask(part(1)?),
            "rows" => Self::Rows(numbers(&part(1)?)),
            "scores" => {
                let bytes = part(1)?;
                let (scores, _) = bytes.as_chunks::<4>();
                Self::Scores(scores.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            "merge" => Self::Merge {
                sources: numbers(&part(1)?),
                targets: numbers(&part(2)?),
                dropped: numbers(&part(3)?),
                by_size: answer.get_item(4)?.extract()?,
            },
            "wrong" => Self::Wrong(words(1)?, words(2)?),
            other => return Err(PyTypeError::new_err(format!("no answer: {other}"))),
        })
    }

    /// The plan; `n_keep` unprotected tokens are kept where a number is asked for.
    pub(crate) fn plan(self, view: &SequenceView<'_>, n_keep: Option<usize>) -> Result<Plan, Wrong> {
        let n = view.len();
        let plan = match self {
            Self::Wrong(problem, hint) => return Err((problem, hint)),
            Self::Mask(mask) => {
                expect(n, mask.len(), "the mask has", "entries")?;
                prune(view, |row| mask[row] != 0 || view.protected[row])?
            }
            Self::Rows(rows) => {
                let rows = ascending(&rows, n, "kept rows")?;
                let mut kept = vec![false; n];
                for row in rows {
                    kept[row] = true;
                }
                if let Some(lost) = (0..n).find(|row| view.protected[*row] && !kept[*row]) {
                    return Err((
                        format!("protected token {lost} is not among the kept rows"),
                        "keep all of site.protected, or return a mask, in which protected tokens are always kept"
                            .to_owned(),
                    ));
                }
                prune(view, |row| kept[row])?
            }
            Self::Scores(scores) => {
                expect(n, scores.len(), "there are", "scores")?;
                highest(view, &scores, n_keep)?
            }
            Self::Merge { sources, targets, dropped, by_size } => merge(view, &sources, &targets, &dropped, by_size)?,
        };
        let n_protected = view.protected.iter().filter(|protected| **protected).count();
        let got = plan.keep().len() - n_protected;
        match n_keep {
            Some(asked) if got != asked => Err((
                format!("{got} unprotected tokens are kept, and {asked} were asked for"),
                "keep exactly n_keep of the tokens that are not protected, return scores, or declare count=\"free\""
                    .to_owned(),
            )),
            None if plan.keep().is_empty() => {
                Err(("no token is kept".to_owned(), "keep at least one token of a sequence".to_owned()))
            }
            _ => Ok(plan),
        }
    }
}

fn expect(n: usize, got: usize, what: &str, unit: &str) -> Result<(), Wrong> {
    if got == n {
        return Ok(());
    }
    Err((format!("{what} {got} {unit} for {n} tokens"), "one entry for each row of the site: len(site)".to_owned()))
}

fn invalid(error: impl std::fmt::Display) -> Wrong {
    (error.to_string(), "rows are those of the site, from 0 to len(site) - 1".to_owned())
}

fn prune(view: &SequenceView<'_>, kept: impl Fn(usize) -> bool) -> Result<Plan, Wrong> {
    let rows = (0..view.len()).filter(|row| kept(*row)).map(|row| row as u32).collect();
    Plan::prune(view.len(), rows).map_err(invalid)
}

/// Rows of the sequence, strictly ascending.
fn ascending(rows: &[i64], n: usize, what: &str) -> Result<Vec<usize>, Wrong> {
    if let Some(row) = rows.iter().find(|row| !(0..n as i64).contains(*row)) {
        return Err(invalid(format!("row {row} is none of {n} rows")));
    }
    if let Some([before, after]) = rows.array_windows().find(|[before, after]| before >= after) {
        let hint = "sort the rows and remove repetitions: np.unique does both".to_owned();
        return Err((format!("the {what} are out of order: {after} comes after {before}"), hint));
    }
    Ok(rows.iter().map(|row| *row as usize).collect())
}

fn highest(view: &SequenceView<'_>, scores: &[f32], n_keep: Option<usize>) -> Result<Plan, Wrong> {
    let Some(n_keep) = n_keep else {
        let hint = "return keep(mask), or leave count=\"free\" out".to_owned();
        return Err(("scores are ranked to a number of tokens, and the count is free".to_owned(), hint));
    };
    let candidates = view.reducible();
    if let Some(row) = candidates.iter().find(|row| scores[**row as usize].is_nan()) {
        let hint = "NaN has no order: look for log or sqrt of a negative number, or 0/0".to_owned();
        return Err((format!("the score of token {row} is NaN"), hint));
    }
    let among: Vec<f32> = candidates.iter().map(|row| scores[*row as usize]).collect();
    let ranking = rank::descending(&among).map_err(invalid)?;
    let mut kept = view.protected.to_vec();
    for index in rank::first(ranking, n_keep) {
        kept[candidates[index as usize] as usize] = true;
    }
    prune(view, |row| kept[row])
}

/// Sources go into their targets, some rows are dropped, and all others are kept.
fn merge(
    view: &SequenceView<'_>,
    sources: &[i64],
    targets: &[i64],
    dropped: &[i64],
    by_size: bool,
) -> Result<Plan, Wrong> {
    let n = view.len();
    if sources.len() != targets.len() {
        let hint = "merge(sources, targets): sources[i] goes into targets[i]".to_owned();
        return Err((format!("{} sources and {} targets", sources.len(), targets.len()), hint));
    }
    let mut removed = vec![false; n];
    for row in sources.iter().chain(dropped) {
        let Some(slot) = usize::try_from(*row).ok().and_then(|row| removed.get_mut(row)) else {
            return Err(invalid(format!("row {row} is none of {n} rows")));
        };
        if std::mem::replace(slot, true) {
            return Err((format!("row {row} is removed twice"), "each removed token goes into one other".to_owned()));
        }
    }
    if let Some(row) = (0..n).find(|row| removed[*row] && view.protected[*row]) {
        let hint = "work on np.flatnonzero(~site.protected) only".to_owned();
        return Err((format!("protected token {row} is removed"), hint));
    }
    let weight = |row: usize| if by_size { view.sizes[row] } else { 1.0 };
    let mut groups: BTreeMap<usize, Vec<(u32, f32)>> = BTreeMap::new();
    for (source, target) in sources.iter().zip(targets) {
        let into = usize::try_from(*target).ok().filter(|row| *row < n);
        let into = into.ok_or_else(|| invalid(format!("row {target} is none of {n} rows")))?;
        if view.protected[into] {
            let hint = "work on np.flatnonzero(~site.protected) only".to_owned();
            return Err((format!("token {source} is merged into protected token {into}"), hint));
        }
        if removed[into] {
            let hint = "a target must be kept: merge into where its own content goes".to_owned();
            return Err((format!("token {source} is merged into token {into}, which is removed itself"), hint));
        }
        groups.entry(into).or_default().push((*source as u32, weight(*source as usize)));
    }
    let group = |(into, mut sources): (usize, Vec<(u32, f32)>)| {
        sources.sort_by_key(|(source, _)| *source);
        MergeGroup { into: into as u32, own_weight: weight(into), sources }
    };
    let merges = BranchMerges { groups: groups.into_iter().map(group).collect(), rule: MergeRule::WeightedMean };
    let keep = (0..n).filter(|row| !removed[*row]).map(|row| row as u32).collect();
    Plan::new(n, keep, merges.clone(), merges).map_err(invalid)
}
