//! The guards' section of `report.md`: protocol x strategy x guard, and what a failure means.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use records::guards::{ERROR, GuardRow};
use records::schema::{Failure, in_words};

use crate::text::{markdown_cell, markdown_code};

/// Guards that have a column where they ran, in the order in which they run.
const GUARDS: [&str; 4] = ["oracle", "identity", "alone", "causal"];

/// The section, heading included.
pub(super) fn section(rows: &[GuardRow]) -> String {
    let mut text = "## Guards\n\n".to_owned();
    if rows.is_empty() {
        return text + "No outcome of the guards is recorded in `guards.json`.\n\n";
    }
    let guards: Vec<&str> = GUARDS.into_iter().filter(|guard| rows.iter().any(|row| row.guard == *guard)).collect();
    let _ = writeln!(text, "| protocol | strategy | {} |", guards.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(guards.len()));
    let mut seen = BTreeSet::new();
    for row in rows {
        let rule = (&row.protocol, &row.strategy, &row.strategy_params);
        if !seen.insert(rule) {
            continue;
        }
        // One line for all models: a guard holds where it holds for each of them.
        let own: Vec<&GuardRow> =
            rows.iter().filter(|other| (&other.protocol, &other.strategy, &other.strategy_params) == rule).collect();
        let cells: Vec<String> = guards.iter().map(|guard| cell(&own, guard)).collect();
        let (protocol, strategy) = (markdown_code(&row.protocol), markdown_code(&label(rows, row)));
        let _ = writeln!(text, "| {protocol} | {strategy} | {} |", cells.join(" | "));
    }
    text += "\n*`passed`, or the share of checked values that are right, of the worst model; – where a guard does not apply. \
             `oracle`: a perfect model scores every target; `identity`: keep ratio 1 (without a ratio, the sites alone) changes no bit; `alone`: an item scores \
             as it does among others; `causal`: later tokens change no earlier score. Each strategy was guarded at its \
             lowest keep ratio; counts are in `guards.json`.*\n\n";
    if rows.iter().any(|row| row.protocol == "upstream" && !row.passed) {
        text += "A failed guard of `upstream` is a defect of the released scoring and not of the strategy: below 100 % at \
                 `oracle` even a perfect model would be marked wrong, because labels are compared with rows of other tokens \
                 or of padding, and at `alone` the score of an item depends on which items stand in its batch.\n\n";
    }
    if rows.iter().any(|row| row.protocol != "upstream" && !row.passed) {
        text += "**A guard failed under another protocol than `upstream`: the numbers of that line cannot be trusted.**\n\n";
    }
    text
}

/// The strategy, with its options where they tell it from another line.
fn label(rows: &[GuardRow], row: &GuardRow) -> String {
    let varies =
        rows.iter().any(|other| other.strategy == row.strategy && other.strategy_params != row.strategy_params);
    if varies { in_words(&row.strategy, &row.strategy_params) } else { row.strategy.clone() }
}

fn cell(own: &[&GuardRow], guard: &str) -> String {
    if let Some(error) = own.iter().find(|row| row.guard == ERROR) {
        let failure = Failure { error: error.meaning.clone(), hint: error.hint.clone() };
        return format!("error: {}", markdown_cell(&failure.to_string()));
    }
    let worst = own.iter().filter(|row| row.guard == guard).min_by(|a, b| a.measured.total_cmp(&b.measured));
    match worst {
        None => "–".to_owned(),
        // A row that holds has nothing below 1, so the worst row fails if any does.
        Some(row) if row.passed => "passed".to_owned(),
        Some(row) => format!("**{:.1} %** of {}", row.measured * 100.0, row.checked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(model: &str, protocol: &str, strategy: &str, guard: &str, right: usize, checked: usize) -> GuardRow {
        GuardRow {
            guard_id: "g".to_owned(),
            code: records::code::Code::default(),
            model: model.to_owned(),
            protocol: protocol.to_owned(),
            strategy: strategy.to_owned(),
            strategy_params: "{}".to_owned(),
            keep_ratio: Some(0.9),
            guard: guard.to_owned(),
            passed: right == checked,
            measured: right as f64 / checked as f64,
            checked,
            meaning: "targets".to_owned(),
            hint: None,
        }
    }

    #[test]
    fn the_worst_model_speaks_for_a_rule() {
        let rows = [
            row("a", "context", "dense", "oracle", 4, 4),
            row("a", "context", "dense", "causal", 4, 4),
            row("a", "upstream", "top_k", "oracle", 4, 4),
            row("a", "upstream", "top_k", "alone", 2, 2),
            row("b", "upstream", "top_k", "oracle", 1, 4),
            row("b", "upstream", "top_k", "alone", 2, 2),
        ];
        let text = section(&rows);
        for line in [
            "| protocol | strategy | oracle | alone | causal |",
            "| `context` | `dense` | passed | – | passed |",
            "| `upstream` | `top_k` | **25.0 %** of 4 | passed | – |",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(text.contains("a defect of the released scoring") && !text.contains("cannot be trusted"), "{text}");
        assert!(!section(&rows[..2]).contains("released scoring"));
    }

    #[test]
    fn a_failure_elsewhere_and_an_error_stand_out() {
        let text = section(&[row("a", "context", "tome", "alone", 1, 2)]);
        assert!(text.contains("cannot be trusted"), "{text}");
        let hint = Some("look at the weights".to_owned());
        let error = GuardRow { meaning: "not | finite".to_owned(), hint, ..row("a", "context", "tome", ERROR, 0, 1) };
        let text = section(&[error, row("a", "context", "dense", "oracle", 1, 1)]);
        assert!(text.contains("| `context` | `tome` | error: not \\| finite (hint: look at the weights) |"), "{text}");
        assert!(section(&[]).contains("No outcome"));
    }

    #[test]
    fn variants_of_a_strategy_are_told_apart() {
        let first = row("a", "context", "top_k", "oracle", 1, 1);
        let second = GuardRow { strategy_params: "{\"importance\":\"l1\"}".to_owned(), ..first.clone() };
        let text = section(&[first, second]);
        assert!(text.contains("`top_k`") && text.contains("`top_k importance=l1`"), "{text}");
    }
}
