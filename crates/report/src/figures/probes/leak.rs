//! Figure of `leak`: what earlier predictions learn of later tokens.

use analysis::PooledRow;
use records::probes::Key;

use super::{Failed, Figure, Seen, csv, find, short, strategies, words};
use crate::figures::dots::{DotPanel, Dots};
use crate::style;

const COLUMNS: [&str; 2] = ["strategy", "distance"];
const DISTANCES: [(&str, &str); 3] =
    [("1-4", "1 to 4 tokens before the change"), ("5-16", "5 to 16 tokens"), ("17-64", "17 to 64 tokens")];
const MEASURES: [(&str, &[&str]); 2] = [
    ("total_variation", &["Total variation"]),
    ("changed", &["Positions with other logits (share)", "Positions (share)"]),
];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let tables: Vec<(&str, Vec<PooledRow>)> =
        seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, |_, _| true))).collect();
    let rows = strategies(seen, true);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let grid = tables.iter().map(|(model, table)| {
        let panel = |(measure, _): &(&str, &[&str])| {
            let row = |(label, _): &(String, style::Style)| {
                let keys = |distance: &str| [Key::from(label.as_str()), Key::from(distance)];
                let one = |(entry, (distance, _)): (usize, &(&str, &str))| {
                    Some((entry, find(table, measure, &keys(distance))?))
                };
                DISTANCES.iter().enumerate().filter_map(one).collect()
            };
            DotPanel { title: String::new(), rows: rows.iter().map(row).collect() }
        };
        (short(model), MEASURES.iter().map(panel).collect())
    });
    let legend = DISTANCES.iter().enumerate().map(|(index, (_, label))| ((*label).to_owned(), style::cycle(index)));
    let dots = Dots {
        rows: rows.iter().map(|(label, _)| label.clone()).collect(),
        grid: grid.collect(),
        legend: legend.collect(),
        x: MEASURES.iter().map(|(_, labels)| words(labels)).collect(),
        zero: Some(0.0),
        notes: seen.notes("Bars: 95 % intervals."),
        sheet: seen.sheet,
    };
    let caption = format!(
        "Change of predictions in the first half of a sequence when only its second half is changed (reversed), the whole input being \
         reduced: total variation of the predicted distribution, and share of positions whose logits are not the same bit for \
         bit. A causal rule has 0. {}",
        seen.basis()
    );
    Ok(seen.figure("", dots.draw(), csv(&COLUMNS, &tables), caption)?.into_iter().collect())
}
