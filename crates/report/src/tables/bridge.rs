//! `bridge_*`: the arms of a bridge from top to bottom, and for each panel of its figure their scores and steps.

use analysis::{BridgePanel, BridgeResult, BridgeScore, MARK, Terms, model_name};

use super::format::{Number, PAIRED, Rank, Row, Table, TableCell};
use crate::spread::{ANY, PERCENT, POINTS, POSITIVE, Spread};
use crate::text;

/// One table per bridge that has a finished arm.
pub(super) fn tables(bridges: &[BridgeResult]) -> Vec<Table> {
    bridges.iter().filter_map(table).collect()
}

fn table(bridge: &BridgeResult) -> Option<Table> {
    let first = bridge.panels.first()?;
    let (mut header, mut intervals) = (vec!["step".to_owned()], vec![""]);
    for panel in &bridge.panels {
        let place = place(panel, &bridge.panels);
        header.extend([place.clone(), format!("{place}: step")]);
        intervals.extend(["", PAIRED]);
    }
    let rows = first.arms.iter().enumerate().map(|(index, arm)| {
        let cells = bridge.panels.iter().flat_map(|panel| cells(panel, panel.arms[index].result.as_ref()));
        Row { block: 0, cells: std::iter::once(TableCell::Text(arm.factor.clone())).chain(cells).collect() }
    });
    Some(Table {
        name: format!("bridge_{}", text::file_name(&bridge.name)),
        caption: format!(
            "Bridge `{}`: every row differs from the one above it by the one thing that it names. Accuracies are means over tasks, in per cent, \
             steps in percentage points; losses are in nats per token, where lower is better. A step is the difference to the row above, paired over \
             the same items. ± half the width of the 95 % interval over items, not corrected for the number of steps; in brackets the achieved \
             reduction in percent. Effects of later steps depend on the earlier ones. {MARK} marks a step between rows whose achieved reductions \
             differ by more than half a point.",
            text::in_caption(&bridge.name)
        ),
        rows: rows.collect(),
        achieved_in_cells: true,
        keys: vec![0],
        header,
        intervals,
        ..Table::default()
    })
}

/// The model, and what else tells a panel from the others.
fn place(own: &BridgePanel, all: &[BridgePanel]) -> String {
    std::iter::once(model_name(&own.model))
        .chain(own.apart_from(&all.iter().collect::<Vec<_>>()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn cells(panel: &BridgePanel, score: Option<&BridgeScore>) -> [TableCell; 2] {
    let (decimals, range, change) = if panel.unit() == "points" { (1, PERCENT, POINTS) } else { (2, POSITIVE, ANY) };
    let number = |value: f64, spread: Option<Spread>, achieved: Option<f64>, rank: Rank| {
        TableCell::Number(Number { value, spread, decimals, rank, achieved })
    };
    let Some(score) = score else { return [TableCell::Missing, TableCell::Missing] };
    let achieved = Some(score.flops_reduction_achieved * 100.0);
    let rank = if score.terms == Terms::Unequal { Rank::Apart } else { Rank::Plain };
    let step = score.step.map(|step| number(step.value, Spread::of(step.value, step.interval, change), None, rank));
    let value = score.estimate.value;
    [
        number(value, Spread::of(value, score.estimate.interval, range), achieved, Rank::Plain),
        step.unwrap_or(TableCell::Missing),
    ]
}
