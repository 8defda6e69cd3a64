//! Forest plot of a claim: the effect of every comparison with its corrected interval, beside its margin.

use analysis::{ClaimResult, ComparisonResult, Interval, MARK, Terms, Verdict};
use records::claim::PlannedComparison;
use records::claim::Quantity;

use super::{FULL_WIDTH, Failed, Figure, NOTE, csv_line, figure, interval_fields, number, row_labels};
use crate::axes::{LABEL_TEXT, Panel, TITLE_TEXT, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text, draw as page, fitted, text_width};
use crate::figures::legend;
use crate::style;

const ROW: f64 = 10.5;
const GAP: f64 = 9.0;
/// Least room of a number at the axis.
const TICK: f64 = 28.0;
/// Labels that are wider lose the words that all of them share.
const WIDE: f64 = 0.45 * FULL_WIDTH;

/// What stands in one row of one panel.
type Entry<'a> = (&'a PlannedComparison, &'a ComparisonResult);

/// Scores.
pub(super) fn points(result: &ClaimResult) -> Result<Option<Figure>, Failed> {
    draw(result, "claim", false, "percentage points")
}

/// FLOPs and speed.
pub(super) fn costs(result: &ClaimResult) -> Result<Option<Figure>, Failed> {
    draw(result, "claim_costs", true, "% of lower")
}

fn draw(result: &ClaimResult, name: &str, costs: bool, unit: &str) -> Result<Option<Figure>, Failed> {
    let all = result.claim.comparisons.iter().zip(&result.rows);
    let entries: Vec<Entry> = all.filter(|(planned, _)| planned.quantity.is_cost() == costs).collect();
    if entries.iter().all(|(_, row)| !row.decision.effect.is_finite()) {
        return Ok(None);
    }
    let panels = distinct(entries.iter().map(panel_of));
    let labels = labels(&entries);
    let rows = distinct(labels.iter().cloned());
    let range = padded(entries.iter().flat_map(shown), 0.05);
    let (shown_rows, left) = row_labels(rows.iter().map(String::as_str));
    let unequal = entries.iter().any(|(_, row)| row.terms == Terms::Unequal);
    let note = if unequal { NOTE } else { 0.0 };
    let width = (FULL_WIDTH - left - 8.0 - GAP * (panels.len() as f64 - 1.0)) / panels.len() as f64;
    let plot = rows.len() as f64 * ROW + 4.0;
    let (top, height) = (18.0, plot + 18.0 + 40.0 + note);
    let svg = page(FULL_WIDTH, height, |canvas| {
        for (column, title) in panels.iter().enumerate() {
            let panel = Panel::new((left + column as f64 * (width + GAP), top), width, plot, range, (1.0, 0.0));
            let wanted = (width / TICK).clamp(2.0, 5.0) as usize;
            panel.axes(canvas, &ticks(range, wanted, 1.0, ""), &[], (true, false))?;
            let title_shown = fitted(title, TITLE_TEXT, true, width + GAP);
            canvas.text(
                (panel.left + width / 2.0, 9.0),
                &title_shown,
                Text::new(TITLE_TEXT).bold().align(Align::Middle),
            )?;
            let zero = panel.x.at(0.0);
            canvas.line(&[(zero, top), (zero, panel.bottom())], Stroke::solid(Ink::GREY, 0.6))?;
            for (row, label) in rows.iter().enumerate() {
                let y = top + 2.0 + (row as f64 + 0.5) * ROW;
                if column == 0 {
                    canvas.text((left - 4.0, y), &shown_rows[row], Text::new(LABEL_TEXT).align(Align::End))?;
                }
                let own = entries.iter().zip(&labels).filter(|(entry, own)| *own == label && panel_of(entry) == *title);
                own.map(|(entry, _)| entry).try_for_each(|entry| whisker(canvas, &panel, y, entry))?;
            }
        }
        let middle = FULL_WIDTH / 2.0;
        let text = format!("Higher minus lower ({unit}); dashes: margins");
        canvas.text((middle, height - 20.0 - note), &text, Text::new(LABEL_TEXT).align(Align::Middle))?;
        if unequal {
            let text = format!("{MARK} the two sides are at unequal achieved reduction");
            canvas.text((middle, height - 20.0), &text, Text::new(6.4).ink(Ink::GREY).align(Align::Middle))?;
        }
        let verdicts = [Verdict::Supported, Verdict::Refuted, Verdict::Undecided];
        let entries = verdicts.map(|verdict| (verdict.name(), style::verdict(verdict)));
        legend::draw(canvas, (8.0, height - 13.0), FULL_WIDTH - 16.0, &entries)
    });
    let caption = format!(
        "Every comparison of the claim: effect, interval (max-t: all {} hold together with 95 %), and the margin beyond which it counts. \
         Colours are verdicts by Holm's procedure. {MARK} marks sides whose achieved reductions are more than half a point apart. The claim \
         is {}.",
        result.rows.len(),
        result.verdict.name()
    );
    figure(name.to_owned(), svg, csv(&entries), caption)
}

fn whisker(canvas: &Canvas, panel: &Panel, y: f64, (planned, row): &Entry) -> Result<(), DrawError> {
    let margin = panel.x.at(planned.margin);
    let dashes = Stroke { ink: Ink::BLACK, width: 0.8, dash: &[1.6, 1.2] };
    canvas.line(&[(margin, y - ROW / 2.0), (margin, y + ROW / 2.0)], dashes)?;
    let decision = &row.decision;
    if row.missing.is_none() && !has_place(decision.effect) {
        return panel.beyond_x(canvas, y, decision.effect, Ink::BLACK);
    }
    if !decision.effect.is_finite() {
        return canvas.text((panel.x.at(0.0) - 3.0, y), "not run", Text::new(6.5).ink(Ink::GREY).align(Align::End));
    }
    let look = style::verdict(decision.verdict);
    // An interval without end reaches the border.
    let (low, high) = (decision.interval.low.max(panel.x.low), decision.interval.high.min(panel.x.high));
    let (low, high) = (panel.x.at(low), panel.x.at(high));
    canvas.line(&[(low, y), (high, y)], Stroke::solid(look.ink, 1.1))?;
    canvas.marker((panel.x.at(decision.effect), y), look.marker, 2.4, look.ink)?;
    if row.terms != Terms::Unequal {
        return Ok(());
    }
    let (x, align) = if high + 6.0 < panel.right() { (high + 2.0, Align::Start) } else { (low - 2.0, Align::End) };
    canvas.text((x, y), &MARK.to_string(), Text::new(7.0).align(align))
}

/// Every number that must be in sight.
fn shown((planned, row): &Entry) -> Vec<f64> {
    let Interval { low, high } = row.decision.interval;
    // `padded` leaves out what is not finite.
    vec![low, high, row.decision.effect, planned.margin, 0.0]
}

fn panel_of((planned, _): &Entry) -> String {
    planned.model.as_deref().map_or("between models", |model| model.trim_start_matches("builtin:")).to_owned()
}

/// One label per entry.
fn labels(entries: &[Entry]) -> Vec<String> {
    let words: Vec<Vec<String>> = entries.iter().map(|entry| words_of(entry, entries)).collect();
    let whole: Vec<String> = words.iter().map(|words| words.join(", ")).collect();
    if widest(&whole) <= WIDE {
        return whole;
    }
    let shared = |word: &String| words.iter().all(|other| other.contains(word));
    let own = |words: &Vec<String>| words.iter().filter(|word| !shared(word)).cloned().collect::<Vec<_>>().join(", ");
    let short: Vec<String> = words.iter().map(own).collect();
    if short.iter().any(String::is_empty) { whole } else { short }
}

fn widest(labels: &[String]) -> f64 {
    labels.iter().map(|label| text_width(label, LABEL_TEXT, false)).fold(0.0, f64::max)
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
