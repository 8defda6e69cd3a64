//! `losses`: what each rule adds to the loss of each task, all models side by side, recall next to fluency.

use records::each_once;
use records::schema::Reduction;

use super::format::{Number, PAIRED, Rank, Row, Table, TableCell};
use super::main_table::ranks;
use crate::losses::{self, Loss};
use crate::spread::{ANY, Spread};
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
    for scene in scenes {
        for task in losses::tasks(scene) {
            header.push(format!("{} {}", scene.model_name(), task.name));
            columns.push(losses::of_task(view, scene, asked, task));
        }
    }
    let labels = each_once(columns.iter().flatten().map(|loss| loss.series.label.as_str()));
    if columns.is_empty() || labels.is_empty() {
        return None;
    }
    let columns: Vec<_> = columns.into_iter().map(|losses| (ranked(&losses), losses)).collect();
    let rows = labels.iter().map(|label| {
        let cells = columns.iter().map(|(ranks, losses)| {
            let place = losses.iter().position(|loss| loss.series.label == *label);
            place.and_then(|place| added(&losses[place], ranks[place])).unwrap_or(TableCell::Missing)
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
             Lower is better; the lowest of a column at the same achieved reduction (within half a point) is bold, those not told apart from it are underlined. \
             Not corrected for the number of comparisons.",
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

/// The lowest of a column, and what is tied with it.
fn ranked(column: &[Loss<'_>]) -> Vec<Rank> {
    let less: Vec<Option<f64>> = column.iter().map(|loss| loss.result.difference.map(|added| -added.value)).collect();
    let compared: Vec<bool> = column.iter().map(|loss| loss.compared).collect();
    ranks(&less, &compared, |best, other| {
        let difference = column[best].result.minus(column[other].result);
        difference.is_some_and(|difference| difference.interval.contains(0.0))
    })
}

/// What a rule adds to a loss.
pub(super) fn added(loss: &Loss<'_>, rank: Rank) -> Option<TableCell> {
    let difference = loss.result.difference.as_ref()?;
    Some(TableCell::Number(Number {
        value: difference.value,
        spread: Spread::of(difference.value, difference.interval, ANY),
        decimals: 2,
        rank,
        achieved: Some(loss.result.flops_reduction_achieved * 100.0),
    }))
}
