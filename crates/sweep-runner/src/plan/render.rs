//! A plan for people (a table) and for programs (JSON).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use evaluation::{Positions, SignalFrom};
use records::schema::{TrialKey, in_words};
use reduction_strategies::options::OptionValue;
use report::text::{number, terminal};

use super::estimate::plan_bytes;
use super::{Cell, Estimate, ExperimentPlan, PlannedTrial};
use crate::config::{Amount, RecordPlans};

/// Cells that share model, protocol, strategy and options.
struct Group {
    model: String,
    protocol: String,
    strategy: &'static str,
    options: Vec<String>,
    seeds: BTreeSet<u64>,
    sites: Vec<String>,
    asked: Vec<String>,
    /// None where the count is free.
    keep: Option<(f64, f64)>,
    nominal: Option<(f64, f64)>,
    cells: usize,
    items: usize,
    estimate: Estimate,
}

/// Writes summary, table, exclusions by reason and notes.
///
/// # Errors
/// The writer fails.
pub fn write_table(plan: &ExperimentPlan, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "experiment  {}", terminal(&plan.experiment))?;
    if let Some(question) = &plan.question {
        let question: Vec<&str> = question.split_whitespace().collect();
        writeln!(out, "question    {}", terminal(&question.join(" ")))?;
    }
    let items: usize = plan.cells.iter().map(|cell| cell.items).sum();
    writeln!(
        out,
        "plan        {} = {} on {}, {}, {}, baseline {}, {} {}",
        counted(plan.cells.len(), "cell"),
        counted(plan.trials.len(), "trial"),
        counted(distinct(plan.cells.iter().map(|cell| cell.task.as_str())), "task"),
        counted(items, "item"),
        counted(distinct(plan.trials.iter().map(|trial| trial.key.model.as_str())), "model"),
        plan.baseline,
        plan.setting.device,
        plan.setting.dtype,
    )?;
    if !plan.split.is_all() {
        writeln!(out, "split       only the items of `{}`", plan.split)?;
    }
    let source = match plan.rates.iter().filter(|rate| rate.is_some()).count() {
        0 => "assumed rates and mean lengths, not measured",
        known if known == plan.models.len() => "mean lengths, rates measured on this machine",
        _ => "mean lengths, rates measured on this machine or assumed",
    };
    writeln!(out, "estimate    {} FLOPs, {} ({source})", flops(plan.total.flops), time(plan.total.seconds))?;
    write_models(plan, out)?;
    if !plan.cells.is_empty() {
        let Estimate { flops, seconds } = plan.guards;
        writeln!(out, "guards      {} FLOPs, {} before the first cell", self::flops(flops), time(seconds))?;
        write_recorded(plan, out)?;
        writeln!(out, "\n{}", table(plan).trim_fmt())?;
    }
    if plan.cells.iter().any(|cell| plan.trial_of(cell).key.keep_ratio.is_none()) {
        writeln!(out, "\nfree counts are measured when run: estimates assume that they keep every token")?;
    }
    write_solved(plan, out)?;
    write_calibrated(plan, out)?;
    write_probes(plan, out)?;
    write_excluded(plan, out)?;
    if plan.duplicates > 0 {
        let run = if plan.duplicates == 1 { "runs" } else { "run" };
        writeln!(out, "\n{} that the grid contains twice {run} once", counted(plan.duplicates, "cell"))?;
    }
    for note in &plan.notes {
        writeln!(out, "\nnote: {}", terminal(note))?;
    }
    Ok(())
}

/// Time and memory of each model, and where its rate comes from.
fn write_models(plan: &ExperimentPlan, out: &mut dyn Write) -> io::Result<()> {
    let width = plan.models.iter().map(|model| model.reference.len()).max().unwrap_or(0);
    for ((model, rate), estimate) in plan.models.iter().zip(&plan.rates).zip(plan.by_model()) {
        let (name, time) = (terminal(&model.reference), time(estimate.seconds));
        match rate {
            Some(rate) => {
                let (per_s, memory) = (flops(rate.flops_per_s), size(rate.peak_mem_bytes as f64));
                let cells = counted(rate.cells, "cell");
                writeln!(
                    out,
                    "            {name:<width$}  {time}, {memory} at the peak ({per_s} FLOPs/s, measured over {cells})"
                )?;
            }
            None => writeln!(
                out,
                "            {name:<width$}  {time} at an assumed rate: none was measured here; --measure does, and so does a run"
            )?,
        }
    }
    Ok(())
}

/// Which plans will be recorded, and about how much they take on disk.
fn write_recorded(plan: &ExperimentPlan, out: &mut dyn Write) -> io::Result<()> {
    let bytes = |cell: &Cell| {
        let task = plan.tasks.iter().find(|task| task.name == cell.task);
        let items = cell.items.min(plan.record_plans.traced());
        task.map_or(0.0, |task| plan_bytes(plan.trial_of(cell), task, items))
    };
    let bytes: f64 = plan.cells.iter().map(bytes).sum();
    if bytes <= 0.0 {
        return Ok(());
    }
    let (which, size) = (plan.record_plans.in_words(), size(bytes));
    let about = if plan.record_plans == RecordPlans::Lost { "at most" } else { "about" };
    writeln!(out, "records     with plans of {which} of each cell, {about} {size}")
}

/// A keep ratio that was solved for an achieved reduction.
#[derive(PartialEq)]
struct Solved<'a> {
    place: String,
    task: &'a str,
    asked: f64,
    keep_ratio: f64,
    achieved: f64,
}

/// The keep ratios that were solved for achieved reductions: one line per model, protocol, sites, task and reduction, and several,
/// with the names of the strategies, where not all keep as many tokens at one ratio.
fn write_solved(plan: &ExperimentPlan, out: &mut dyn Write) -> io::Result<()> {
    let mut lines: Vec<(Solved<'_>, BTreeSet<&str>)> = Vec::new();
    for trial in &plan.trials {
        let key = &trial.key;
        let (Some(asked), Some(task), Some(achieved)) = (key.flops_reduction_asked, &trial.task, trial.achieved) else {
            continue;
        };
        let place = format!("{}, {}, {}", terminal(&key.model), key.protocol, site_words(key));
        let line = Solved { place, task, asked, keep_ratio: key.keep_ratio.unwrap_or(1.0), achieved };
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, strategies)) => drop(strategies.insert(&key.strategy)),
            None => lines.push((line, BTreeSet::from([key.strategy.as_str()]))),
        }
    }
    let mut last = "";
    let width = lines.iter().map(|(line, _)| line.task.len()).max().unwrap_or(0);
    for (line, strategies) in &lines {
        if last.is_empty() {
            writeln!(out, "\nachieved FLOPs reductions, solved from the lengths of the items:")?;
        }
        if last != line.place {
            writeln!(out, "{}", line.place)?;
        }
        last = &line.place;
        let same = |other: &Solved<'_>| {
            (&other.place, other.task) == (&line.place, line.task) && other.asked.total_cmp(&line.asked).is_eq()
        };
        let several = lines.iter().filter(|(other, _)| same(other)).count() > 1;
        let names: Vec<&str> = strategies.iter().copied().filter(|_| several).collect();
        let names = if several { format!("  {}", names.join(", ")) } else { String::new() };
        writeln!(
            out,
            "  {:<width$}  {:>6} %  keep_ratio {:<8} achieves {:.2} %{names}",
            line.task,
            number(line.asked * 100.0),
            number(line.keep_ratio),
            line.achieved * 100.0
        )?;
    }
    Ok(())
}

/// The thresholds of calibrated trials: one line per model, protocol, sites, task, rule and reduction.
fn write_calibrated(plan: &ExperimentPlan, out: &mut dyn Write) -> io::Result<()> {
    let mut head = "\nachieved FLOPs reductions, calibrated on the items of `tune`:";
    for trial in &plan.trials {
        let (key, Some(request)) = (&trial.key, &trial.calibrate) else { continue };
        let (option, task) = (request.option, trial.task.as_deref().unwrap_or_default());
        let found = match &key.calibration {
            Some(found) => format!("{option} {} achieves {:.2} % there", number(found.value), found.achieved * 100.0),
            None => format!("{option} is found when run"),
        };
        if !head.is_empty() {
            writeln!(out, "{}", std::mem::take(&mut head))?;
        }
        let place = format!("{}, {}, {}", terminal(&key.model), key.protocol, site_words(key));
        writeln!(out, "  {place}, {} on {task}: {} %, {found}", key.strategy, number(request.target * 100.0))?;
    }
    Ok(())
}

/// How often each probe looks, and at how many items.
fn write_probes(plan: &ExperimentPlan, out: &mut dyn Write) -> io::Result<()> {
    let mut lines: Vec<(String, usize, usize)> = Vec::new();
    for cell in &plan.probes {
        let name = in_words(cell.probe.name, &cell.options.to_json());
        match lines.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, cells, items)) => {
                *cells += 1;
                *items += cell.items;
            }
            None => lines.push((name, 1, cell.items)),
        }
    }
    if !lines.is_empty() {
        writeln!(out, "\n{} (their time is not estimated):", counted(plan.probes.len(), "probe cell"))?;
    }
    for (name, cells, items) in lines {
        writeln!(out, "  {cells:>4} cells, {items:>6} items  {name}")?;
    }
    Ok(())
}

/// The whole plan as indented JSON.
///
/// # Errors
/// Never in practice: a plan holds nothing that JSON cannot say.
pub fn to_json(plan: &ExperimentPlan) -> serde_json::Result<String> {
    serde_json::to_string_pretty(plan)
}

/// `1 cell`, `2 cells`.
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.collect::<BTreeSet<_>>().len()
}

const HEADER: [&str; 9] =
    ["strategy", "sites", "asked", "keep_ratio", "nominal", "cells", "items", "est. FLOPs", "est. time"];
/// From here on columns hold numbers.
const FIRST_NUMBER: usize = 3;

fn table(plan: &ExperimentPlan) -> Table {
    let mut table = Table::new();
    // Never arranged to the terminal's width: the same plan prints the same everywhere.
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
        .set_style(TableComponent::HeaderLines, '─')
        .set_style(TableComponent::MiddleHeaderIntersections, '─')
        .set_header(HEADER);
    for column in table.column_iter_mut() {
        let number = column.index >= FIRST_NUMBER;
        column.set_padding((0, 2)).set_cell_alignment(if number { CellAlignment::Right } else { CellAlignment::Left });
    }
    let mut last = None;
    for group in groups(plan) {
        let heading = format!("{}, {}", terminal(&group.model), group.protocol);
        if last.as_ref() != Some(&heading) {
            table.add_row([heading.as_str()]);
            last = Some(heading);
        }
        table.add_row([
            format!("  {}", group.title()),
            listed(&group.sites),
            listed(&group.asked),
            group.keep.map_or_else(|| "free".to_owned(), |keep| range(keep, 4)),
            group.nominal.map_or_else(|| "measured when run".to_owned(), |nominal| range(nominal, 3)),
            group.cells.to_string(),
            group.items.to_string(),
            flops(group.estimate.flops),
            time(group.estimate.seconds),
        ]);
    }
    table
}

/// Groups in the order of their first cell.
fn groups(plan: &ExperimentPlan) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut index_of: BTreeMap<[&str; 4], usize> = BTreeMap::new();
    for cell in &plan.cells {
        let trial = plan.trial_of(cell);
        let key = &trial.key;
        let names = [key.model.as_str(), &key.protocol, &key.strategy, &key.strategy_params];
        let index = *index_of.entry(names).or_insert_with(|| {
            groups.push(Group {
                model: key.model.clone(),
                protocol: key.protocol.clone(),
                strategy: trial.strategy.registration.name,
                options: telling_options(plan, trial),
                seeds: BTreeSet::new(),
                sites: Vec::new(),
                asked: Vec::new(),
                keep: None,
                nominal: None,
                cells: 0,
                items: 0,
                estimate: Estimate::default(),
            });
            groups.len() - 1
        });
        groups[index].add(plan, cell);
    }
    groups
}

impl Group {
    fn title(&self) -> String {
        let mut details = self.options.clone();
        let seeds: Vec<_> = self.seeds.iter().map(u64::to_string).collect();
        match seeds.as_slice() {
            [] => {}
            [seed] => details.push(format!("seed {seed}")),
            seeds => details.push(format!("seeds {}", listed(seeds))),
        }
        if details.is_empty() {
            self.strategy.to_owned()
        } else {
            format!("{} ({})", self.strategy, details.join(", "))
        }
    }

    fn add(&mut self, plan: &ExperimentPlan, cell: &Cell) {
        let trial = plan.trial_of(cell);
        if trial.strategy.registration.seeded {
            self.seeds.insert(trial.key.seed);
        }
        let sites = if trial.key.sites.is_empty() { String::new() } else { site_words(&trial.key) };
        add_new(&mut self.sites, sites);
        add_new(
            &mut self.asked,
            match trial.amount {
                Some(Amount::FlopsReduction(target)) => format!("flops {}", number(target)),
                Some(Amount::AchievedReduction(target)) => format!("achieved {}", number(target)),
                Some(Amount::KeepRatio(ratio)) => format!("keep {}", number(ratio)),
                Some(Amount::Calibrated(target)) => format!("calibrated {}", number(target)),
                Some(Amount::Free) | None => String::new(),
            },
        );
        widen(&mut self.keep, trial.key.keep_ratio);
        widen(&mut self.nominal, trial.key.flops_reduction_nominal);
        self.cells += 1;
        self.items += cell.items;
        self.estimate = self.estimate + cell.estimate;
    }
}

/// Options, and positions, that tell this variant from its defaults or from other variants of the plan.
fn telling_options(plan: &ExperimentPlan, trial: &PlannedTrial) -> Vec<String> {
    let strategy = &trial.strategy;
    let varies = |name: &str, value: &OptionValue| {
        plan.trials
            .iter()
            .filter(|trial| trial.strategy.registration.name == strategy.registration.name)
            .any(|trial| trial.strategy.options.get(name) != Some(value))
    };
    let is_default = |name: &str, value: &OptionValue| {
        strategy.registration.options.iter().any(|info| info.name == name && OptionValue::from(info.default) == *value)
    };
    let options = strategy.options.iter();
    // A calibrated threshold differs from task to task; the lines below the table give it.
    let is_found = |name: &str| trial.calibrate.as_ref().is_some_and(|request| request.option == name);
    let mut telling: Vec<String> = options
        .filter(|(name, value)| !is_found(name) && (varies(name, value) || !is_default(name, value)))
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let others = || plan.trials.iter().filter_map(|other| other.positions);
    if let Some(positions) = trial.positions
        && (positions != Positions::default() || others().any(|other| other != positions))
    {
        telling.push(format!("positions {}", positions.name()));
    }
    if trial.signal_from != SignalFrom::default() {
        telling.push(format!("signal_from {}", trial.signal_from.name()));
    }
    telling
}

/// Takes a value into a range.
fn widen(range: &mut Option<(f64, f64)>, value: Option<f64>) {
    if let Some(value) = value {
        let (low, high) = range.get_or_insert((value, value));
        (*low, *high) = (low.min(value), high.max(value));
    }
}

fn add_new(list: &mut Vec<String>, word: String) {
    if !word.is_empty() && !list.contains(&word) {
        list.push(word);
    }
}

/// The schedule as the file words it. Which layers are of a kind is seen in no file, so they are listed.
fn site_words(key: &TrialKey) -> String {
    let words = short_sites(&key.schedule);
    if !words.starts_with("after ") {
        return words;
    }
    let sites: Vec<_> = key.sites.iter().map(usize::to_string).collect();
    let sites = match sites.as_slice() {
        [first, second, .., last] if sites.len() > 8 => format!("{first},{second},..,{last}: {}", sites.len()),
        _ => sites.join(","),
    };
    format!("{words} ({sites})")
}

fn short_sites(schedule: &str) -> String {
    schedule.strip_prefix("sites ").unwrap_or(schedule).to_owned()
}

/// Up to four values; of more the ends and the count. A word that all values begin with is said once.
fn listed(values: &[String]) -> String {
    let word = |value: &String| value.split_once(' ').map(|(word, _)| word.to_owned());
    let common =
        values.first().and_then(word).filter(|first| values.iter().all(|value| word(value).as_ref() == Some(first)));
    let bare: Vec<&str> = match &common {
        Some(common) => values.iter().map(|value| value[common.len()..].trim_start()).collect(),
        None => values.iter().map(String::as_str).collect(),
    };
    let joined = match bare.as_slice() {
        [first, .., last] if bare.len() > 4 => format!("{first} .. {last} ({})", bare.len()),
        _ => bare.join(if bare.iter().any(|value| value.contains(',')) { "; " } else { ", " }),
    };
    common.map_or(joined.clone(), |common| format!("{common} {joined}"))
}

fn range((low, high): (f64, f64), digits: usize) -> String {
    // A small number is not zero.
    let shown = |value: f64| {
        let text = format!("{value:.digits$}");
        if value > 0.0 && text.parse::<f64>().is_ok_and(|rounded| rounded == 0.0) { number(value) } else { text }
    };
    let (low, high) = (shown(low), shown(high));
    if low == high { low } else { format!("{low}..{high}") }
}

fn write_excluded(plan: &ExperimentPlan, out: &mut dyn Write) -> io::Result<()> {
    if plan.excluded.is_empty() {
        return Ok(());
    }
    let mut by_reason: BTreeMap<_, usize> = BTreeMap::new();
    for excluded in &plan.excluded {
        *by_reason.entry(&excluded.reason).or_default() += 1;
    }
    writeln!(out, "\n{} will not run", counted(plan.excluded.len(), "cell"))?;
    for (reason, count) in by_reason {
        writeln!(out, "{count:>6}  {}", terminal(&reason.to_string()))?;
    }
    Ok(())
}

fn flops(value: f64) -> String {
    let units = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")];
    match units.iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", value / size),
        None => format!("{value:.0}"),
    }
}

fn size(bytes: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB")];
    match units.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", bytes / size),
        None => format!("{:.0} kB", (bytes / 1e3).max(1.0)),
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.95 => format!("{s:.2} s"),
        s if s < 59.5 => format!("{s:.0} s"),
        s if s < 3570.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
