//! The effects of a claim, pooled and on each model, and its comparisons with their verdicts.

use analysis::{ClaimResult, ComparisonResult, Interval, MARK, OnModel, Pooled, Terms, Verdict};
use records::claim::{PlannedComparison, Quantity};

use super::format::{Number, Row, Table, TableCell};

/// One row per entry and protocol, and one per model below it.
pub(crate) fn effects(result: &ClaimResult) -> Table {
    let header =
        ["comparison", "model", "margin", "higher − lower", "interval", "between models", "between tasks", "verdict"];
    let rows = result.pooled.iter().enumerate().flat_map(|(block, own)| {
        let cells = std::iter::once(whole(own)).chain(own.models.iter().map(|on_model| of_model(own, on_model)));
        cells.map(move |cells| Row { block, cells }).collect::<Vec<_>>()
    });
    Table {
        name: crate::claim::EFFECTS.to_owned(),
        caption: "Every model, task and setting weighs the same. All models: 95 % interval of a crossed random-effects analysis for models and tasks like these, each by itself, with the noise of the items added; between: \
                  standard deviation of the effect. One model: max-t interval over items, 95 % for all models and entries together, verdict by Holm's procedure, whose interval \
                  is given where it is what decides (`by`). Costs of one model: median and range over tasks."
            .to_owned(),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        keys: vec![0, 1],
        ..Table::default()
    }
}

fn of_model(own: &Pooled, OnModel { model, decision, missing }: &OnModel) -> Vec<TableCell> {
    let number = (decision.effect, decision.interval, [f64::NAN; 2], decision.verdict);
    let mut cells = of_effect(own, TableCell::Name(model.clone()), number);
    if let Some(reason) = missing {
        cells[4] = TableCell::Text(reason.clone());
    } else if decision.is_by_holm(own.margin) {
        let verdict = decision.verdict.name();
        cells[7] = TableCell::Text(format!("{verdict}, by {}", ends(decision.deciding, own.quantity)));
    }
    cells
}

fn whole(own: &Pooled) -> Vec<TableCell> {
    let all = TableCell::Text("all".to_owned());
    match &own.effect {
        Ok(effect) => of_effect(own, all, (effect.effect, effect.interval, effect.between, effect.verdict)),
        Err(reason) => {
            let mut cells = of_effect(
                own,
                all,
                (f64::NAN, Interval { low: f64::NAN, high: f64::NAN }, [f64::NAN; 2], Verdict::Undecided),
            );
            cells[4] = TableCell::Text(reason.clone());
            // No effect, no verdict.
            cells[7] = TableCell::Missing;
            cells
        }
    }
}

fn of_effect(
    own: &Pooled,
    model: TableCell,
    (effect, interval, between, verdict): (f64, Interval, [f64; 2], Verdict),
) -> Vec<TableCell> {
    let decimals = own.quantity.decimals();
    let interval = if effect.is_nan() { TableCell::Missing } else { TableCell::Text(ends(interval, own.quantity)) };
    vec![
        TableCell::Text(format!("{} [{}]", crate::claim::title(own), own.quantity.unit())),
        model,
        number(own.margin, decimals),
        number(effect, decimals),
        interval,
        number(between[0], decimals),
        number(between[1], decimals),
        TableCell::Text(verdict.name().to_owned()),
    ]
}

fn number(value: f64, decimals: usize) -> TableCell {
    if value.is_finite() { Number::plain(value, decimals) } else { TableCell::Missing }
}

fn ends(Interval { low, high }: Interval, quantity: Quantity) -> String {
    format!("{} to {}", end(low, quantity), end(high, quantity))
}

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
        "verdict",
    ];
    let rows = result.claim.comparisons.iter().zip(&result.rows);
    Table {
        name: crate::claim::TABLE.to_owned(),
        caption: "Differences of mean accuracy over tasks are in percentage points, those of mean log-likelihood in nats per scored token, both paired \
                  over items; costs are in per cent of the lower side, the median over tasks; shares that a probe measures are in percentage points over the items that both rows \
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
    let decimals = planned.quantity.decimals();
    let decision = &row.decision;
    let mark = if row.terms == Terms::Unequal { format!(" {MARK}") } else { String::new() };
    let achieved = row.achieved.map(|share| format!("{:.1}", share * 100.0)).join(" / ") + &mark;
    let interval = match &row.missing {
        Some(reason) => reason.clone(),
        None => ends(decision.interval, planned.quantity),
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
        number(planned.margin, decimals),
        number(decision.effect, decimals),
        TableCell::Text(interval),
        TableCell::Text(decision.verdict.name().to_owned()),
    ]
}

fn end(value: f64, quantity: Quantity) -> String {
    if value.is_finite() {
        let decimals = quantity.decimals();
        format!("{value:.decimals$}")
    } else if value < 0.0 {
        "-∞".to_owned()
    } else {
        "∞".to_owned()
    }
}
