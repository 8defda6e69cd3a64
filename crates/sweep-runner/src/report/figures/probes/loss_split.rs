//! Figure of `loss_split`: answers with and without all of their necessary tokens.

use evaluation::probes::Key;

use super::dots::{DotPanel, Dots};
use super::{Failed, Figure, Seen, csv, find, short, strategies};
use crate::analyse::PooledRow;
use crate::report::figures::figure;
use crate::report::style;

const COLUMNS: [&str; 2] = ["strategy", "necessary"];
const KINDS: [(&str, &str); 2] = [("kept", "all necessary tokens kept"), ("dropped", "a necessary token left")];
const MEASURES: [(&str, &str); 3] =
    [("items", "Items (share)"), ("correct", "Right answers (share)"), ("loss_increase", "Loss increase (nats)")];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let tables: Vec<(&str, Vec<PooledRow>)> =
        seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, |_, _| true))).collect();
    let rows = strategies(seen, true);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let grid = tables.iter().map(|(model, table)| {
        let panel = |(measure, _): &(&str, &str)| {
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
        x: MEASURES.iter().map(|(_, label)| *label).collect(),
        zero: None,
    };
    let caption = format!(
        "Items of each strategy split by whether every token that the answer needs is alive after the last layer: how many there are, how many \
         answers are right, and what the loss of the right answer gained. Protocol `context`. {}",
        seen.basis()
    );
    Ok(figure(seen.file(""), dots.draw(), csv(&COLUMNS, &tables), caption)?.into_iter().collect())
}
