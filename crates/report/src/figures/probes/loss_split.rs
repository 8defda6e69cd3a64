//! Figure of `loss_split`: answers with and without all of their necessary tokens.

use analysis::{PooledRow, ProbeSet};
use records::probes::{Key, ProbeRow};

use super::{FEWEST_ITEMS, Failed, Figure, Seen, csv, find, short, strategies, words};
use crate::figures::dots::{DotPanel, Dots};
use crate::style;

const COLUMNS: [&str; 2] = ["strategy", "necessary"];
const KINDS: [(&str, &str); 2] = [("kept", "all necessary tokens kept"), ("dropped", "a necessary token removed")];
const MEASURES: [(&str, &[&str]); 3] = [
    ("items", &["Items (share)"]),
    ("correct", &["Right answers (share)", "Right (share)"]),
    ("loss_increase", &["Loss increase (nats)", "Loss (nats)"]),
];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    // Groups of different tasks are not compared: where one of the two is missing, the task is left out of both.
    let counted = |set: &ProbeSet, row: &ProbeRow| {
        let group = |kind: &str| {
            let own = set.record.rows.iter().find(|row| row.measure == "loss" && row.keys[0] == Key::from(kind));
            own.is_some_and(|row| row.contributions.len() >= FEWEST_ITEMS)
        };
        let is_dense = set.record.trial.as_ref().is_some_and(|trial| trial.sites.is_empty());
        row.measure == "items" || is_dense || (group("kept") && group("dropped"))
    };
    let tables: Vec<(&str, Vec<PooledRow>)> =
        seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, counted))).collect();
    let rows = strategies(seen, true);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let grid = tables.iter().map(|(model, table)| {
        let panel = |(measure, _): &(&str, &[&str])| {
            let row = |(label, _): &(String, style::Style)| {
                let keys = |kind: &str| [Key::from(label.as_str()), Key::from(kind)];
                let one =
                    |(entry, (kind, _)): (usize, &(&str, &str))| Some((entry, find(table, measure, &keys(kind))?));
                KINDS.iter().enumerate().filter_map(one).collect()
            };
            DotPanel { title: String::new(), rows: rows.iter().map(row).collect() }
        };
        (short(model), MEASURES.iter().map(panel).collect())
    });
    let dots = Dots {
        rows: rows.iter().map(|(label, _)| label.clone()).collect(),
        grid: grid.collect(),
        legend: KINDS.iter().zip([0, 1]).map(|((_, label), look)| ((*label).to_owned(), style::cycle(look))).collect(),
        x: MEASURES.iter().map(|(_, labels)| words(labels)).collect(),
        zero: None,
        notes: seen.notes("Bars: 95 % intervals."),
        sheet: seen.sheet,
    };
    let caption = format!(
        "Items of each strategy split by whether every token that the answer needs is alive after the last layer: how many there are, how many \
         answers are right, and what the loss of the right answer gained (over tasks in which each of the two groups has at least \
         {FEWEST_ITEMS} items). Protocol `context`. {}",
        seen.basis()
    );
    Ok(seen.figure("", dots.draw(), csv(&COLUMNS, &tables), caption)?.into_iter().collect())
}
