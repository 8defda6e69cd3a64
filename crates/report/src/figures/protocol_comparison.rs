//! The same rules under several protocols: how much of a loss is the rule, how much the scoring.

use analysis::{Difference, MARK, TaskMean, are_equal, difference_of_replicates};
use records::each_once;
use records::schema::{Asked, Reduction};

use super::differences::{family_gaps, mark_apart, spread_out};
use super::layout::{Columns, Rows, page, ticks_wanted};
use super::{
    Failed, Figure, Query, apart_note, asked_fields, asked_header, csv_line, estimate_fields, figure, interval_fields,
    legend, number, seeds_note, yes_or_no,
};
use crate::axes::{BEYOND, BROKEN, Panel, has_place, padded, ticks};
use crate::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text};
use crate::paper::{TICK_TEXT, TITLE_TEXT};
use crate::spread::{POINTS, Spread, scaled};
use crate::style::{self, Style};
use crate::text;
use crate::view::{Scene, Series, SeriesPoint, View, asked_phrase, asked_slug, distinct, in_percent};

const ROW: f64 = 11.5;
/// One figure per reduction, but not dozens of them.
const MOST_FIGURES: usize = 4;
/// Width of the column of numbers beside a panel.
const NUMBERS: f64 = 54.0;
/// A panel that is narrower has no room for its label.
const LEAST: f64 = 74.0;

/// A loss that appears under `upstream` alone.
struct UpstreamLoss {
    difference: Difference,
    /// Whether the rule removed as much under both protocols.
    equal: bool,
}

/// All scenes of one model.
struct ModelScenes<'a> {
    model: &'a str,
    scenes: Vec<&'a Scene>,
}

/// Reductions that are worth a figure: those of models with two or more protocols.
pub(super) fn reductions(view: &View) -> Vec<Reduction> {
    let models = models(view);
    let scenes = models.iter().flat_map(|model| &model.scenes);
    spread_out(&distinct(scenes.flat_map(|scene| scene.reductions())), MOST_FIGURES)
}

/// Draws all models at one reduction.
pub(super) fn draw(view: &View, asked: Reduction, baseline: &str) -> Result<Option<Figure>, Failed> {
    let models = models(view);
    let rows = rows(&models, asked);
    if rows.is_empty() {
        return Ok(None);
    }
    let gaps = family_gaps(&rows);
    let protocols = protocols(&models);
    let losses = || models.iter().flat_map(|m| rows.iter().filter_map(move |row| upstream_loss(m, &row.label, asked)));
    let extra = losses().next().is_some();
    let points = || models.iter().flat_map(|model| points(model, asked));
    let apart = points().any(|point| !point.compared) || losses().any(|loss| !loss.equal);
    let beyond = points().filter_map(|point| point.mean.as_ref()).any(|mean| !has_place(mean.estimate.value));
    let sheet = view.sheet;
    let labels: Vec<&str> = rows.iter().map(|series| series.label.as_str()).collect();
    let names = Rows::new(sheet, &labels, ROW, &gaps);
    let numbers = if extra { NUMBERS } else { 4.0 };
    let columns = Columns::fit(sheet, models.len(), LEAST, names.left, (0.0, numbers + 8.0));
    let top = if extra { 31.0 } else { 15.0 };
    let step = top + names.height + 25.0;
    let entries: Vec<(&str, Style)> =
        protocols.iter().enumerate().map(|(i, name)| (name.as_str(), marked(name, i))).collect();
    let known: Vec<&str> = entries.iter().map(|(name, _)| *name).collect();
    let panels = step * models.len().div_ceil(columns.count) as f64;
    let height = panels + legend::height(sheet, &known, sheet.width - 8.0) + 4.0;
    let notes = notes(&models, asked, baseline, apart);
    let svg = page(sheet, height, &notes, |canvas| {
        for (index, model) in models.iter().enumerate() {
            let (line, column) = (index / columns.count, index % columns.count);
            let corner = (columns.at(column), line as f64 * step + top);
            let range = range(model, asked);
            let panel = Panel::new(corner, columns.width, names.height, range, (1.0, 0.0));
            panel.axes(canvas, &ticks(range, ticks_wanted(panel.width), 100.0, ""), &[])?;
            let title = sheet.fitted(&model.scenes[0].model_name(), TITLE_TEXT, true, panel.width + numbers);
            canvas.text((corner.0, corner.1 - top + 7.0), &title, Text::new(TITLE_TEXT).bold())?;
            if extra {
                let head = Text::new(TICK_TEXT).align(Align::Middle).ink(Ink::GREY);
                let middle = panel.right() + 4.0 + NUMBERS / 2.0;
                canvas.text((middle, corner.1 - 14.0), "loss only", head)?;
                canvas.text((middle, corner.1 - 5.5), "under upstream", head)?;
            }
            names.stripes(canvas, corner, panel.width + numbers)?;
            if range.0 > 0.0 {
                panel.broken_x(canvas)?;
            }
            if column == 0 {
                names.draw(canvas, corner)?;
            }
            baselines(canvas, &panel, model, &protocols)?;
            for (row, series) in rows.iter().enumerate() {
                let y = corner.1 + names.at(row);
                marks(canvas, &panel, model, &series.label, asked, y)?;
                if let Some(loss) = upstream_loss(model, &series.label, asked) {
                    let UpstreamLoss { difference, equal } = loss;
                    let sure = !difference.interval.contains(0.0);
                    let value = difference.value * 100.0;
                    let spread = Spread::of(value, scaled(difference.interval, 100.0), POINTS);
                    let spread = spread.map_or_else(String::new, |spread| {
                        format!(" {}", spread.words(|number| format!("{number:.1}")))
                    });
                    let mark = if equal { String::new() } else { format!(" {MARK}") };
                    let text = format!("{}{spread}{mark}", signed(value));
                    let style = Text::new(TICK_TEXT).align(Align::Middle);
                    let style = if sure { style } else { style.ink(Ink::GREY) };
                    canvas.text((panel.right() + 4.0 + NUMBERS / 2.0, y), &text, style)?;
                }
            }
            panel.label_x(canvas, &["Accuracy, mean over tasks (%)", "Accuracy (%)"])?;
        }
        legend::draw(canvas, (4.0, panels + 2.0), sheet.width - 8.0, &entries)
    });
    let phrase = asked_phrase(asked);
    let arms = points().map(|point| point.arm);
    let caption = format!(
        "Mean accuracy of the same rules under different protocols at {phrase} (n per \
         model and protocol: {}). Bars are 95 % intervals over items (Wilson's, of the mean of shares); dashed lines are `{}` under each protocol. {}{}{}{}",
        models.iter().filter_map(|m| m.scenes.first()).map(|s| s.items().to_string()).collect::<Vec<_>>().join(", "),
        text::in_caption(baseline),
        if extra {
            "\"Loss only under upstream\" is the loss under `upstream` minus that under `context`, in \
             percentage points with the half-width of its 95 % paired interval (grey where it holds zero). "
        } else {
            ""
        },
        if apart {
            "The mark † at a point: the rule's achieved reduction is more than half a point from that of the others under that protocol; at a \
             number: more than half a point from its own under the other protocol. Those are not compared. "
        } else {
            ""
        },
        if beyond { BEYOND } else { "" },
        seeds_note(view, arms),
    );
    let name = format!("protocol_comparison_{}", asked_slug(asked));
    let mut query = Query::default();
    for scene in models.iter().flat_map(|model| &model.scenes) {
        let arms = scene.series.iter().filter_map(|series| series.at(asked)).map(|point| point.arm);
        query.add(view, scene, &scene.accuracy_tasks(), arms);
    }
    figure(name, svg, csv(&models, asked), caption, &query)
}

/// What the figure says below itself.
fn notes(models: &[ModelScenes], asked: Reduction, baseline: &str, apart: bool) -> Vec<String> {
    let what = match asked.asked {
        Asked::Nothing => asked_phrase(asked),
        _ => format!("{} % {} FLOPs reduction", in_percent(asked.value), asked.word()),
    };
    let items: Vec<String> =
        models.iter().filter_map(|m| m.scenes.first()).map(|scene| scene.items().to_string()).collect();
    let mut notes = vec![format!(
        "At {what}, n = {} items per protocol. Bars: 95 % intervals; dashed lines: {}.",
        items.join(" and "),
        text::shortened(baseline, text::SHOWN)
    )];
    notes.extend(apart.then(apart_note));
    notes.extend(models.iter().any(|model| range(model, asked).0 > 0.0).then(|| BROKEN.to_owned()));
    notes
}

fn models(view: &View) -> Vec<ModelScenes<'_>> {
    let mut models: Vec<ModelScenes> = Vec::new();
    for scene in view.scenes.iter().filter(|scene| scene.baseline_mean().is_some()) {
        match models.iter_mut().find(|known| known.model == scene.model) {
            Some(known) => known.scenes.push(scene),
            None => models.push(ModelScenes { model: &scene.model, scenes: vec![scene] }),
        }
    }
    models.retain(|model| model.scenes.len() > 1);
    models
}

fn protocols(models: &[ModelScenes]) -> Vec<String> {
    each_once(models.iter().flat_map(|model| &model.scenes).map(|scene| scene.protocol.clone()))
}

/// Rules with a mean under at least one protocol, in the order of the first scene that has them.
fn rows<'a>(models: &[ModelScenes<'a>], asked: Reduction) -> Vec<&'a Series> {
    let mut rows: Vec<&Series> = Vec::new();
    for series in models.iter().flat_map(|model| &model.scenes).flat_map(|scene| &scene.series) {
        let shown = series.at(asked).is_some_and(|point| point.mean.is_some());
        if shown && rows.iter().all(|known| known.label != series.label) {
            rows.push(series);
        }
    }
    rows.sort_by_key(|series| series.family);
    rows
}

fn find<'a>(scene: &'a Scene, label: &str, asked: Reduction) -> Option<(&'a SeriesPoint, &'a TaskMean)> {
    let point = scene.series.iter().find(|series| series.label == label)?.at(asked)?;
    Some((point, point.mean.as_ref()?))
}

/// Every rule of a model at one reduction under every protocol, where it has a mean.
fn points<'a>(model: &ModelScenes<'a>, asked: Reduction) -> Vec<&'a SeriesPoint> {
    let series = model.scenes.iter().flat_map(|scene| &scene.series);
    series.filter_map(|series| series.at(asked)).filter(|point| point.mean.is_some()).collect()
}

fn range(model: &ModelScenes, asked: Reduction) -> (f64, f64) {
    let shown = model.scenes.iter().flat_map(|scene| {
        scene.series.iter().filter_map(|series| series.at(asked)?.mean.as_ref()).chain(scene.baseline_mean())
    });
    padded(shown.flat_map(|mean| [mean.estimate.interval.low, mean.estimate.interval.high]), 0.04)
}

/// The look of a protocol without its dash: whiskers are solid.
fn marked(name: &str, index: usize) -> Style {
    Style { dash: &[], ..style::protocol(name, index) }
}

fn baselines(canvas: &Canvas, panel: &Panel, model: &ModelScenes, protocols: &[String]) -> Result<(), DrawError> {
    for scene in &model.scenes {
        let index = protocols.iter().position(|name| *name == scene.protocol).unwrap_or(0);
        if let Some(mean) = scene.baseline_mean() {
            let x = panel.x.at(mean.estimate.value);
            let ink = style::protocol(&scene.protocol, index).ink;
            canvas.line(&[(x, panel.top), (x, panel.bottom())], Stroke { ink, width: 0.8, dash: &[3.0, 2.0] })?;
        }
    }
    Ok(())
}

/// The values of a rule under each protocol, a little below each other: intervals must not cover one another. Nothing connects them, which
/// would look like an interval.
fn marks(
    canvas: &Canvas,
    panel: &Panel,
    model: &ModelScenes,
    label: &str,
    asked: Reduction,
    y: f64,
) -> Result<(), DrawError> {
    let count = model.scenes.len() as f64;
    for (index, scene) in model.scenes.iter().enumerate() {
        let Some((point, mean)) = find(scene, label, asked) else { continue };
        let look = style::protocol(&scene.protocol, index);
        let y = y + (index as f64 - (count - 1.0) / 2.0) * (5.0 / count);
        if !has_place(mean.estimate.value) {
            panel.beyond_x(canvas, y, mean.estimate.value, look.ink)?;
            continue;
        }
        let interval = mean.estimate.interval;
        let (low, high) = (panel.x.at(interval.low), panel.x.at(interval.high));
        canvas.line(&[(low, y), (high, y)], Stroke::solid(look.ink, 0.9))?;
        canvas.marker((panel.x.at(mean.estimate.value), y), look.marker, 2.0, look.ink)?;
        mark_apart(canvas, panel, point, (low, high), y)?;
    }
    Ok(())
}

/// Loss to the baseline under `upstream` minus that under `context`, paired over items.
fn upstream_loss(model: &ModelScenes, label: &str, asked: Reduction) -> Option<UpstreamLoss> {
    let of = |protocol: &str| {
        let scene = model.scenes.iter().find(|scene| scene.protocol == protocol)?;
        Some((find(scene, label, asked)?.1, scene.baseline_mean()?, scene.accuracy_tasks()))
    };
    let (upstream, upstream_base, tasks) = of("upstream")?;
    let (context, context_base, context_tasks) = of("context")?;
    // Resamples belong to a task and a number of items, so the same tasks make the two protocols paired.
    if tasks != context_tasks || upstream.estimate.n != context.estimate.n {
        return None;
    }
    let loss = |base: &[f64], own: &[f64]| base.iter().zip(own).map(|(b, o)| b - o).collect::<Vec<f64>>();
    let value = (upstream_base.estimate.value - upstream.estimate.value)
        - (context_base.estimate.value - context.estimate.value);
    let under_upstream = loss(&upstream_base.replicates, &upstream.replicates);
    let under_context = loss(&context_base.replicates, &context.replicates);
    let equal = are_equal(upstream.flops_reduction_achieved, context.flops_reduction_achieved);
    Some(UpstreamLoss { difference: difference_of_replicates(value, &under_upstream, &under_context), equal })
}

fn signed(value: f64) -> String {
    if value < 0.0 { format!("\u{2212}{:.1}", -value) } else { format!("{value:.1}") }
}

fn csv(models: &[ModelScenes], asked: Reduction) -> String {
    let mut csv = "model,series,protocol,flops_reduction_nominal,n,value,ci_low,ci_high,diff,diff_ci_low,diff_ci_high,loss_only_under_upstream,loss_ci_low,loss_ci_high,flops_reduction_achieved,compared,loss_at_equal_reduction".to_owned();
    csv += asked_header(asked.is_achieved());
    csv.push('\n');
    for model in models {
        for scene in &model.scenes {
            for series in &scene.series {
                let Some((point, mean)) = series.at(asked).and_then(|p| Some((p, p.mean.as_ref()?))) else {
                    continue;
                };
                let mut fields = vec![model.model.to_owned(), series.label.clone(), scene.protocol.clone()];
                let (nominal, last) = asked_fields(asked, asked.is_achieved());
                fields.push(nominal);
                fields.extend(estimate_fields(&mean.estimate));
                let loss = if scene.protocol == "upstream" { upstream_loss(model, &series.label, asked) } else { None };
                let equal = loss.as_ref().map_or("", |loss| yes_or_no(loss.equal));
                for difference in [point.difference, loss.as_ref().map(|loss| loss.difference)] {
                    fields.push(difference.map_or(String::new(), |d| number(d.value)));
                    fields.extend(interval_fields(difference.map(|d| d.interval)));
                }
                fields.push(number(mean.flops_reduction_achieved));
                fields.extend([yes_or_no(point.compared), equal].map(str::to_owned));
                fields.extend(last);
                csv += &csv_line(&fields);
            }
        }
    }
    csv
}
