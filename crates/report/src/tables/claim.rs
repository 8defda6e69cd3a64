//! The comparisons of a claim with their verdicts.

use analysis::{ClaimResult, ComparisonResult, MARK, Terms};
use records::claim::PlannedComparison;

use super::format::{Number, Row, Table, TableCell};

/// One row per comparison.
pub(crate) fn table(result: &ClaimResult) -> Table {
    let header = [
        "comparison",
        "lower",
        "higher",
        "model",
        "where",
        "achieved %",
        "margin",
        "higher − lower",
        "joint interval",
        "smallest effect",
        "verdict",
    ];
    let rows = result.claim.comparisons.iter().zip(&result.rows);
    Table {
        name: crate::claim::TABLE.to_owned(),
        caption: "Differences of mean accuracy over tasks are in percentage points, paired over items; costs are in per cent of the \
                  lower side, the median over tasks; shares that a probe measures are in percentage points over the items that both rows \
                  have. Achieved: FLOPs reduction of the lower and of the higher side; † marks sides that are more than half a point apart, \
                  whose difference is not one of the rules alone. Beside an unreduced model the reduction itself is compared."
            .to_owned(),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.map(|(planned, row)| Row { block: 0, cells: cells(planned, row) }).collect(),
        keys: vec![0, 1, 2, 3, 4],
        ..Table::default()
    }
}

fn cells(planned: &PlannedComparison, row: &ComparisonResult) -> Vec<TableCell> {
    let number = |value: f64, decimals: usize| {
        if value.is_finite() { Number::plain(value, decimals) } else { TableCell::Missing }
    };
    let decision = &row.decision;
    let mark = if row.terms == Terms::Unequal { format!(" {MARK}") } else { String::new() };
    let achieved = row.achieved.map(|share| format!("{:.1}", share * 100.0)).join(" / ") + &mark;
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
