//! One item, token by token: what each strategy keeps, drops and merges, and where.

use records::each_once;
use std::collections::BTreeMap;

use analysis::{Cell, Study};

use records::schema::{Asked, Reduction};

use super::layout::{Rows, page};
use super::{Failed, Figure, Query, csv_line, figure};
use crate::canvas::{Canvas, DrawError, Ink, Stroke, Text};
use crate::paper::{Sheet, TICK_TEXT};
use crate::text;
use crate::view::{Scene, Series, View, asked_phrase};

/// Height of the tokens above a block, about.
const HEADS: f64 = 44.0;
const ROW: f64 = 9.5;
/// Width of a column: tokens are written upwards, and lines must not touch.
const CELL: f64 = 7.4;

const KEPT: Ink = Ink(70, 90, 110, 1.0);
const DROPPED: Ink = Ink(213, 94, 0, 1.0);
const MERGED: Ink = Ink(0, 158, 115, 1.0);
const WHITE: Ink = Ink(255, 255, 255, 1.0);

/// What became of a token; the number is the index of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped(usize),
    Merged(usize),
}

/// One strategy on the item.
struct Row<'a> {
    series: &'a Series,
    fates: Vec<Fate>,
}

/// The item and everything drawn about it.
struct Map<'a> {
    scene: &'a Scene,
    task: String,
    item_id: String,
    asked: Reduction,
    tokens: Vec<String>,
    necessary: Vec<u32>,
    sites: Vec<usize>,
    rows: Vec<Row<'a>>,
}

/// One map per task that recorded plans, for the first scene that shows them best.
pub(super) fn draw_all(study: &Study, view: &View) -> Vec<Result<Option<Figure>, Failed>> {
    let mut scenes: Vec<&Scene> = view.scenes.iter().collect();
    // `context` is what a deployed model does; other protocols are shown where it was not run.
    scenes.sort_by_key(|scene| scene.protocol != "context");
    let cells: BTreeMap<(&str, &str), &Cell> = study
        .cells
        .iter()
        .filter(|cell| cell.is_done())
        .map(|cell| ((cell.record.trial.trial_id.as_str(), cell.record.task.as_str()), cell))
        .collect();
    let tasks = each_once(study.cells.iter().map(|cell| cell.record.task.as_str()));
    let maps = tasks.into_iter().filter_map(|task| scenes.iter().find_map(|scene| choose(view, scene, task, &cells)));
    maps.map(|map| draw(view, &map)).collect()
}

type Cells<'a> = BTreeMap<(&'a str, &'a str), &'a Cell>;

/// The middle one of the reductions, and of its items the longest that fits one block (else the shortest).
fn choose<'a>(view: &View, scene: &'a Scene, task: &str, cells: &Cells) -> Option<Map<'a>> {
    let reductions = scene.reductions();
    let asked = *reductions.get(reductions.len() / 2)?;
    let chosen: Vec<(&Series, &Cell)> = scene
        .series
        .iter()
        .filter_map(|series| {
            let point = series.at(asked)?;
            // The first seed's trial, or that of this task.
            let arm = &view.arms[point.arm];
            let mut own = arm.trials.iter().filter_map(|trial| cells.get(&(trial.as_str(), task)).copied());
            let cell = own.find(|cell| cell.record.trial.seed == arm.trial.seed)?;
            (!cell.record.plans.is_empty()).then_some((series, cell))
        })
        .collect();
    let (_, first) = chosen.first()?;
    let labels: Vec<&str> = chosen.iter().map(|(series, _)| series.label.as_str()).collect();
    let names = Rows::new(view.sheet, &labels, ROW, &[]);
    let per_block = per_block(view.sheet, &names);
    // Longer items would not fit on a page.
    let most_blocks = ((0.9 * view.sheet.tallest / (names.height + HEADS)) as usize).clamp(1, 3);
    let known = |id: &str| {
        chosen.iter().filter(|(_, c)| c.record.plan_items.iter().any(|p| c.record.items[p.item].item_id == id)).count()
    };
    let best = first
        .record
        .plan_items
        .iter()
        .filter(|plan| plan.tokens.len() <= most_blocks * per_block && !plan.tokens.is_empty())
        .max_by_key(|plan| {
            let length = plan.tokens.len() as i64;
            let fits = length <= per_block as i64;
            let id = &first.record.items[plan.item].item_id;
            let index = -(plan.item as i64);
            (known(id), !plan.necessary.is_empty(), fits, if fits { length } else { -length }, index)
        })?;
    let item_id = first.record.items[best.item].item_id.clone();
    let mut sites: Vec<usize> = first.record.plans.iter().map(|plan| plan.site).collect();
    sites.extend(chosen.iter().flat_map(|(_, cell)| cell.record.plans.iter().map(|plan| plan.site)));
    sites.sort_unstable();
    sites.dedup();
    let rows: Vec<Row> = chosen
        .iter()
        .filter_map(|(series, cell)| {
            fates(cell, &item_id, best.tokens.len(), &sites).map(|fates| Row { series, fates })
        })
        .collect();
    (!rows.is_empty()).then(|| Map {
        scene,
        task: task.to_owned(),
        item_id,
        asked,
        tokens: best.tokens.clone(),
        necessary: best.necessary.clone(),
        sites,
        rows,
    })
}

fn fates(cell: &Cell, item_id: &str, tokens: usize, sites: &[usize]) -> Option<Vec<Fate>> {
    let item = cell.record.items.iter().position(|item| item.item_id == item_id)?;
    let mut fates = vec![Fate::Kept; tokens];
    let mut found = false;
    for plan in cell.record.plans.iter().filter(|plan| plan.item == item) {
        found = true;
        let site = sites.iter().position(|&s| s == plan.site)?;
        for &position in &plan.dropped {
            *fates.get_mut(position as usize)? = Fate::Dropped(site);
        }
        for &(position, _) in &plan.merged {
            *fates.get_mut(position as usize)? = Fate::Merged(site);
        }
    }
    found.then_some(fates)
}

fn ink(fate: Fate, sites: usize) -> Ink {
    // Early sites are dark: what is lost first is lost for most layers.
    let pale = |site: usize| {
        if sites < 2 { 0.0 } else { 0.62 * site as f64 / (sites - 1) as f64 }
    };
    match fate {
        Fate::Kept => KEPT.mix(WHITE, 0.78),
        Fate::Dropped(site) => DROPPED.mix(WHITE, pale(site)),
        Fate::Merged(site) => MERGED.mix(WHITE, pale(site)),
    }
}

/// Tokens side by side; longer items go on in a second block.
fn per_block(sheet: Sheet, names: &Rows) -> usize {
    (((sheet.width - names.left - 4.0) / CELL) as usize).max(1)
}

fn draw(view: &View, map: &Map) -> Result<Option<Figure>, Failed> {
    let sheet = view.sheet;
    let labels: Vec<&str> = map.rows.iter().map(|row| row.series.label.as_str()).collect();
    let names = Rows::new(sheet, &labels, ROW, &[]);
    let (left, per_block) = (names.left, per_block(sheet, &names));
    let blocks: Vec<std::ops::Range<usize>> = (0..map.tokens.len())
        .step_by(per_block)
        .map(|start| start..(start + per_block).min(map.tokens.len()))
        .collect();
    let widest = blocks.first().map_or(1, std::iter::ExactSizeIterator::len) as f64;
    let cell = ((sheet.width - left - 4.0) / widest).min(12.0);
    let texts: Vec<String> = map.tokens.iter().map(|token| printable(token)).collect();
    let needed = |token: usize| map.necessary.contains(&(token as u32));
    let head = |token: usize, text: &String| {
        sheet.text_width(text, TICK_TEXT, needed(token)) + if needed(token) { 10.0 } else { 4.0 }
    };
    let heads = texts.iter().enumerate().map(|(token, text)| head(token, text)).fold(0.0, f64::max);
    let block = heads + names.height + 6.0;
    let key_lines = key_layout(sheet, map);
    let keys = key_lines.last().map_or(1, |(line, _, _, _)| line + 1) as f64 * KEY;
    let height = 4.0 + block * blocks.len() as f64 + keys + 4.0;
    let note = format!("{}, {}; one item of {}: an illustration.", map.scene.note(), map.asked.in_words(0), map.task);
    let svg = page(sheet, height, &[note], |canvas| {
        for (index, range) in blocks.iter().enumerate() {
            let top = 4.0 + index as f64 * block + heads;
            for (column, token) in range.clone().enumerate() {
                let x = left + (column as f64 + 0.5) * cell;
                let needed = map.necessary.contains(&(token as u32));
                let style = Text::new(TICK_TEXT).upwards();
                let style = if needed { style.bold() } else { style.ink(Ink::GREY) };
                canvas.text((x, top - if needed { 8.0 } else { 3.0 }), &texts[token], style)?;
                if needed {
                    canvas.marker((x, top - 4.0), crate::canvas::Marker::Down, 1.9, Ink::BLACK)?;
                }
            }
            names.draw(canvas, (left, top))?;
            for (line, row) in map.rows.iter().enumerate() {
                let (middle, half) = (top + names.at(line), names.height_of(line) / 2.0 - 0.6);
                for (column, token) in range.clone().enumerate() {
                    let from = (left + column as f64 * cell + 0.3, middle - half);
                    let to = (from.0 + cell - 0.6, middle + half);
                    canvas.rect(from, to, ink(row.fates[token], map.sites.len()))?;
                }
            }
            outline(canvas, map, range, (left, top), cell, names.height)?;
        }
        key(canvas, &key_lines, (4.0, height - keys - 2.0))
    });
    let asked = match map.asked.asked {
        Asked::Nothing => asked_phrase(map.asked),
        Asked::Achieved => format!("an achieved FLOPs reduction of {:.0} %", map.asked.value * 100.0),
        Asked::Nominal => format!("a nominal FLOPs reduction of {:.0} %", map.asked.value * 100.0),
    };
    let caption = format!(
        "One item (`{}` of {}) at {}; {}. Grey tokens are kept, orange ones are dropped, \
         green ones are merged into another; the darker, the earlier the site. Framed columns with a triangle are the \
         tokens the answer needs. An illustration: one item, no statistics.",
        text::in_caption(&map.item_id),
        text::in_caption(&map.task),
        asked,
        map.scene.title(),
    );
    let arms = map.rows.iter().filter_map(|row| row.series.at(map.asked)).map(|point| point.arm);
    let query = Query::of_plans(view, (&map.task, &map.item_id), arms);
    figure(format!("token_map_{}", text::file_name(&map.task)), svg, csv(map), caption, &query)
}

/// Frames around the columns of necessary tokens; neighbours share one frame.
fn outline(
    canvas: &Canvas,
    map: &Map,
    range: &std::ops::Range<usize>,
    (left, top): (f64, f64),
    cell: f64,
    rows: f64,
) -> Result<(), DrawError> {
    let needed = |token: usize| range.contains(&token) && map.necessary.contains(&(token as u32));
    let mut start = None;
    for token in range.start..=range.end {
        match (needed(token), start) {
            (true, None) => start = Some(token),
            (false, Some(first)) => {
                let from = (left + (first - range.start) as f64 * cell, top);
                let to = (left + (token - range.start) as f64 * cell, top + rows);
                canvas.frame(from, to, Stroke::solid(Ink::BLACK, 0.7))?;
                start = None;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Height of a line of the key.
const KEY: f64 = 10.0;

/// The entries of the key by line: place, colours and words.
fn key_layout(sheet: Sheet, map: &Map) -> Vec<(usize, f64, Vec<Ink>, String)> {
    let sites = map.sites.len();
    let names = map.sites.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut entries: Vec<(Vec<Ink>, String)> = vec![(vec![ink(Fate::Kept, sites)], "kept".to_owned())];
    for (fate, verb) in [(Fate::Dropped as fn(usize) -> Fate, "dropped"), (Fate::Merged, "merged")] {
        let seen = map.rows.iter().flat_map(|row| &row.fates).any(|&f| (0..sites).any(|site| f == fate(site)));
        if seen {
            entries.push(((0..sites).map(|site| ink(fate(site), sites)).collect(), verb.to_owned()));
        }
    }
    let order = if sites == 1 { format!("at site {names}") } else { format!("dark to pale: at sites {names}") };
    entries.push((Vec::new(), order));
    let (mut line, mut x) = (0, 0.0);
    let mut placed = Vec::new();
    for (inks, words) in entries {
        let width = inks.len() as f64 * 7.6 + 3.0 + sheet.text_width(&words, TICK_TEXT, false) + 9.0;
        if x > 0.0 && x + width > sheet.width - 8.0 {
            (line, x) = (line + 1, 0.0);
        }
        placed.push((line, x, inks, words));
        x += width;
    }
    placed
}

fn key(canvas: &Canvas, entries: &[(usize, f64, Vec<Ink>, String)], (left, top): (f64, f64)) -> Result<(), DrawError> {
    for (line, x, inks, words) in entries {
        let (mut x, y) = (left + x, top + *line as f64 * KEY);
        for &ink in inks {
            canvas.rect((x, y), (x + 7.0, y + 7.0), ink)?;
            x += 7.6;
        }
        canvas.text((x + 3.0, y + 3.5), words, Text::new(TICK_TEXT))?;
    }
    Ok(())
}

/// A token as one short printable text.
fn printable(token: &str) -> String {
    // What else cannot be seen, the page shows.
    let visible = token.replace('\n', "\u{21B5}").replace('\t', "\u{2192}");
    let trimmed = visible.trim();
    if trimmed.is_empty() {
        return "\u{2423}".to_owned();
    }
    if trimmed.chars().count() > 12 {
        return trimmed.chars().take(11).chain(['\u{2026}']).collect();
    }
    trimmed.to_owned()
}

fn csv(map: &Map) -> String {
    let mut csv = "model,protocol,task,item_id,series,position,token,necessary,fate,site\n".to_owned();
    for row in &map.rows {
        for (position, fate) in row.fates.iter().enumerate() {
            let (fate, site) = match fate {
                Fate::Kept => ("kept", String::new()),
                Fate::Dropped(site) => ("dropped", map.sites[*site].to_string()),
                Fate::Merged(site) => ("merged", map.sites[*site].to_string()),
            };
            csv += &csv_line(&[
                map.scene.model.clone(),
                map.scene.protocol.clone(),
                map.task.clone(),
                map.item_id.clone(),
                row.series.label.clone(),
                position.to_string(),
                map.tokens[position].clone(),
                map.necessary.contains(&(position as u32)).to_string(),
                fate.to_owned(),
                site,
            ]);
        }
    }
    csv
}
