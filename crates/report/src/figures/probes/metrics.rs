//! Figures of `necessary_tokens` and `implicit_attention`: every importance metric at every layer.

use analysis::{Estimate, PooledRow, ProbeSet};
use records::each_once;
use records::probes::{Key, ProbeRow};

use super::heat_map::HeatMap;
use super::{Failed, Figure, Seen, csv, find, key, number, short, text, values};
use crate::axes::has_place;

const COLUMNS: [&str; 3] = ["layer", "importance", "importance_source"];

pub(super) fn necessary_tokens(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let tables = tables(seen, |_, _| true);
    let auroc = Shown { measure: "auroc", centre: 0.5, unit: "AUROC", full: None };
    let caption = format!(
        "Probability that a token which the answer needs scores above another context token (AUROC), per importance metric and layer. \
         Blue: the metric finds them; red: it points the wrong way; hatched: the interval holds 0.5, chance. {}",
        seen.basis()
    );
    let mut figures = Vec::new();
    figures.extend(draw(seen, &tables, &auroc, "auroc", caption)?);
    let chance = chance(&tables);
    let precision = Shown { measure: "average_precision", centre: chance, unit: "Average precision", full: None };
    let caption = format!(
        "Average precision of ranking the necessary tokens first, per importance metric and layer. White: {chance:.2}, the mean share of \
         necessary tokens, which is about what a random ranking reaches. Hatched: the interval holds it. {}",
        seen.basis()
    );
    figures.extend(draw(seen, &tables, &precision, "average_precision", caption)?);
    let agreement = Shown { measure: "agreement", centre: 0.0, unit: "Rank correlation", full: Some(1.0) };
    let caption = format!(
        "Do layers agree? Mean Spearman correlation, over pairs with every other layer, of the scores of the context tokens of one item. \
         1: the same ranking in every layer. {}",
        seen.basis()
    );
    figures.extend(draw(seen, &tables, &agreement, "agreement", caption)?);
    Ok(figures)
}

pub(super) fn implicit_attention(seen: &Seen<'_>) -> Result<Vec<Figure>, Failed> {
    let mut figures = Vec::new();
    for decay in ["with", "without"] {
        let tables = tables(seen, |set, row| text(key(set, row, "decay")) == decay);
        let shown = Shown { measure: "correlation", centre: 0.0, unit: "Rank correlation", full: Some(1.0) };
        let caption = format!(
            "Spearman correlation, over the context tokens of an item, of importance metrics with the influence of a token on later \
             outputs of the scan: the column sum of the implicit attention, {decay} the decay between the two tokens. Hatched: the \
             interval holds 0. {}",
            seen.basis()
        );
        figures.extend(draw(seen, &tables, &shown, &format!("{decay}_decay"), caption)?);
    }
    Ok(figures)
}

/// Which measure a heat map shows, and how.
struct Shown {
    measure: &'static str,
    centre: f64,
    unit: &'static str,
    /// Distance from the centre with the full colour; the largest one that occurs if not given.
    full: Option<f64>,
}

type Tables<'a> = Vec<(&'a str, Vec<PooledRow>)>;

fn tables<'a>(seen: &'a Seen<'_>, wanted: impl Fn(&ProbeSet, &ProbeRow) -> bool) -> Tables<'a> {
    seen.models.iter().map(|(model, sets)| (*model, seen.pooled(sets, &COLUMNS, &wanted))).collect()
}

/// Mean share of necessary tokens over all models.
fn chance(tables: &Tables<'_>) -> f64 {
    let rows = tables.iter().flat_map(|(_, rows)| rows).filter(|row| row.measure == "prevalence");
    let all: Vec<f64> = rows.map(|row| row.estimate.value).collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

fn draw(
    seen: &Seen<'_>,
    tables: &Tables<'_>,
    shown: &Shown,
    part: &str,
    caption: String,
) -> Result<Option<Figure>, Failed> {
    let rows = tables.iter().flat_map(|(_, rows)| rows).filter(|row| row.measure == shown.measure);
    let metrics = each_once(rows.map(|row| [row.keys[1].clone(), row.keys[2].clone()]));
    let Some((_, first)) = tables.first().filter(|_| !metrics.is_empty()) else { return Ok(None) };
    let mut layers = values(first, 0);
    for (_, rows) in tables {
        layers.extend(values(rows, 0).into_iter().filter(|layer| !layers.contains(layer)).collect::<Vec<_>>());
    }
    layers.sort_by(|a, b| number(a).total_cmp(&number(b)));
    let cell = |rows: &[PooledRow], metric: &[Key; 2], layer: &Key| -> Option<Estimate> {
        find(rows, shown.measure, &[layer.clone(), metric[0].clone(), metric[1].clone()])
    };
    let panels: Vec<(String, Vec<Vec<Option<Estimate>>>)> = tables
        .iter()
        .map(|(model, rows)| {
            let line = |metric| layers.iter().map(|layer| cell(rows, metric, layer)).collect();
            (short(model), metrics.iter().map(line).collect())
        })
        .collect();
    let all = panels.iter().flat_map(|(_, cells)| cells.iter().flatten().flatten());
    let distances = all.map(|estimate| (estimate.value - shown.centre).abs());
    let largest = distances.filter(|distance| has_place(*distance)).fold(0.01, f64::max);
    let name = |metric: &[Key; 2]| match (text(&metric[0]), text(&metric[1]).as_str()) {
        (importance, "control") => format!("{importance} (control)"),
        // These read the step sizes and what else they need: there is no choice of source.
        (importance, "dt") => importance,
        (importance, source) => format!("{importance} of {source}"),
    };
    let map = HeatMap {
        rows: metrics.iter().map(name).collect(),
        columns: layers.iter().map(|layer| number(layer) as u64).collect(),
        panels,
        centre: shown.centre,
        limit: shown.full.unwrap_or(largest),
        unit: shown.unit,
        notes: seen.notes("Hatched: the 95 % interval holds the neutral value."),
        sheet: seen.sheet,
    };
    seen.figure(part, map.draw(), csv(&COLUMNS, tables), caption)
}
