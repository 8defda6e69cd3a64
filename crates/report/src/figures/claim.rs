//! Forest plot of a claim: the effect of every comparison with its corrected interval, beside its margin.

use analysis::{ClaimResult, ComparisonResult, Interval, MARK, Study, Terms, Verdict, model_name};
use records::claim::PlannedComparison;
use records::claim::Quantity;

use super::layout::{Columns, Rows, page, ticks_wanted};
use super::{Failed, Figure, Query, csv_line, figure, interval_fields, number};
use crate::axes::{Panel, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text};
use crate::figures::legend;
use crate::paper::{LABEL_TEXT, Sheet, TICK_TEXT, TITLE_TEXT};
use crate::style;

const ROW: f64 = 10.5;
/// A panel that is narrower has no room for its label.
const LEAST: f64 = 76.0;

/// Name of the figure of costs.
const COSTS: &str = "claim_costs";

/// What stands in one row of one panel.
type Entry<'a> = (&'a PlannedComparison, &'a ComparisonResult);

/// Scores.
pub(super) fn points(study: &Study, result: &ClaimResult, sheet: Sheet) -> Result<Option<Figure>, Failed> {
    draw(study, result, "claim", sheet)
}

/// FLOPs and speed.
pub(super) fn costs(study: &Study, result: &ClaimResult, sheet: Sheet) -> Result<Option<Figure>, Failed> {
    draw(study, result, COSTS, sheet)
}

fn draw(study: &Study, result: &ClaimResult, name: &str, sheet: Sheet) -> Result<Option<Figure>, Failed> {
    let costs = name == COSTS;
    let all = result.claim.comparisons.iter().zip(&result.rows);
    let entries: Vec<Entry> = all.filter(|(planned, _)| planned.quantity.is_cost() == costs).collect();
    if entries.iter().all(|(_, row)| !row.decision.effect.is_finite()) {
        return Ok(None);
    }
    let panels = distinct(entries.iter().map(panel_of));
    let labels = labels(&entries, sheet);
    let rows = distinct(labels.iter().cloned());
    let range = padded(entries.iter().flat_map(shown), 0.05);
    let names = Rows::new(sheet, &rows.iter().map(String::as_str).collect::<Vec<_>>(), ROW, &[]);
    let columns = Columns::fit(sheet, panels.len(), LEAST, names.left, (0.0, 9.0));
    let (top, below) = (14.0, 26.0);
    let step = top + names.height + below;
    let of_panels = step * panels.len().div_ceil(columns.count) as f64;
    let verdicts = [Verdict::Supported, Verdict::Refuted, Verdict::Undecided];
    let looks = verdicts.map(|verdict| (verdict.name(), style::verdict(verdict)));
    let words = looks.map(|(word, _)| word);
    let height = of_panels + legend::height(sheet, &words, sheet.width - 8.0) + 4.0;
    let axis = if costs {
        ["Higher minus lower (% of lower)", "Difference (% of lower)", "Difference (%)"]
    } else {
        ["Higher minus lower (percentage points)", "Higher minus lower (points)", "Difference (points)"]
    };
    let svg = page(sheet, height, &notes(&entries, costs), |canvas| {
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
                let own = entries.iter().zip(&labels).filter(|(entry, own)| *own == label && panel_of(entry) == *title);
                own.map(|(entry, _)| entry).try_for_each(|entry| whisker(canvas, &panel, place, entry))?;
            }
            panel.label_x(canvas, &axis)?;
        }
        legend::draw(canvas, (4.0, of_panels + 2.0), sheet.width - 8.0, &looks)
    });
    let interval = if costs {
        "median and range over tasks (no interval: nothing was sampled)".to_owned()
    } else {
        format!("effect, interval (bootstrap over items, max-t: all {} hold together with 95 %)", sampled(result))
    };
    let caption = format!(
        "Every comparison of the claim: {interval}, and the margin beyond which it counts. \
         Colours are verdicts by Holm's procedure. {MARK} marks sides whose achieved reductions are more than half a point apart. The claim \
         is {}.",
        result.verdict.name()
    );
    let sides = entries.iter().flat_map(|(planned, _)| [&planned.lower, &planned.higher]);
    let trials = sides.flat_map(|side| side.trials.iter().cloned());
    let quantities = distinct(entries.iter().map(|(planned, _)| planned.what().to_owned()));
    let probes = entries.iter().flat_map(|(planned, _)| probes(study, planned));
    let query = Query::of_claim(&serde_json::json!({ "quantity": quantities }), trials, probes);
    figure(name.to_owned(), svg, csv(&entries), caption, &query)
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
    let protocols = distinct(entries.iter().filter_map(|(planned, _)| planned.protocol.clone()));
    let protocols = if protocols.is_empty() { String::new() } else { format!("Protocol {}, ", protocols.join(", ")) };
    let mut notes = vec![format!("{protocols}{n} {what}. Dashes: margins.")];
    let unequal = entries.iter().any(|(_, row)| row.terms == Terms::Unequal);
    notes.extend(unequal.then(|| format!("{MARK} the two sides are at unequal achieved reduction")));
    notes
}

fn whisker(canvas: &Canvas, panel: &Panel, (y, height): (f64, f64), (planned, row): &Entry) -> Result<(), DrawError> {
    let margin = panel.x.at(planned.margin);
    let dashes = Stroke { ink: Ink::BLACK, width: 0.8, dash: &[1.6, 1.2] };
    canvas.line(&[(margin, y - height / 2.0), (margin, y + height / 2.0)], dashes)?;
    let decision = &row.decision;
    if row.missing.is_none() && !has_place(decision.effect) {
        return panel.beyond_x(canvas, y, decision.effect, Ink::BLACK);
    }
    if !decision.effect.is_finite() {
        return canvas.text(
            (panel.x.at(0.0) - 3.0, y),
            "not run",
            Text::new(TICK_TEXT).ink(Ink::GREY).align(Align::End),
        );
    }
    let look = style::verdict(decision.verdict);
    // An interval without end reaches the border, with an arrow.
    let Interval { low, high } = decision.interval;
    let ends = (panel.x.at(low.max(panel.x.low)), panel.x.at(high.min(panel.x.high)));
    if planned.quantity.is_cost() {
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
    canvas.marker((panel.x.at(decision.effect), y), look.marker, 2.4, look.ink)?;
    if row.terms != Terms::Unequal {
        return Ok(());
    }
    let (x, align) = if high + 6.0 < panel.right() { (high + 2.0, Align::Start) } else { (low - 2.0, Align::End) };
    canvas.text((x, y), &MARK.to_string(), Text::new(TICK_TEXT).align(align))
}

/// Every number that must be in sight.
fn shown((planned, row): &Entry) -> Vec<f64> {
    let Interval { low, high } = row.decision.interval;
    // `padded` leaves out what is not finite.
    vec![low, high, row.decision.effect, planned.margin, 0.0]
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
    if planned.quantity == Quantity::Loss && !alone {
        label = format!("loss of {label}");
    }
    let protocol = planned.protocol.as_deref().filter(|protocol| *protocol != "context");
    let setting =
        planned.setting.split(", ").filter(|word| !word.is_empty()).map(|word| word.replace(" FLOPs reduction", ""));
    let words = [label].into_iter().chain(protocol.map(str::to_owned)).chain(setting);
    words.map(|word| word.replace("builtin:", "")).collect()
}

/// In order of appearance.
fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

fn csv(entries: &[Entry]) -> String {
    let mut csv =
        "comparison,lower,higher,model,protocol,setting,quantity,margin,effect,ci_low,ci_high,verdict,lower_flops_reduction_achieved,higher_flops_reduction_achieved,terms\n".to_owned();
    for (planned, row) in entries {
        let mut fields = vec![
            planned.name.clone().unwrap_or_default(),
            planned.lower.label.clone(),
            planned.higher.label.clone(),
            planned.model.clone().unwrap_or_default(),
            planned.protocol.clone().unwrap_or_default(),
            planned.setting.clone(),
            planned.what().to_owned(),
            number(planned.margin),
            number(row.decision.effect),
        ];
        fields.extend(interval_fields(Some(row.decision.interval)));
        fields.push(row.decision.verdict.name().to_owned());
        fields.extend(row.achieved.map(number));
        fields.push(row.terms.name().to_owned());
        csv += &csv_line(&fields);
    }
    csv
}
