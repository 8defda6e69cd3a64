//! `bridge_*`: the arms of a bridge from top to bottom, each with its score and with what its step changed.

use analysis::{BridgeArm, BridgePanel, BridgeResult, Difference, MARK, Terms, model_name, task_names};

use super::layout::{Columns, Rows, notes_height, page, ticks_wanted};
use super::{Failed, Figure, Query, csv_line, figure, interval_fields, number};
use crate::axes::{BEYOND, Panel, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text};
use crate::figures::legend;
use crate::paper::{LABEL_TEXT, Sheet, TICK_TEXT, TITLE_TEXT};
use crate::spread::{ANY, POINTS, Spread};
use crate::style::{self, Style};
use crate::text;

const ROW: f64 = 13.0;
/// A panel that is narrower has no room for its label.
const LEAST: f64 = 54.0;
/// Room for the number of a step.
const NUMBERS: f64 = 49.0;
/// Room above a panel.
const TOP: f64 = 33.0;
/// Room below a panel.
const BELOW: f64 = 26.0;

/// The figures of one bridge: more than one where a page is too short for all panels.
pub(super) fn draw(bridge: &BridgeResult, baseline: &str, sheet: Sheet) -> Vec<Result<Option<Figure>, Failed>> {
    let panels: Vec<&BridgePanel> = bridge.panels.iter().filter(|panel| finished(panel)).collect();
    let Some(first) = panels.first() else { return Vec::new() };
    let names = rows(sheet, first);
    let columns = Columns::fit(sheet, panels.len(), LEAST, names.left, (0.0, NUMBERS + 8.0));
    let notes = notes_height(sheet, &notes(&panels, baseline)) + 30.0;
    let lines = (((sheet.tallest - notes) / (TOP + names.height + BELOW)) as usize).max(1);
    let parts = panels.chunks(lines * columns.count).enumerate();
    parts.map(|(index, part)| draw_part(bridge, index, part, baseline, sheet)).collect()
}

fn finished(panel: &BridgePanel) -> bool {
    panel.arms.iter().any(|arm| arm.result.is_some())
}

fn rows(sheet: Sheet, panel: &BridgePanel) -> Rows {
    let factors: Vec<&str> = panel.arms.iter().map(|arm| arm.factor.as_str()).collect();
    Rows::new(sheet, &factors, ROW, &[])
}

fn draw_part(
    bridge: &BridgeResult,
    index: usize,
    panels: &[&BridgePanel],
    baseline: &str,
    sheet: Sheet,
) -> Result<Option<Figure>, Failed> {
    let names = rows(sheet, panels[0]);
    let columns = Columns::fit(sheet, panels.len(), LEAST, names.left, (0.0, NUMBERS + 8.0));
    let step = TOP + names.height + BELOW;
    let of_panels = step * panels.len().div_ceil(columns.count) as f64;
    let looks = looks(panels);
    let words: Vec<&str> = looks.iter().map(|(word, _)| word.as_str()).collect();
    let height = of_panels + legend::height(sheet, &words, sheet.width - 8.0) + 4.0;
    let svg = page(sheet, height, &notes(panels, baseline), |canvas| {
        for (index, own) in panels.iter().enumerate() {
            let (line, column) = (index / columns.count, index % columns.count);
            let corner = (columns.at(column), line as f64 * step + TOP);
            let range = range(own, panels);
            let panel = Panel::new(corner, columns.width, names.height, range, (1.0, 0.0));
            panel.axes(canvas, &ticks(range, ticks_wanted(panel.width) + 1, 1.0, ""), &[])?;
            heads(canvas, &panel, own, panels)?;
            names.stripes(canvas, corner, panel.width + NUMBERS)?;
            if column == 0 {
                names.draw(canvas, corner)?;
            }
            if let Some(value) = own.arms.iter().find_map(|arm| arm.result.as_ref()?.baseline) {
                let x = panel.x.at(value);
                let dashes = Stroke { ink: style::REFERENCE.ink, width: 0.7, dash: style::REFERENCE.dash };
                canvas.line(&[(x, panel.top), (x, panel.bottom())], dashes)?;
            }
            let mut before = None;
            for (row, arm) in own.arms.iter().enumerate() {
                let y = corner.1 + names.at(row);
                mark(canvas, &panel, (y, names.height_of(row)), before, (arm, own), &looks)?;
                before = arm.result.as_ref().map(|score| score.estimate.value);
            }
            panel.label_x(canvas, &label(own))?;
        }
        let entries: Vec<(&str, Style)> = looks.iter().map(|(word, look)| (word.as_str(), *look)).collect();
        legend::draw(canvas, (4.0, of_panels + 2.0), sheet.width - 8.0, &entries)
    });
    let part = if index == 0 { String::new() } else { format!("_{}", index + 1) };
    let name = format!("bridge_{}{part}", text::file_name(&bridge.name));
    let beyond = panels.iter().flat_map(|panel| scores(panel, |_| true)).any(|value| !has_place(value));
    let caption = format!(
        "From top to bottom every arm differs from the one above it by the one thing that its row names. Points: {}, with 95 % intervals over items. \
         Bars and numbers: the difference to the arm above, paired over the same items, ± half the width of its 95 % interval (grey where the \
         interval holds zero); not corrected for the number of steps. Effects of later steps depend on the earlier ones. The dashed line is `{}`. {}",
        values(panels),
        text::in_caption(baseline),
        if beyond { BEYOND } else { "" }
    );
    let trials = panels.iter().flat_map(|panel| &panel.arms).flat_map(|arm| arm.trials.iter().cloned());
    let query = Query::of_bridge(&bridge.name, trials);
    figure(name, svg, csv(panels), caption, &query)
}

/// Model, and what else tells a panel from the others.
fn heads(canvas: &Canvas, panel: &Panel, own: &BridgePanel, all: &[&BridgePanel]) -> Result<(), DrawError> {
    let sheet = canvas.sheet();
    let room = panel.width + NUMBERS;
    let title = sheet.fitted(&model_name(&own.model), TITLE_TEXT, true, room);
    canvas.text((panel.left, panel.top - 25.0), &title, Text::new(TITLE_TEXT).bold())?;
    let words = own.apart_from(all).join(", ");
    let words = sheet.fitted(&words, LABEL_TEXT, false, room);
    canvas.text((panel.left, panel.top - 15.5), &words, Text::new(LABEL_TEXT))?;
    let head = Text::new(TICK_TEXT).align(Align::Middle).ink(Ink::GREY);
    canvas.text((panel.right() + 3.0 + NUMBERS / 2.0, panel.top - 5.5), "step", head)
}

/// One arm: the bar from the arm above, the point with its interval, and the number of the step.
fn mark(
    canvas: &Canvas,
    panel: &Panel,
    (y, height): (f64, f64),
    before: Option<f64>,
    (arm, own): (&BridgeArm, &BridgePanel),
    looks: &[(String, Style)],
) -> Result<(), DrawError> {
    let Some(score) = &arm.result else {
        let middle = panel.left + panel.width / 2.0;
        return canvas.text((middle, y), "not run", Text::new(TICK_TEXT).ink(Ink::GREY).align(Align::Middle));
    };
    let look = look_of(&arm.protocol, looks);
    let value = score.estimate.value;
    if !has_place(value) {
        return panel.beyond_x(canvas, y, value, look.ink);
    }
    // A value beyond the axis has its bar up to the border.
    let is_beyond = !(panel.x.low..=panel.x.high).contains(&value);
    let x = panel.x.at(value.clamp(panel.x.low, panel.x.high));
    if let Some(step) = score.step {
        if let Some(from) = before.filter(|from| has_place(*from)).map(|from| panel.x.at(from)) {
            let half = height / 2.0 - 2.0;
            canvas.rect(
                (from.min(x), y - half),
                (from.max(x), y + half),
                style::change(direction(&step, own)).alpha(0.35),
            )?;
            canvas.line(&[(from, y - height / 2.0), (from, y + half)], Stroke::solid(Ink::GREY, 0.5))?;
        }
        let sure = !step.interval.contains(0.0);
        let mark = if score.terms == Terms::Unequal { format!(" {MARK}") } else { String::new() };
        let decimals = decimals(own);
        let range = if own.unit() == "points" { POINTS } else { ANY };
        let spread = Spread::of(step.value, step.interval, range);
        let spread = spread
            .map_or_else(String::new, |spread| format!(" {}", spread.words(|number| format!("{number:.decimals$}"))));
        let words = format!("{}{spread}{mark}", signed(step.value, decimals));
        let style = Text::new(TICK_TEXT).align(Align::Middle);
        let style = if sure { style } else { style.ink(Ink::GREY) };
        canvas.text((panel.right() + 3.0 + NUMBERS / 2.0, y), &words, style)?;
    }
    if is_beyond {
        return beyond(canvas, panel, (x, y), value, (decimals(own), look.ink));
    }
    let interval = score.estimate.interval;
    if interval.low.is_finite() && interval.high.is_finite() {
        let ends = [interval.low.max(panel.x.low), interval.high.min(panel.x.high)];
        canvas.line(&ends.map(|end| (panel.x.at(end), y)), Stroke::solid(look.ink, 1.0))?;
    }
    canvas.marker((x, y), look.marker, 2.3, look.ink)
}

/// A value that the axis leaves out, with an arrow at the border.
fn beyond(
    canvas: &Canvas,
    panel: &Panel,
    (x, y): (f64, f64),
    value: f64,
    (decimals, ink): (usize, Ink),
) -> Result<(), DrawError> {
    let is_high = x > panel.left + panel.width / 2.0;
    let (inward, align) = if is_high { (-1.0, Align::End) } else { (1.0, Align::Start) };
    let tip = [(x + 3.5 * inward, y - 2.2), (x, y), (x + 3.5 * inward, y + 2.2)];
    canvas.line(&tip, Stroke::solid(ink, 1.0))?;
    canvas.text((x + 6.0 * inward, y), &format!("{value:.decimals$}"), Text::new(TICK_TEXT).ink(ink).align(align))
}

/// 1 for better, -1 for worse, 0 where the interval holds zero.
fn direction(step: &Difference, panel: &BridgePanel) -> i8 {
    if step.interval.contains(0.0) {
        0
    } else if (step.value > 0.0) == panel.lower_is_better {
        -1
    } else {
        1
    }
}

/// The protocols, in order of appearance.
fn looks(panels: &[&BridgePanel]) -> Vec<(String, Style)> {
    let mut all: Vec<(String, Style)> = Vec::new();
    for arm in panels.iter().flat_map(|panel| &panel.arms).filter(|arm| arm.result.is_some()) {
        if all.iter().all(|(known, _)| *known != arm.protocol) {
            let look = Style { dash: &[], ..style::protocol(&arm.protocol, all.len()) };
            all.push((arm.protocol.clone(), look));
        }
    }
    all
}

fn look_of(protocol: &str, looks: &[(String, Style)]) -> Style {
    looks.iter().find(|(known, _)| known == protocol).map_or(style::REFERENCE, |(_, look)| *look)
}

/// Another protocol may make the range of the axis this many times as wide; what is further away has an arrow at the border, so that the
/// other steps stay in sight.
const WIDEST: f64 = 2.5;

/// One range for all panels of the same tasks, so that they can be compared.
fn range(own: &BridgePanel, all: &[&BridgePanel]) -> (f64, f64) {
    let alike = || all.iter().filter(|other| other.tasks == own.tasks).copied();
    let every = padded(alike().flat_map(|panel| scores(panel, |_| true)), 0.05);
    let first = padded(alike().flat_map(|panel| scores(panel, |protocol| protocol == panel.arms[0].protocol)), 0.05);
    if every.1 - every.0 > WIDEST * (first.1 - first.0) { first } else { every }
}

/// Whether a point of the panels is beyond its axis.
fn leaves_out(panels: &[&BridgePanel]) -> bool {
    panels.iter().any(|own| {
        let (low, high) = range(own, panels);
        own.arms.iter().filter_map(|arm| arm.result.as_ref()).any(|score| !(low..=high).contains(&score.estimate.value))
    })
}

/// Every number of the chosen protocols that must be in sight.
fn scores<'a>(panel: &'a BridgePanel, of: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = f64> + 'a {
    let arms = panel.arms.iter().filter(move |arm| of(&arm.protocol));
    arms.filter_map(|arm| arm.result.as_ref()).flat_map(|score| {
        let estimate = score.estimate;
        [estimate.value, estimate.interval.low, estimate.interval.high, score.baseline.unwrap_or(estimate.value)]
    })
}

fn label(panel: &BridgePanel) -> [&'static str; 2] {
    match (panel.unit(), panel.tasks.len()) {
        ("points", 1) => ["Accuracy (%)", "Accuracy (%)"],
        ("points", _) => ["Accuracy, mean over tasks (%)", "Accuracy (%)"],
        ("nats", _) => ["Loss (nats per token)", "Loss (nats)"],
        _ if panel.lower_is_better => ["Primary metric, lower is better", "Primary metric"],
        _ => ["Primary metric", "Primary metric"],
    }
}

/// What points are, for the caption.
fn values(panels: &[&BridgePanel]) -> &'static str {
    let units: Vec<&str> = panels.iter().map(|panel| panel.unit()).collect();
    if units.iter().all(|unit| *unit == "points") {
        "mean accuracy over tasks, in per cent"
    } else if units.iter().all(|unit| *unit == "nats") {
        "loss in nats per scored token, where lower is better"
    } else {
        "the primary metric"
    }
}

fn notes(panels: &[&BridgePanel], baseline: &str) -> Vec<String> {
    let arms = || panels.iter().flat_map(|panel| &panel.arms).filter_map(|arm| arm.result.as_ref());
    let mut counts: Vec<usize> = arms().map(|score| score.estimate.n).collect();
    counts.sort_unstable();
    counts.dedup();
    let n = counts.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let settings = panels.iter().all(|panel| panel.setting == panels[0].setting);
    let setting = if settings { format!("{}, ", panels[0].setting) } else { String::new() };
    let tasks = if panels.iter().all(|panel| panel.tasks == panels[0].tasks) {
        let tasks: Vec<&str> = panels[0].tasks.iter().map(String::as_str).collect();
        format!("{}; ", task_names(&tasks).join(", "))
    } else {
        String::new()
    };
    let mut notes = vec![format!(
        "{setting}{tasks}n = {n} items. Step: minus the row above ± half its paired 95 % interval. Dashes: {baseline}."
    )];
    notes.extend(
        leaves_out(panels).then(|| "An arrow at the border: a score beyond the axis, with its value.".to_owned()),
    );
    notes.extend(
        arms()
            .any(|score| score.terms == Terms::Unequal)
            .then(|| format!("{MARK} achieved reduction differs from that of the row above by more than half a point")),
    );
    notes
}

fn decimals(panel: &BridgePanel) -> usize {
    if panel.unit() == "points" { 1 } else { 2 }
}

fn signed(value: f64, decimals: usize) -> String {
    let words = format!("{:.decimals$}", value.abs());
    let is_zero = words.chars().all(|c| matches!(c, '0' | '.'));
    match value {
        _ if is_zero => words,
        value if value < 0.0 => format!("\u{2212}{words}"),
        _ => format!("+{words}"),
    }
}

fn csv(panels: &[&BridgePanel]) -> String {
    let mut csv = "model,setting,tasks,metric,unit,step,factor,rule,protocol,n,value,ci_low,ci_high,baseline,diff,diff_ci_low,diff_ci_high,from_first,from_first_ci_low,from_first_ci_high,flops_reduction_achieved,terms\n".to_owned();
    for panel in panels {
        for (index, arm) in panel.arms.iter().enumerate() {
            let mut fields = vec![
                panel.model.clone(),
                panel.setting.clone(),
                panel.tasks.join(" "),
                panel.metric.clone(),
                panel.unit().to_owned(),
                index.to_string(),
                arm.factor.clone(),
                arm.rule.clone(),
                arm.protocol.clone(),
            ];
            let Some(score) = &arm.result else {
                fields.resize(22, String::new());
                csv += &csv_line(&fields);
                continue;
            };
            fields.extend(super::estimate_fields(&score.estimate));
            fields.push(score.baseline.map_or(String::new(), number));
            for difference in [score.step, score.from_first] {
                fields.push(difference.map_or(String::new(), |difference| number(difference.value)));
                fields.extend(interval_fields(difference.map(|difference| difference.interval)));
            }
            fields.push(number(score.flops_reduction_achieved));
            fields.push(score.terms.name().to_owned());
            csv += &csv_line(&fields);
        }
    }
    csv
}
