//! Figure of `kept_tokens`: kept against removed tokens of each strategy.

use analysis::PooledRow;
use records::probes::Key;

use super::{Failed, Figure, Seen, csv, find, short, strategies, words};
use crate::figures::dots::{DotPanel, Dots};
use crate::style;

const COLUMNS: [&str; 2] = ["strategy", "fate"];
const FATES: [&str; 2] = ["kept", "removed"];
const MEASURES: [(&str, &[&str]); 4] = [
    ("dt_mean", &["Mean dt"]),
    ("write_norm", &["Write norm"]),
    ("influence", &["Influence"]),
    ("necessary", &["Necessary (share)"]),
];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let tables: Vec<(&str, Vec<PooledRow>)> =
        seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, |_, _| true))).collect();
    let rows = strategies(seen, false);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let grid = tables.iter().map(|(model, table)| {
        let panel = |(measure, _): &(&str, &[&str])| {
            let row = |(label, _): &(String, style::Style)| {
                let keys = |fate: &str| [Key::from(label.as_str()), Key::from(fate)];
                let one = |(entry, fate): (usize, &&str)| Some((entry, find(table, measure, &keys(fate))?));
                FATES.iter().enumerate().filter_map(one).collect()
            };
            DotPanel { title: String::new(), rows: rows.iter().map(row).collect() }
        };
        (short(model), MEASURES.iter().map(panel).collect())
    });
    let dots = Dots {
        rows: rows.iter().map(|(label, _)| label.clone()).collect(),
        grid: grid.collect(),
        legend: vec![("kept".to_owned(), style::cycle(0)), ("removed".to_owned(), style::cycle(1))],
        x: MEASURES.iter().map(|(_, labels)| words(labels)).collect(),
        zero: None,
        notes: seen.notes("Bars: 95 % intervals."),
        sheet: seen.sheet,
    };
    let caption = format!(
        "Tokens that a strategy keeps and those that it removes (dropped or merged), over all sites: mean step size, norm of what the token \
         writes, its influence on later outputs (column sum of the implicit attention) and the share of tokens that the answer \
         needs. {}",
        seen.basis()
    );
    Ok(seen.figure("", dots.draw(), csv(&COLUMNS, &tables), caption)?.into_iter().collect())
}
