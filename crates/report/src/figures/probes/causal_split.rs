//! Figures of `causal_split`: what of a removed token the answer and the states miss.

use analysis::PooledRow;
use records::probes::Key;

use super::{Failed, Figure, Seen, csv, find, number, short, text, words};
use crate::figures::dots::{DotPanel, Dots};
use crate::figures::lines::{Axis, Line, LinePanel, Lines, Share, Spread};
use crate::style::{self, Style};

const COLUMNS: [&str; 3] = ["variant", "removed", "layer"];
pub(super) const VARIANTS: [(&str, &str); 5] = [
    ("write", "write"),
    ("decay", "decay"),
    ("write_and_decay", "write and decay"),
    ("conv", "place in the convolution"),
    ("all", "all: pruned"),
];
const REMOVED: [&str; 2] = ["necessary", "other"];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let tables: Vec<(&str, Vec<PooledRow>)> =
        seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, |_, _| true))).collect();
    let mut figures = Vec::new();
    let grid = tables.iter().map(|(model, rows)| {
        let panel = |measure: &str| {
            let row = |(variant, _): &(&str, &str)| {
                let one = |(entry, removed): (usize, &&str)| {
                    let keys = [Key::from(*variant), Key::from(*removed), Key::None];
                    Some((entry, find(rows, measure, &keys)?))
                };
                REMOVED.iter().enumerate().filter_map(one).collect()
            };
            DotPanel { title: String::new(), rows: VARIANTS.iter().map(row).collect() }
        };
        (short(model), vec![panel("loss_increase"), panel("answer_lost")])
    });
    let looks: [Style; 2] = [style::cycle(1), style::cycle(0)];
    let legend = REMOVED.iter().zip(looks).map(|(removed, look)| {
        let label = if *removed == "necessary" { "token that the answer needs" } else { "other token" };
        (label.to_owned(), look)
    });
    let dots = Dots {
        rows: VARIANTS.iter().map(|(_, label)| (*label).to_owned()).collect(),
        grid: grid.collect(),
        legend: legend.collect(),
        x: vec![words(&["Loss increase (nats per token)", "Loss increase (nats)"]), words(&["Answers lost (share)"])],
        zero: Some(0.0),
        notes: seen.notes("Bars: 95 % intervals."),
        sheet: seen.sheet,
    };
    let caption = format!(
        "One context token loses one of its effects in all layers behind the site: what it writes into the state, its decay of the state, \
         both, its place in the convolution, or all of them (which is pruning). Left: change of the answer's loss; right: share of \
         right answers that are no more right. {}",
        seen.basis()
    );
    figures.extend(seen.figure("answer", dots.draw(), csv(&COLUMNS, &tables), caption)?);
    figures.extend(states(seen, &tables)?);
    Ok(figures)
}

/// Divergence of the state at the end of the item, by layer.
fn states(seen: &Seen<'_>, tables: &[(&str, Vec<PooledRow>)]) -> Result<Option<Figure>, Failed> {
    let panel = |(model, rows): &(&str, Vec<PooledRow>), removed: &str| {
        let lines = VARIANTS.iter().enumerate().map(|(entry, (variant, _))| {
            let own = rows.iter().filter(|row| row.measure == "state_divergence");
            let own = own.filter(|row| text(&row.keys[0]) == *variant && text(&row.keys[1]) == removed);
            Line { entry, points: own.map(|row| (number(&row.keys[2]), row.estimate)).collect() }
        });
        LinePanel { title: format!("{}, {removed} token", short(model)), lines: lines.collect() }
    };
    let grid =
        tables.iter().map(|table| (String::new(), REMOVED.iter().map(|removed| panel(table, removed)).collect()));
    let legend = VARIANTS.iter().enumerate().map(|(index, (_, label))| ((*label).to_owned(), style::cycle(index)));
    let lines = Lines {
        grid: grid.collect(),
        legend: legend.collect(),
        x: (&["Layer (0-based)"], Axis::Whole),
        y: (&["Relative divergence"], Axis::Log10),
        share: Share::All,
        zero: None,
        spread: Spread::Band,
        notes: seen.notes("Bands: 95 % intervals."),
        sheet: seen.sheet,
    };
    let caption = format!(
        "Relative distance of the scan's state at the end of the item from that of the whole sequence, where one context token lost one of \
         its effects in all layers behind the site. {}",
        seen.basis()
    );
    seen.figure("state", lines.draw(), csv(&COLUMNS, tables), caption)
}
