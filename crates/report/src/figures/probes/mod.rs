//! Figures of the probes, one file each, from three kinds of picture: heat map, lines, dots. Tasks are taken together, each counting
//! the same; single tasks are in the frames.

mod adjacency;
mod causal_split;
mod heat_map;
mod kept_tokens;
mod layer_kind;
mod leak;
mod loss_split;
mod metrics;
mod position;
mod similarity;
mod state_divergence;

use analysis::{Estimate, PooledRow, ProbeSet, Probes};
use records::names::PROBES;
use records::probes::{Key, ProbeRow};
use records::schema::Asked;

use super::{Failed, Figure, csv_line, estimate_fields};
use crate::style::{self, Style};
use crate::text;

/// A point of fewer items than this says more about them than about anything else.
const FEWEST_ITEMS: usize = 5;

/// Draws the figures of all probes, in the order in which probes are listed.
pub(super) fn draw_all(probes: &Probes) -> Vec<Result<Vec<Figure>, Failed>> {
    let mut figures = Vec::new();
    for name in PROBES {
        for seen in groups(probes, name) {
            let drawn = match name {
                "necessary_tokens" => metrics::necessary_tokens(&seen),
                "implicit_attention" => metrics::implicit_attention(&seen),
                "state_divergence" => state_divergence::draw(&seen),
                "causal_split" => causal_split::draw(&seen),
                "position" => position::draw(&seen),
                "similarity" => similarity::draw(&seen),
                "kept_tokens" => kept_tokens::draw(&seen),
                "adjacency" => adjacency::draw(&seen),
                "leak" => leak::draw(&seen),
                "loss_split" => loss_split::draw(&seen),
                "layer_kind" => layer_kind::draw(&seen),
                // A probe without a figure still has its frame.
                _ => Ok(Vec::new()),
            };
            figures.push(drawn);
        }
    }
    figures
}

/// One probe with one set of options on all models.
struct Seen<'a> {
    probes: &'a Probes,
    name: &'a str,
    models: Vec<(&'a str, Vec<&'a ProbeSet>)>,
}

fn groups<'a>(probes: &'a Probes, name: &'a str) -> Vec<Seen<'a>> {
    let mut groups: Vec<(&str, Seen<'a>)> = Vec::new();
    for set in probes.sets.iter().filter(|set| set.record.probe == name && set.is_done()) {
        let options = set.record.options.as_str();
        let index = groups.iter().position(|(known, _)| *known == options).unwrap_or_else(|| {
            groups.push((options, Seen { probes, name, models: Vec::new() }));
            groups.len() - 1
        });
        let models = &mut groups[index].1.models;
        match models.iter_mut().find(|(model, _)| *model == set.record.model) {
            Some((_, sets)) => sets.push(set),
            None => models.push((&set.record.model, vec![set])),
        }
    }
    groups.into_iter().map(|(_, seen)| seen).collect()
}

/// A key of the pooled rows by the name of its column.
fn key<'r>(set: &ProbeSet, row: &'r ProbeRow, name: &str) -> &'r Key {
    let index = set.record.columns.iter().position(|column| column == name);
    index.map_or(&Key::None, |index| &row.keys[index])
}

fn text(key: &Key) -> String {
    match key {
        Key::None => String::new(),
        Key::Whole(value) => value.to_string(),
        Key::Number(value) => value.to_string(),
        Key::Text(value) => value.clone(),
    }
}

fn number(key: &Key) -> f64 {
    match key {
        Key::Whole(value) => *value as f64,
        Key::Number(value) => *value,
        _ => f64::NAN,
    }
}

impl Seen<'_> {
    /// Rows of one model with the keys that `columns` name; those of other columns are taken together.
    fn pooled(
        &self,
        sets: &[&ProbeSet],
        columns: &[&str],
        wanted: impl Fn(&ProbeSet, &ProbeRow) -> bool,
    ) -> Vec<PooledRow> {
        self.probes.pooled(sets, |set, row| {
            wanted(set, row).then(|| {
                let of = |column: &&str| match *column {
                    "strategy" => Key::Text(label(set)),
                    column => key(set, row, column).clone(),
                };
                columns.iter().map(of).collect()
            })
        })
    }

    /// What a caption says of items, tasks and intervals.
    fn basis(&self) -> String {
        let mut tasks: Vec<(&str, usize)> = Vec::new();
        for record in self.models.iter().flat_map(|(_, sets)| sets).map(|set| &set.record) {
            if tasks.iter().all(|(task, _)| *task != record.task) {
                tasks.push((&record.task, record.items));
            }
        }
        let list: Vec<String> =
            tasks.iter().map(|(task, items)| format!("`{}` ({items} items)", text::in_caption(task))).collect();
        let mean = if tasks.len() > 1 { "Mean over the tasks" } else { "Task" };
        format!(
            "{mean} {}; intervals: 95 %, over items (bootstrap; Wilson's where all items are right or wrong).",
            list.join(", ")
        )
    }

    fn file(&self, part: &str) -> String {
        let name = format!("probe_{}", self.name);
        if part.is_empty() { name } else { format!("{name}_{part}") }
    }
}

/// The strategy of a set with what tells it from its siblings.
fn label(set: &ProbeSet) -> String {
    let Some(trial) = &set.record.trial else { return String::new() };
    let mut parts = Vec::new();
    if trial.strategy.contains("top_k") {
        parts.extend(trial.importance.clone());
    }
    let asked = trial.reduction();
    if asked.asked == Asked::Nothing {
        parts.push(asked.word().to_owned());
    } else if asked.value > 0.0 {
        parts.push(format!("{:.0} % {}", asked.value * 100.0, asked.word()));
    }
    if parts.is_empty() { trial.strategy.clone() } else { format!("{} ({})", trial.strategy, parts.join(", ")) }
}

/// Labels of the strategies in the order of the plan, with their looks.
fn strategies(seen: &Seen<'_>, with_dense: bool) -> Vec<(String, Style)> {
    let mut all: Vec<(String, Style)> = Vec::new();
    for set in seen.models.iter().flat_map(|(_, sets)| sets) {
        let own = label(set);
        let strategy = set.record.trial.as_ref().map_or("", |trial| trial.strategy.as_str());
        let is_dense = set.record.trial.as_ref().is_some_and(|trial| trial.sites.is_empty());
        if (with_dense || !is_dense) && all.iter().all(|(known, _)| *known != own) {
            let look = match style::style(strategy) {
                Some(look) => style::variant(look, all.iter().filter(|(known, _)| known.starts_with(strategy)).count()),
                None => style::cycle(all.len()),
            };
            all.push((own, look));
        }
    }
    all
}

/// Model names as panels show them.
fn short(model: &str) -> String {
    text::shortened(&text::file_name(model), 28)
}

/// The numbers behind a figure.
fn csv(columns: &[&str], models: &[(&str, Vec<PooledRow>)]) -> String {
    let mut csv = format!("model,{},measure,n,value,ci_low,ci_high\n", columns.join(","));
    for (model, rows) in models {
        for row in rows {
            let mut fields = vec![(*model).to_owned()];
            fields.extend(row.keys.iter().map(text));
            fields.push(row.measure.clone());
            fields.extend(estimate_fields(&row.estimate));
            csv += &csv_line(&fields);
        }
    }
    csv
}

/// The estimate of one row.
fn find(rows: &[PooledRow], measure: &str, keys: &[Key]) -> Option<Estimate> {
    rows.iter().find(|row| row.measure == measure && row.keys == keys).map(|row| row.estimate)
}

/// Distinct values of key `index` in order of appearance.
fn values(rows: &[PooledRow], index: usize) -> Vec<Key> {
    let mut values: Vec<Key> = Vec::new();
    for row in rows {
        if !values.contains(&row.keys[index]) {
            values.push(row.keys[index].clone());
        }
    }
    values
}
