//! `losses`: what each rule adds to the loss of each task, all models side by side, recall next to fluency.

use records::schema::Reduction;

use super::format::{Number, PAIRED, Rank, Row, Table, TableCell};
use crate::losses::{self, Loss};
use crate::view::{Scene, View, asked_phrase, asked_slug, distinct};

/// One table per protocol and reduction that was asked for.
pub(super) fn tables(view: &View, baseline: &str) -> Vec<Table> {
    let protocols: Vec<&str> = view.scenes.iter().map(|scene| scene.protocol.as_str()).collect();
    let mut tables = Vec::new();
    for (index, protocol) in protocols.iter().enumerate() {
        if protocols[..index].contains(protocol) {
            continue;
        }
        let scenes: Vec<&Scene> = view.scenes.iter().filter(|scene| scene.protocol == *protocol).collect();
        for asked in distinct(scenes.iter().flat_map(|scene| scene.reductions())) {
            tables.extend(table(view, &scenes, asked, baseline));
        }
    }
    tables
}

fn table(view: &View, scenes: &[&Scene], asked: Reduction, baseline: &str) -> Option<Table> {
    let mut header = vec!["strategy".to_owned()];
    let mut columns: Vec<Vec<Loss<'_>>> = Vec::new();
    let mut labels: Vec<&str> = Vec::new();
    for scene in scenes {
        for task in losses::tasks(scene) {
            header.push(format!("{} {}", scene.model_name(), task.name));
            let losses = losses::of_task(view, scene, asked, task);
            for loss in &losses {
                if !labels.contains(&loss.series.label.as_str()) {
                    labels.push(&loss.series.label);
                }
            }
            columns.push(losses);
        }
    }
    if columns.is_empty() || labels.is_empty() {
        return None;
    }
    let rows = labels.iter().map(|label| {
        let cells = columns.iter().map(|losses| {
            let loss = losses.iter().find(|loss| loss.series.label == *label);
            loss.and_then(|loss| cell(loss, losses)).unwrap_or(TableCell::Missing)
        });
        Row { block: 0, cells: std::iter::once(TableCell::Name((*label).to_owned())).chain(cells).collect() }
    });
    let scene = scenes.first()?;
    let phrase = asked_phrase(asked);
    Some(Table {
        name: format!("losses_{}_{}", crate::text::file_name(&scene.protocol), asked_slug(asked)),
        caption: format!(
            "What each rule adds to the primary metric of {baseline}, task by task, at {phrase}, \
             protocol `{}`; ± half the width of the paired 95 % bootstrap interval over items; in brackets the achieved reduction in percent. \
             Lower is better; the lowest of a column at the same achieved reduction (within half a point) is bold. Not corrected for the \
             number of comparisons.",
            scene.protocol
        ),
        intervals: header.iter().enumerate().map(|(index, _)| if index == 0 { "" } else { PAIRED }).collect(),
        header,
        rows: rows.collect(),
        achieved_in_cells: true,
        keys: vec![0],
        has_rules: true,
        asked: vec![Some(asked)],
        ..Table::default()
    })
}

fn cell(loss: &Loss<'_>, column: &[Loss<'_>]) -> Option<TableCell> {
    let difference = loss.result.difference.as_ref()?;
    let others = column.iter().filter(|other| other.compared).filter_map(|other| other.result.difference.as_ref());
    let lowest = others.map(|other| other.value).fold(f64::INFINITY, f64::min);
    let rank = match (loss.compared, difference.value <= lowest) {
        (false, _) => Rank::Apart,
        (true, true) => Rank::Best,
        (true, false) => Rank::Plain,
    };
    added(loss, rank)
}

/// What a rule adds to a loss.
pub(super) fn added(loss: &Loss<'_>, rank: Rank) -> Option<TableCell> {
    let difference = loss.result.difference.as_ref()?;
    Some(TableCell::Number(Number {
        value: difference.value,
        half_width: Some(difference.interval.half_width()).filter(|half| half.is_finite()),
        decimals: 2,
        rank,
        achieved: Some(loss.result.flops_reduction_achieved * 100.0),
    }))
}
