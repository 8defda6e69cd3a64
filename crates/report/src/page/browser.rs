//! The items of the page as data: what they say, and what each arm made of them.
//!
//! A page cannot hold every item of a large experiment. Of each model, protocol and task it holds those items on which some arm and the
//! baseline disagree, first those whose plans are recorded, up to a number that follows from the size of the experiment.

use std::collections::{BTreeMap, BTreeSet};

use analysis::items::fates;
use analysis::{Cell, Study};
use records::schema::{CellRecord, ItemRecord};
use records::task_items::TaskItem;
use serde_json::{Value, json};

use crate::view::{Scene, View, asked_text, distinct};

/// Bytes of the items of a page, about.
const MOST_BYTES: usize = 12 << 20;
/// Most items of a model, protocol and task.
const MOST_ITEMS: usize = 60;
/// Bytes of a score of one arm on one item, and of the fate of one token, about.
const BYTES_OF_SCORE: usize = 60;
const BYTES_OF_FATE: usize = 8;

/// One model, protocol and task with the first seed of every arm, the baseline first.
struct Group<'a> {
    name: String,
    texts: BTreeMap<&'a str, &'a TaskItem>,
    key: (&'a str, &'a str),
    arms: Vec<(String, &'a CellRecord)>,
}

/// The items, and a sentence about those that are missing; the first is none where there are none to show.
pub(super) fn items(study: &Study, view: &View) -> (Option<Value>, Option<String>) {
    if study.plan.cells.is_empty() {
        return (None, None);
    }
    if study.task_items.is_empty() {
        let words = "What the items say is not recorded. Run the experiment again with this version: it records it, and runs no cell again.";
        return (None, Some(words.to_owned()));
    }
    let groups = groups(study, view);
    // What an item takes in all groups together decides how many of them fit, beside a digit for every answer.
    let answers: usize = groups.iter().flat_map(|group| &group.arms).map(|(_, cell)| cell.items.len()).sum();
    let per_item: usize = groups.iter().map(Group::bytes_per_item).sum();
    let most = (MOST_BYTES.saturating_sub(answers) / per_item.max(1)).min(MOST_ITEMS);
    if most == 0 {
        let words = "The experiment is too large for this page to hold items: sweep items prints them.";
        return (None, Some(words.to_owned()));
    }
    let mut texts: Vec<Value> = Vec::new();
    let mut places: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let mut scenes: Vec<Value> = Vec::new();
    for group in groups.iter().filter(|group| group.arms.len() > 1) {
        let chosen = group.chosen(most);
        if chosen.is_empty() {
            continue;
        }
        let mut own = Vec::new();
        for &index in &chosen {
            let id = group.arms[0].1.items[index].item_id.as_str();
            let Some(text) = group.texts.get(id) else { continue };
            let place = *places.entry((group.key.0, group.key.1, id)).or_insert_with(|| {
                texts.push(text_of(text));
                texts.len() - 1
            });
            own.push((index, json!({ "i": index, "t": place })));
        }
        let arms: Vec<Value> = group.arms.iter().map(|(name, cell)| arm_of(name, cell, group, &own)).collect();
        let own: Vec<&Value> = own.iter().map(|(_, item)| item).collect();
        scenes.push(json!({ "name": group.name, "arms": arms, "items": own }));
    }
    let note = (most < MOST_ITEMS).then(|| {
        format!(
            "The experiment is large: this page holds at most {most} items of each model, protocol and task; sweep items prints all of them."
        )
    });
    if scenes.is_empty() {
        let none =
            "No two arms of one model, protocol and task have finished, or they are of items that are not recorded.";
        return (None, note.or_else(|| Some(none.to_owned())));
    }
    (Some(json!({ "texts": texts, "scenes": scenes })), note)
}

fn groups<'a>(study: &'a Study, view: &'a View) -> Vec<Group<'a>> {
    let cells: BTreeMap<(&str, &str), &Cell> = study
        .cells
        .iter()
        .filter(|cell| cell.is_done())
        .map(|cell| ((cell.record.trial.trial_id.as_str(), cell.record.task.as_str()), cell))
        .collect();
    let reductions = distinct(view.scenes.iter().flat_map(Scene::reductions));
    let mut groups = Vec::new();
    for scene in &view.scenes {
        for task in &scene.tasks {
            let Some(file) = study.items_of(&scene.model, &task.name) else { continue };
            let cell = |arm: usize| {
                let mut trials = view.arms[arm].trials.iter();
                trials.find_map(|trial| cells.get(&(trial.as_str(), task.name.as_str())).copied())
            };
            let mut arms = Vec::new();
            if let Some((arm, _)) = &scene.baseline
                && let Some(cell) = cell(*arm)
            {
                arms.push((study.plan.baseline.clone(), &cell.record));
            }
            for series in scene.series.iter().chain(&scene.sweeps) {
                for point in &series.points {
                    let Some(cell) = cell(point.arm) else { continue };
                    let achieved = cell.record.cost.flops_reduction_achieved * 100.0;
                    let sites = &view.arms[point.arm].trial;
                    let place = if sites.sites.len() == 1 { format!(", {}", sites.schedule) } else { String::new() };
                    let asked = asked_text(point.asked, &reductions);
                    arms.push((
                        format!("{}, asked {asked}{place} (achieved {achieved:.1} %)", series.label),
                        &cell.record,
                    ));
                }
            }
            groups.push(Group {
                name: format!("{}, {}, {}", scene.model, scene.protocol, task.name),
                texts: file.items.iter().map(|item| (item.item_id.as_str(), item)).collect(),
                key: (&file.model, &file.task),
                arms,
            });
        }
    }
    groups
}

impl Group<'_> {
    fn bytes_per_item(&self) -> usize {
        let of_arm = |(_, cell): &(String, &CellRecord)| {
            let fates: usize = cell.plans.iter().map(|plan| plan.dropped.len() + 2 * plan.merged.len()).sum();
            let planned: BTreeSet<usize> = cell.plans.iter().map(|plan| plan.item).collect();
            BYTES_OF_SCORE + BYTES_OF_FATE * fates / planned.len().max(1)
        };
        self.arms.iter().map(of_arm).sum()
    }

    /// Indices of the items to show: those on which arms disagree before others, those with plans before those without.
    fn chosen(&self, most: usize) -> Vec<usize> {
        let Some((_, first)) = self.arms.first() else { return Vec::new() };
        let planned: BTreeSet<usize> =
            self.arms.iter().flat_map(|(_, cell)| cell.plans.iter().map(|plan| plan.item)).collect();
        let differs = |index: usize| {
            let right = first.items[index].correct;
            self.arms.iter().any(|(_, cell)| cell.items.get(index).is_some_and(|item| item.correct != right))
        };
        let mut all: Vec<(bool, bool, usize)> =
            (0..first.items.len()).map(|index| (!differs(index), !planned.contains(&index), index)).collect();
        all.sort_unstable();
        let mut chosen: Vec<usize> = all.into_iter().take(most).map(|(.., index)| index).collect();
        chosen.sort_unstable();
        chosen
    }
}

fn text_of(item: &TaskItem) -> Value {
    json!({
        "id": item.item_id, "tokens": item.tokens, "context": item.context_tokens, "necessary": item.necessary,
        "choices": item.choices, "target": item.target, "gold": item.gold,
    })
}

fn arm_of(name: &str, cell: &CellRecord, group: &Group<'_>, own: &[(usize, Value)]) -> Value {
    let first = group.arms[0].1;
    let by_id: BTreeMap<&str, usize> =
        cell.items.iter().enumerate().map(|(index, item)| (item.item_id.as_str(), index)).collect();
    // In the order of the baseline's items.
    let place = |index: usize| by_id.get(first.items[index].item_id.as_str()).copied();
    let digit = |item: Option<&ItemRecord>| match item.and_then(|item| item.correct) {
        Some(true) => '1',
        Some(false) => '0',
        None => '-',
    };
    let right: String =
        (0..first.items.len()).map(|index| digit(place(index).map(|place| &cell.items[place]))).collect();
    let items: Vec<Value> =
        own.iter().map(|(index, _)| place(*index).map_or(Value::Null, |at| side(cell, at))).collect();
    json!({ "name": name, "right": right, "items": items })
}

fn side(cell: &CellRecord, index: usize) -> Value {
    let item = &cell.items[index];
    let rounded: Vec<f64> = item.loglikelihoods.iter().map(|value| (value * 1e3).round() / 1e3).collect();
    let (fates, tokens) = fates(cell, index);
    let fates: Option<Vec<Value>> = fates.map(|fates| {
        let one = |(token, fate): (&u32, &analysis::items::Fate)| match fate.into {
            Some(into) => json!([token, fate.site, into]),
            None => json!([token, fate.site]),
        };
        fates.iter().map(one).collect()
    });
    json!({ "l": rounded, "p": item.predicted, "f": fates, "n": tokens })
}
