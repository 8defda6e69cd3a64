//! Forest plots of a claim: its effects over models and on each, and every comparison, with intervals and margins.

use analysis::{ClaimResult, ComparisonResult, Interval, MARK, OnModel, Pooled, Study, Terms, Verdict, model_name};
use records::claim::PlannedComparison;
use records::each_once;

use super::layout::{Columns, Rows, page, ticks_wanted};
use super::{Failed, Figure, Query, csv_line, figure, interval_fields, number};
use crate::axes::{Panel, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text};
use crate::claim;
use crate::figures::legend;
use crate::paper::{LABEL_TEXT, Sheet, TICK_TEXT, TITLE_TEXT};
use crate::style;

const ROW: f64 = 10.5;
/// A panel that is narrower has no room for its label.
const LEAST: f64 = 76.0;

/// What stands in one row of one panel.
struct Line {
    panel: String,
    label: String,
    margin: f64,
    effect: f64,
    interval: Interval,
    verdict: Verdict,
    /// The ends are a range over tasks, not an interval.
    is_range: bool,
    /// The two sides are at unequal achieved reduction.
    is_unequal: bool,
    missing: bool,
}

type Entry<'a> = (&'a PlannedComparison, &'a ComparisonResult);

/// What a figure shows besides its lines.
struct About {
    name: String,
    unit: &'static str,
    notes: Vec<String>,
    caption: String,
}

/// Effects over models and on each, then all comparisons; a figure of each for every unit.
pub(super) fn draw_all(study: &Study, result: &ClaimResult, sheet: Sheet) -> Vec<Result<Option<Figure>, Failed>> {
    let units = each_once(result.claim.comparisons.iter().map(|planned| planned.quantity.unit().to_owned()));
    let of_unit =
        |unit: &String| [effects(study, result, unit, sheet), comparisons(study, result, unit, sheet)].into_iter();
    units.iter().flat_map(of_unit).collect()
}

/// The comparisons of a unit.
fn entries<'a>(result: &'a ClaimResult, unit: &str) -> Vec<Entry<'a>> {
    let all = result.claim.comparisons.iter().zip(&result.rows);
    all.filter(|(planned, _)| planned.quantity.unit() == unit).collect()
}

/// The end of a figure's name.
fn suffix(unit: &str) -> &'static str {
    match unit {
        "%" => "_costs",
        "nats" => "_nats",
        _ => "",
    }
}

fn effects(study: &Study, result: &ClaimResult, unit: &str, sheet: Sheet) -> Result<Option<Figure>, Failed> {
    let own: Vec<&Pooled> = result.pooled.iter().filter(|pooled| pooled.quantity.unit() == unit).collect();
    let mut lines = Vec::new();
    for pooled in &own {
        let line = |panel: String, effect, interval, verdict, is_range| Line {
            panel,
            label: claim::plain_title(pooled),
            margin: pooled.margin,
            effect,
            interval,
            verdict,
            is_range,
            is_unequal: false,
            missing: false,
        };
        lines.extend(
            pooled
                .effect
                .iter()
                .map(|whole| line("All models".to_owned(), whole.effect, whole.interval, whole.verdict, false)),
        );
        lines.extend(pooled.models.iter().map(|OnModel { model, decision, .. }| {
            line(claim::model(model), decision.effect, decision.interval, decision.verdict, pooled.quantity.is_cost())
        }));
    }
    let about = About {
        name: format!("claim_effects{}", suffix(unit)),
        unit: own.first().map_or("points", |pooled| pooled.quantity.unit()),
        notes: vec![
            "All models: 95 % over models and tasks, each entry by itself. One model: joint 95 % intervals over items. Dashes: margins."
                .to_owned(),
        ],
        caption: "Every entry of the claim: over models and tasks (crossed random effects, 95 % each), and on each model \
                  (bootstrap over items, max-t), with the margin beyond which an effect counts. Colours are verdicts."
            .to_owned(),
    };
    let entries = entries(result, unit);
    draw(study, &about, &lines, &entries, sheet)
}

fn comparisons(study: &Study, result: &ClaimResult, unit: &str, sheet: Sheet) -> Result<Option<Figure>, Failed> {
    let entries = entries(result, unit);
    let lines: Vec<Line> = entries
        .iter()
        .zip(labels(&entries, sheet))
        .map(|(entry, label)| {
            let (planned, row) = entry;
            Line {
                panel: panel_of(entry),
                label,
                margin: planned.margin,
                effect: row.decision.effect,
                interval: row.decision.interval,
                verdict: row.decision.verdict,
                is_range: planned.quantity.is_cost(),
                is_unequal: row.terms == Terms::Unequal,
                missing: row.missing.is_some(),
            }
        })
        .collect();
    let costs = unit == "%";
    let interval = if costs {
        "median and range over tasks (no interval: nothing was sampled)".to_owned()
    } else {
        format!("effect, interval (bootstrap over items, max-t: all {} hold together with 95 %)", sampled(result))
    };
    let about = About {
        name: format!("claim{}", suffix(unit)),
        unit: entries.first().map_or("points", |(planned, _)| planned.quantity.unit()),
        notes: notes(&entries, costs),
        caption: format!(
            "Every comparison of the claim: {interval}, and the margin beyond which it counts. Colours are verdicts by Holm's procedure. \
             {MARK} marks sides whose achieved reductions are more than half a point apart."
        ),
    };
    draw(study, &about, &lines, &entries, sheet)
}

fn draw(
    study: &Study,
    about: &About,
    lines: &[Line],
    entries: &[Entry],
    sheet: Sheet,
) -> Result<Option<Figure>, Failed> {
    if lines.iter().all(|line| !line.effect.is_finite()) {
        return Ok(None);
    }
    let panels = each_once(lines.iter().map(|line| line.panel.clone()));
    let rows = each_once(lines.iter().map(|line| line.label.clone()));
    let range = padded(lines.iter().flat_map(|line| shown(line, lines)), 0.05);
    let names = Rows::new(sheet, &rows.iter().map(String::as_str).collect::<Vec<_>>(), ROW, &[]);
    let columns = Columns::fit(sheet, panels.len(), LEAST, names.left, (0.0, 9.0));
    let (top, below) = (14.0, 26.0);
    let step = top + names.height + below;
    let of_panels = step * panels.len().div_ceil(columns.count) as f64;
    let seen = Verdict::ALL.into_iter().filter(|verdict| lines.iter().any(|line| line.verdict == *verdict));
    let looks: Vec<_> = seen.map(|verdict| (verdict.name(), style::verdict(verdict))).collect();
    let words: Vec<&str> = looks.iter().map(|(word, _)| *word).collect();
    let height = of_panels + legend::height(sheet, &words, sheet.width - 8.0) + 4.0;
    let axis = match about.unit {
        "%" => ["Higher minus lower (% of lower)", "Difference (% of lower)", "Difference (%)"],
        "nats" => ["Higher minus lower (nats per token)", "Higher minus lower (nats)", "Difference (nats)"],
        _ => ["Higher minus lower (percentage points)", "Higher minus lower (points)", "Difference (points)"],
    };
    let svg = page(sheet, height, &about.notes, |canvas| {
        for (index, title) in panels.iter().enumerate() {
            let (line, column) = (index / columns.count, index % columns.count);
            let corner = (columns.at(column), line as f64 * step + top);
            let panel = Panel::new(corner, columns.width, names.height, range, (1.0, 0.0));
            panel.axes(canvas, &ticks(range, ticks_wanted(panel.width), 1.0, ""), &[])?;
            let title_shown = sheet.fitted(title, TITLE_TEXT, true, panel.width + 9.0);
            let middle = panel.left + panel.width / 2.0;
            canvas.text((middle, corner.1 - 7.0), &title_shown, Text::new(TITLE_TEXT).bold().align(Align::Middle))?;
            names.stripes(canvas, corner, panel.width)?;
            let zero = panel.x.at(0.0);
            canvas.line(&[(zero, panel.top), (zero, panel.bottom())], Stroke::solid(Ink::GREY, 0.6))?;
            if column == 0 {
                names.draw(canvas, corner)?;
            }
            for (row, label) in rows.iter().enumerate() {
                let place = (corner.1 + names.at(row), names.height_of(row));
                let own = lines.iter().filter(|line| line.label == *label && line.panel == *title);
                own.into_iter().try_for_each(|line| whisker(canvas, &panel, place, line))?;
            }
            panel.label_x(canvas, &axis)?;
        }
        legend::draw(canvas, (4.0, of_panels + 2.0), sheet.width - 8.0, &looks)
    });
    let sides = entries.iter().flat_map(|(planned, _)| [&planned.lower, &planned.higher]);
    let trials = sides.flat_map(|side| side.trials.iter().cloned());
    let quantities = each_once(entries.iter().map(|(planned, _)| planned.what().to_owned()));
    let probes = entries.iter().flat_map(|(planned, _)| probes(study, planned));
    let query = Query::of_claim(&serde_json::json!({ "quantity": quantities }), trials, probes);
    figure(about.name.clone(), svg, csv(lines, about.unit), about.caption.clone(), &query)
}

/// Ids of the probes whose rows a comparison compares.
fn probes<'a>(study: &'a Study, planned: &'a PlannedComparison) -> impl Iterator<Item = String> + 'a {
    let rows = planned.rows.iter();
    rows.flat_map(move |rows| {
        let records = study.probes.sets.iter().map(|set| &set.record);
        let own = records.filter(move |record| {
            record.probe == rows.probe
                && Some(&record.model) == planned.model.as_ref()
                && planned.tasks.contains(&record.task)
        });
        own.map(|record| record.probe_id.clone())
    })
}

/// Comparisons whose intervals hold together.
fn sampled(result: &ClaimResult) -> usize {
    let comparisons = result.claim.comparisons.iter();
    comparisons.filter(|comparison| !comparison.quantity.is_cost()).count()
}

/// What the figure says below itself.
fn notes(entries: &[Entry], costs: bool) -> Vec<String> {
    let mut counts: Vec<usize> = entries.iter().map(|(_, row)| row.n).filter(|n| *n > 0).collect();
    counts.sort_unstable();
    counts.dedup();
    let n = match counts.as_slice() {
        [] => String::new(),
        [n] => format!("n = {n}"),
        [low, .., high] => format!("n = {low} to {high}"),
    };
    let what = if costs { "tasks. | |: range over them, no interval" } else { "items. Bars: joint 95 % intervals" };
    let protocols = each_once(entries.iter().filter_map(|(planned, _)| planned.protocol.clone()));
    let protocols = if protocols.is_empty() { String::new() } else { format!("Protocol {}, ", protocols.join(", ")) };
    let mut notes = vec![format!("{protocols}{n} {what}. Dashes: margins.")];
    let unequal = entries.iter().any(|(_, row)| row.terms == Terms::Unequal);
    notes.extend(unequal.then(|| format!("{MARK} the two sides are at unequal achieved reduction")));
    notes
}

fn whisker(canvas: &Canvas, panel: &Panel, (y, height): (f64, f64), line: &Line) -> Result<(), DrawError> {
    let margin = panel.x.at(line.margin);
    let dashes = Stroke { ink: Ink::BLACK, width: 0.8, dash: &[1.6, 1.2] };
    canvas.line(&[(margin, y - height / 2.0), (margin, y + height / 2.0)], dashes)?;
    if !line.missing && !has_place(line.effect) {
        return panel.beyond_x(canvas, y, line.effect, Ink::BLACK);
    }
    if !line.effect.is_finite() {
        return canvas.text(
            (panel.x.at(0.0) - 3.0, y),
            "not run",
            Text::new(TICK_TEXT).ink(Ink::GREY).align(Align::End),
        );
    }
    let look = style::verdict(line.verdict);
    // An interval without end reaches the border, with an arrow.
    let Interval { low, high } = line.interval;
    let ends = (panel.x.at(low.max(panel.x.low)), panel.x.at(high.min(panel.x.high)));
    if line.is_range {
        // A range over tasks is no interval: its ends alone are marked.
        for x in [ends.0, ends.1] {
            canvas.line(&[(x, y - 2.4), (x, y + 2.4)], Stroke::solid(look.ink, 0.8))?;
        }
    } else {
        canvas.line(&[(ends.0, y), (ends.1, y)], Stroke::solid(look.ink, 1.1))?;
        for (open, x, step) in [(low < panel.x.low, ends.0, 3.0), (high > panel.x.high, ends.1, -3.0)] {
            if open {
                canvas.line(&[(x + step, y - 2.0), (x, y), (x + step, y + 2.0)], Stroke::solid(look.ink, 0.8))?;
            }
        }
    }
    let (low, high) = ends;
    canvas.marker((panel.x.at(line.effect), y), look.marker, 2.4, look.ink)?;
    if !line.is_unequal {
        return Ok(());
    }
    let (x, align) = if high + 6.0 < panel.right() { (high + 2.0, Align::Start) } else { (low - 2.0, Align::End) };
    canvas.text((x, y), &MARK.to_string(), Text::new(TICK_TEXT).align(align))
}

/// Numbers that must be in sight. An interval that is far wider than all effects would hide them: its arrow says that it goes on.
fn shown(line: &Line, all: &[Line]) -> Vec<f64> {
    let Interval { low, high } = line.interval;
    let largest = all.iter().flat_map(|line| [line.effect.abs(), line.margin.abs()]).filter(|x| x.is_finite());
    let most = 2.5 * largest.fold(0.0, f64::max);
    // `padded` leaves out what is not finite.
    let end = |x: f64| if x.abs() > most { f64::NAN } else { x };
    vec![end(low), end(high), line.effect, line.margin, 0.0]
}

fn panel_of((planned, _): &Entry) -> String {
    planned.model.as_deref().map_or_else(|| "between models".to_owned(), model_name)
}

/// Labels that are wider than this share of the figure lose the words that all of them share.
const WIDE: f64 = 0.45;

/// One label per entry.
fn labels(entries: &[Entry], sheet: Sheet) -> Vec<String> {
    let words: Vec<Vec<String>> = entries.iter().map(|entry| words_of(entry, entries)).collect();
    let whole: Vec<String> = words.iter().map(|words| words.join(", ")).collect();
    let widest = whole.iter().map(|label| sheet.text_width(label, LABEL_TEXT, false)).fold(0.0, f64::max);
    if widest <= WIDE * sheet.width {
        return whole;
    }
    let shared = |word: &String| words.iter().all(|other| other.contains(word));
    let own = |words: &Vec<String>| words.iter().filter(|word| !shared(word)).cloned().collect::<Vec<_>>().join(", ");
    let short: Vec<String> = words.iter().map(own).collect();
    if short.iter().any(String::is_empty) { whole } else { short }
}

/// The comparison's name where it is the only one of that name in its panel and setting, otherwise the sides; then the setting.
fn words_of((planned, _): &Entry, all: &[Entry]) -> Vec<String> {
    let place = |of: &PlannedComparison| (of.name.clone(), of.model.clone(), of.protocol.clone(), of.setting.clone());
    let alone = all.iter().filter(|(other, _)| place(other) == place(planned)).count() == 1;
    let mut label = match &planned.name {
        Some(name) if alone => name.clone(),
        _ => format!("{} \u{2212} {}", planned.higher.label, planned.lower.label),
    };
    if planned.quantity.is_lost() && !alone {
        label = format!("lost by {label}");
    }
    let protocol = planned.protocol.as_deref().filter(|protocol| *protocol != "context");
    let setting =
        planned.setting.split(", ").filter(|word| !word.is_empty()).map(|word| word.replace(" FLOPs reduction", ""));
    let words = [label].into_iter().chain(protocol.map(str::to_owned)).chain(setting);
    words.map(|word| word.replace("builtin:", "")).collect()
}

/// In order of appearance.
fn csv(lines: &[Line], unit: &str) -> String {
    let mut csv = "model,comparison,unit,margin,effect,ci_low,ci_high,verdict,unequal_reduction\n".to_owned();
    for line in lines {
        let mut fields =
            vec![line.panel.clone(), line.label.clone(), unit.to_owned(), number(line.margin), number(line.effect)];
        fields.extend(interval_fields(Some(line.interval)));
        fields.push(line.verdict.name().to_owned());
        fields.push(line.is_unequal.to_string());
        csv += &csv_line(&fields);
    }
    csv
}
