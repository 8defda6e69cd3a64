//! `bridge_*`: the arms of a bridge with their scores and steps, one block per panel of the figure.

use analysis::{BridgeArm, BridgePanel, BridgeResult, MARK, Terms};

use super::format::{Number, Row, Table, TableCell};
use crate::text;

/// One table per bridge that has a finished arm.
pub(super) fn tables(bridges: &[BridgeResult]) -> Vec<Table> {
    bridges.iter().filter(|bridge| !bridge.panels.is_empty()).map(table).collect()
}

fn table(bridge: &BridgeResult) -> Table {
    let header =
        ["model", "where", "step", "rule", "protocol", "score", "minus the row above", "minus the first", "achieved %"];
    let rows = bridge
        .panels
        .iter()
        .enumerate()
        .flat_map(|(block, panel)| panel.arms.iter().map(move |arm| Row { block, cells: cells(panel, arm) }));
    Table {
        name: format!("bridge_{}", text::file_name(&bridge.name)),
        caption: format!(
            "Bridge `{}`: every row differs from the one above it by the one thing that it names. Accuracies are means over tasks, in per cent, \
             differences in percentage points; losses are in nats, where lower is better. ± half the width of the 95 % interval over items; \
             differences are paired over the same items and not corrected for their number. Effects of later steps depend on the earlier \
             ones. {MARK} marks a row whose achieved reduction differs from that of the row above by more than half a point.",
            text::in_caption(&bridge.name)
        ),
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        keys: vec![0, 1, 2],
        intervals: ["", "", "", "", "", "", super::format::PAIRED, super::format::PAIRED, ""].to_vec(),
        ..Table::default()
    }
}

fn cells(panel: &BridgePanel, arm: &BridgeArm) -> Vec<TableCell> {
    let decimals = if panel.unit() == "points" { 1 } else { 3 };
    let number = |value: f64, half: f64| {
        let half_width = Some(half).filter(|half| half.is_finite());
        TableCell::Number(Number { value, half_width, decimals, ..Number::default() })
    };
    let place = match panel.tasks.as_slice() {
        [task] => format!("{task}, {}", panel.setting),
        tasks => format!("{} tasks, {}", tasks.len(), panel.setting),
    };
    let mut cells = vec![
        TableCell::Name(panel.model.clone()),
        TableCell::Text(place),
        TableCell::Text(arm.factor.clone()),
        TableCell::Name(arm.rule.clone()),
        TableCell::Text(arm.protocol.clone()),
    ];
    let Some(score) = &arm.result else {
        cells.extend([const { TableCell::Missing }; 4]);
        return cells;
    };
    cells.push(number(score.estimate.value, score.estimate.interval.half_width()));
    for difference in [score.step, score.from_first] {
        cells.push(difference.map_or(TableCell::Missing, |own| number(own.value, own.interval.half_width())));
    }
    let mark = if score.terms == Terms::Unequal { format!(" {MARK}") } else { String::new() };
    cells.push(TableCell::Text(format!("{:.1}{mark}", score.flops_reduction_achieved * 100.0)));
    cells
}
