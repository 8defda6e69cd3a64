//! Figure of `similarity`: likeness of tokens and cost of merging, by layer.

use analysis::PooledRow;

use super::{Failed, Figure, Seen, csv, number, short, text, values};
use crate::figures::lines::{Axis, Line, LinePanel, Lines, Share, Spread};
use crate::style;

const COLUMNS: [&str; 2] = ["layer", "source"];
const MEASURES: [(&str, &str); 4] = [
    ("mean_cosine", "mean cosine"),
    ("best_cosine", "best match"),
    ("effective_rank", "effective rank"),
    ("merge_error", "merge error"),
];

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let tables: Vec<(&str, Vec<PooledRow>)> =
        seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, |_, _| true))).collect();
    let sources = tables.first().map_or_else(Vec::new, |(_, rows)| values(rows, 1));
    let panel = |rows: &[PooledRow], (measure, title): &(&str, &str)| {
        let lines = sources.iter().enumerate().map(|(entry, source)| {
            let own = rows.iter().filter(|row| row.measure == *measure && row.keys[1] == *source);
            let mut points: Vec<_> = own.map(|row| (number(&row.keys[0]), row.estimate)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { entry, points }
        });
        LinePanel { title: (*title).to_owned(), lines: lines.collect() }
    };
    let grid = tables.iter().map(|(model, rows)| (short(model), MEASURES.iter().map(|m| panel(rows, m)).collect()));
    let legend = sources.iter().enumerate().map(|(index, source)| (text(source), style::cycle(index)));
    let lines = Lines {
        grid: grid.collect(),
        legend: legend.collect(),
        x: (&["Layer (0-based)"], Axis::Whole),
        y: (&[], Axis::Linear),
        share: Share::Columns,
        zero: None,
        spread: Spread::Band,
        notes: seen.notes("Bands: 95 % intervals."),
        sheet: seen.sheet,
    };
    let caption = format!(
        "Likeness of context tokens by layer: mean cosine over pairs; cosine of a token at an even place with its best match at an odd \
         place; effective rank (participation ratio) as a share of the largest possible one; distance of two merged tokens from their \
         mean over their mean norm, for the strongest tenth of ToMe's pairs. {}",
        seen.basis()
    );
    Ok(seen.figure("", lines.draw(), csv(&COLUMNS, &tables), caption)?.into_iter().collect())
}
