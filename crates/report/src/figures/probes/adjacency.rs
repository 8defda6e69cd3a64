//! Figure of `adjacency`: what the convolution behind a site sees.

use analysis::PooledRow;

use super::{FEWEST_ITEMS, Failed, Figure, Seen, csv, number, short, strategies, text};
use crate::figures::lines::{Axis, Line, LinePanel, Lines, Share, Spread};

const COLUMNS: [&str; 2] = ["strategy", "lost"];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let tables: Vec<(&str, Vec<PooledRow>)> =
        seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, |_, _| true))).collect();
    let legend = strategies(seen, false);
    if legend.is_empty() {
        return Ok(Vec::new());
    }
    let panel = |(model, rows): &(&str, Vec<PooledRow>), (measure, title): (&str, &str)| {
        let lines = legend.iter().enumerate().map(|(entry, (label, _))| {
            let own = rows.iter().filter(|row| row.measure == measure && text(&row.keys[0]) == *label);
            let own = own.filter(|row| row.estimate.n >= FEWEST_ITEMS);
            let mut points: Vec<_> = own.map(|row| (number(&row.keys[1]), row.estimate)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { entry, points }
        });
        LinePanel { title: format!("{}, {title}", short(model)), lines: lines.collect() }
    };
    let grid = tables
        .iter()
        .map(|table| (String::new(), vec![panel(table, ("x_change", "input x")), panel(table, ("dt_change", "dt"))]));
    let lines = Lines {
        grid: grid.collect(),
        legend: legend.clone(),
        x: (&["Tokens that left the convolution window", "Tokens outside", "Tokens"], Axis::Whole),
        y: (&["Relative change"], Axis::Linear),
        share: Share::All,
        zero: Some(0.0),
        spread: Spread::Band,
        notes: seen.notes("Bands: 95 % intervals."),
        sheet: seen.sheet,
    };
    let caption = format!(
        "Change of what the layer behind a site gives its scan (x and dt) for kept tokens that nothing was merged into, original against \
         new neighbours, by the number of neighbours that left the window of the convolution. Points of fewer than {FEWEST_ITEMS} \
         items are left out. {}",
        seen.basis()
    );
    Ok(seen.figure("", lines.draw(), csv(&COLUMNS, &tables), caption)?.into_iter().collect())
}
