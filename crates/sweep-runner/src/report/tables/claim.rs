//! The comparisons of a claim with their verdicts.

use super::format::{Rank, Row, Table, TableCell};
use crate::analyse::{ClaimResult, ComparisonResult};
use crate::plan::PlannedComparison;

/// One row per comparison.
pub(in crate::report) fn table(result: &ClaimResult) -> Table {
    let header = [
        "comparison",
        "lower",
        "higher",
        "model",
        "where",
        "achieved %",
        "margin",
        "higher − lower",
        "corrected interval",
        "smallest effect",
        "verdict",
    ];
    let rows = result.claim.comparisons.iter().zip(&result.rows);
    Table {
        name: crate::report::claim::TABLE.to_owned(),
        caption: "Differences of mean accuracy over tasks are in percentage points, paired over items; costs are in per cent of the \
                  lower side, the median over tasks; shares that a probe measures are in percentage points over the items that both rows \
                  have. Achieved: FLOPs reduction of the lower and of the higher side."
            .to_owned(),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.map(|(planned, row)| Row { block: 0, cells: cells(planned, row) }).collect(),
    }
}

fn cells(planned: &PlannedComparison, row: &ComparisonResult) -> Vec<TableCell> {
    let number = |value: f64, decimals: usize| {
        if value.is_finite() {
            TableCell::Number { value, half_width: None, decimals, rank: Rank::Plain }
        } else {
            TableCell::Missing
        }
    };
    let decision = &row.decision;
    let achieved = row.achieved.map(|share| format!("{:.1}", share * 100.0)).join(" / ");
    let interval = match &row.missing {
        Some(reason) => reason.clone(),
        None => format!("{} to {}", end(decision.interval.low), end(decision.interval.high)),
    };
    let common = [planned.protocol.as_deref().unwrap_or_default(), &planned.setting];
    let common: Vec<&str> = common.into_iter().filter(|word| !word.is_empty()).collect();
    let quantity = planned.what();
    vec![
        TableCell::Text(planned.name.clone().map_or(quantity.to_owned(), |name| format!("{name} ({quantity})"))),
        TableCell::Name(planned.lower.label.clone()),
        TableCell::Name(planned.higher.label.clone()),
        planned.model.as_ref().map_or(TableCell::Missing, |model| TableCell::Name(model.clone())),
        TableCell::Text(common.join(", ")),
        if row.achieved.iter().any(|share| share.is_nan()) { TableCell::Missing } else { TableCell::Text(achieved) },
        number(planned.margin, 1),
        number(decision.effect, 1),
        TableCell::Text(interval),
        number(row.smallest_effect(), 1),
        TableCell::Text(decision.verdict.name().to_owned()),
    ]
}

fn end(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.1}")
    } else if value < 0.0 {
        "-∞".to_owned()
    } else {
        "∞".to_owned()
    }
}
