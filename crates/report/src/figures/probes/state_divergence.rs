//! Figure of `state_divergence`: how far the states are from those of the whole sequence, by distance, layer and half-life.

use analysis::PooledRow;
use records::probes::Key;

use super::{Failed, Figure, Seen, csv, number, short, text, values};
use crate::figures::lines::{Axis, Line, LinePanel, Lines, Share, Spread};
use crate::style;

const COLUMNS: [&str; 4] = ["layer", "distance", "half_life", "removed"];
const CLASSES: [&str; 6] = ["<2", "2-8", "8-32", "32-128", ">=128", "all"];
/// Layers side by side.
const MOST_LAYERS: usize = 4;

pub(super) fn draw(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let tables: Vec<(&str, Vec<PooledRow>)> =
        seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, |_, _| true))).collect();
    let mut figures = Vec::new();
    for removed in ["necessary", "other"] {
        let grid: Vec<(String, Vec<LinePanel>)> =
            tables.iter().map(|(model, rows)| (short(model), panels(rows, removed))).collect();
        if grid.iter().flat_map(|(_, panels)| panels).all(|panel| panel.lines.is_empty()) {
            continue;
        }
        let legend = CLASSES.iter().enumerate().map(|(index, class)| {
            let label = if *class == "all" { "whole state".to_owned() } else { format!("half-life {class} tokens") };
            (label, style::cycle(index))
        });
        let lines = Lines {
            grid,
            legend: legend.collect(),
            x: (&["Distance behind the removed token (tokens)", "Distance (tokens)"], Axis::Log2),
            y: (&["Relative divergence"], Axis::Log10),
            share: Share::All,
            zero: None,
            spread: Spread::Band,
            notes: seen.notes("Bands: 95 % intervals."),
            sheet: seen.sheet,
        };
        let which = if removed == "necessary" { "that the answer needs" } else { "that the answer does not need" };
        let caption = format!(
            "Relative distance of the scan's states from those of the whole sequence after one context token {which} was removed, by distance \
             behind it, layer and half-life of the parts of the state. A slope of a line says how fast the loss is forgotten. {}",
            seen.basis()
        );
        figures.extend(seen.figure(removed, lines.draw(), csv(&COLUMNS, &tables), caption)?);
    }
    Ok(figures)
}

fn panels(rows: &[PooledRow], removed: &str) -> Vec<LinePanel> {
    let mut layers = values(rows, 0);
    layers.sort_by(|a, b| number(a).total_cmp(&number(b)));
    // The first and the last, and evenly between.
    let count = layers.len().min(MOST_LAYERS);
    let shown: Vec<Key> = (0..count).map(|i| layers[i * (layers.len() - 1) / (count - 1).max(1)].clone()).collect();
    let panel = |layer: &Key| {
        let lines = CLASSES.iter().enumerate().map(|(entry, class)| {
            let mut points: Vec<_> = rows
                .iter()
                .filter(|row| row.measure == "divergence" && row.keys[0] == *layer)
                .filter(|row| text(&row.keys[2]) == *class && text(&row.keys[3]) == removed)
                .map(|row| (number(&row.keys[1]), row.estimate))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { entry, points }
        });
        let lines = lines.filter(|line| !line.points.is_empty()).collect();
        LinePanel { title: format!("layer {}", text(layer)), lines }
    };
    shown.iter().map(panel).collect()
}
