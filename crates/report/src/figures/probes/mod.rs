//! Figures of the probes, one file each, from three kinds of picture: heat map, lines, dots. Most take tasks together, each counting the
//! same; single tasks are in the frames. Where tasks differ in what they ask, a figure has panels of each.

mod adjacency;
mod causal_split;
mod heat_map;
mod kept_tokens;
mod layer_kind;
mod leak;
mod loss_split;
mod metrics;
mod position;
mod removed_split;
mod similarity;
mod state_divergence;

use analysis::{Estimate, Labels, PooledRow, ProbeSet, Probes, Study, model_name};
use records::each_once;
use records::names::PROBES;
use records::probes::{Key, ProbeRow};

use super::{Failed, Figure, Query, csv_line, estimate_fields, figure};
use crate::paper::Sheet;
use crate::style::{self, Style};
use crate::text;

/// A point of fewer items than this says more about them than about anything else.
const FEWEST_ITEMS: usize = 5;

/// Draws the figures of all probes, in the order in which probes are listed.
pub(super) fn draw_all(study: &Study, sheet: Sheet) -> Vec<Result<Vec<Figure>, Failed>> {
    let mut figures = Vec::new();
    for name in PROBES {
        for seen in groups(study, name, sheet) {
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
                "removed_split" => removed_split::draw(&seen),
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
    sheet: Sheet,
    labels: Labels,
}

fn groups<'a>(study: &'a Study, name: &'a str, sheet: Sheet) -> Vec<Seen<'a>> {
    let probes = &study.probes;
    let cells = study.cells.iter().filter(|cell| cell.is_done()).map(|cell| &cell.record.trial);
    let looked_at = probes.sets.iter().filter_map(|set| set.record.trial.as_ref());
    let rules: Vec<_> = cells.chain(looked_at).filter(|trial| trial.strategy != study.plan.baseline).collect();
    let mut groups: Vec<(&str, Seen<'a>)> = Vec::new();
    for set in probes.sets.iter().filter(|set| set.record.probe == name && set.is_done()) {
        let options = set.record.options.as_str();
        let index = groups.iter().position(|(known, _)| *known == options).unwrap_or_else(|| {
            let labels = Labels::of_trials(rules.iter().copied());
            groups.push((options, Seen { probes, name, models: Vec::new(), sheet, labels }));
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
                    "strategy" => Key::Text(self.label(set)),
                    column => key(set, row, column).clone(),
                };
                columns.iter().map(of).collect()
            })
        })
    }

    /// The tasks with their numbers of items, in the order of the plan.
    fn tasks(&self) -> Vec<(&str, usize)> {
        let mut tasks: Vec<(&str, usize)> = Vec::new();
        for record in self.models.iter().flat_map(|(_, sets)| sets).map(|set| &set.record) {
            if tasks.iter().all(|(task, _)| *task != record.task) {
                tasks.push((&record.task, record.items));
            }
        }
        tasks
    }

    /// The same of one task alone.
    fn of_task(&self, task: &str) -> Seen<'_> {
        let of = |(model, sets): &(_, Vec<_>)| {
            (*model, sets.iter().copied().filter(|set: &&ProbeSet| set.record.task == task).collect())
        };
        let models = self.models.iter().map(of).collect();
        Seen { probes: self.probes, name: self.name, models, sheet: self.sheet, labels: self.labels.clone() }
    }

    /// What a caption says of items, tasks and intervals.
    fn basis(&self) -> String {
        let tasks = self.tasks();
        let list: Vec<String> =
            tasks.iter().map(|(task, items)| format!("`{}` ({items} items)", text::in_caption(task))).collect();
        let mean = if tasks.len() > 1 { "Mean over the tasks" } else { "Task" };
        format!(
            "{mean} {}; intervals: 95 %, over items (bootstrap; Wilson's where all items are right or wrong).",
            list.join(", ")
        )
    }

    /// What a figure says of itself: tasks, items and protocol, and how it shows intervals.
    fn notes(&self, intervals: &str) -> Vec<String> {
        let tasks = self.tasks();
        let list: Vec<String> = tasks.iter().map(|(task, items)| format!("{task} (n = {items})")).collect();
        let mean = if tasks.len() > 1 { "Mean over " } else { "" };
        let records = || self.models.iter().flat_map(|(_, sets)| sets).filter_map(|set| set.record.trial.as_ref());
        let protocol = records().next().map_or("context", |trial| trial.protocol.as_str());
        vec![format!("{mean}{}, protocol {protocol}. {intervals}", list.join(", "))]
    }

    /// The label of a set's rule, with the reduction where several were asked for.
    fn label(&self, set: &ProbeSet) -> String {
        let Some(trial) = &set.record.trial else { return String::new() };
        let label = self.labels.label(trial);
        let asked = |set: &ProbeSet| {
            let trial = set.record.trial.as_ref().filter(|trial| !trial.sites.is_empty())?;
            Some(trial.reduction().in_words(0))
        };
        let all = || self.models.iter().flat_map(|(_, sets)| sets).filter_map(|set| asked(set));
        match asked(set) {
            Some(own) if all().any(|other| other != own) => {
                format!("{label}, {}", own.replace(" FLOPs reduction", ""))
            }
            _ => label,
        }
    }

    /// Finishes a figure of this probe.
    fn figure(
        &self,
        part: &str,
        svg: Result<String, String>,
        csv: String,
        caption: String,
    ) -> Result<Option<Figure>, Failed> {
        let sets = self.models.iter().flat_map(|(_, sets)| sets.iter().copied());
        figure(self.file(part), svg, csv, caption, &Query::of_probe(self.name, sets))
    }

    fn file(&self, part: &str) -> String {
        let name = format!("probe_{}", self.name);
        if part.is_empty() { name } else { format!("{name}_{part}") }
    }
}

/// Labels of the strategies in the order of the plan, with their looks.
fn strategies(seen: &Seen<'_>, with_dense: bool) -> Vec<(String, Style)> {
    let mut all: Vec<(String, Style)> = Vec::new();
    for set in seen.models.iter().flat_map(|(_, sets)| sets) {
        let own = seen.label(set);
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

/// Labels of an axis, the longest first.
fn words(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

/// Model names as panels show them.
fn short(model: &str) -> String {
    text::shortened(&model_name(model), 28)
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

/// The same, where tasks are not taken together.
fn csv_by_task<'a>(columns: &[&str], tables: impl Iterator<Item = (&'a str, &'a str, &'a [PooledRow])>) -> String {
    let mut csv = format!("model,task,{},measure,n,value,ci_low,ci_high\n", columns.join(","));
    for (model, task, rows) in tables {
        for row in rows {
            let mut fields = vec![model.to_owned(), task.to_owned()];
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
    each_once(rows.iter().map(|row| row.keys[index].clone()))
}
