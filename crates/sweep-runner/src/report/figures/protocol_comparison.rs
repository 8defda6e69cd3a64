//! The same rules under several protocols: how much of a loss is the rule, how much the scoring.

use super::differences::{family_gaps, spread_out};
use super::{
    FULL_WIDTH, Failed, Figure, csv_line, estimate_fields, figure, interval_fields, legend, number, seeds_note,
};
use crate::analyse::{Difference, difference_of_replicates};
use crate::report::axes::{LABEL_TEXT, Panel, TICK_TEXT, TITLE_TEXT, padded, ticks};
use crate::report::canvas::{Align, Canvas, DrawError, Ink, Stroke, Text, draw as page, text_width};
use crate::report::style::{self, Style};
use crate::report::view::{Scene, Series, View, same_reduction};

const ROW: f64 = 11.5;
/// One figure per reduction, but not dozens of them.
const MOST_FIGURES: usize = 4;
/// Width of the column of numbers beside a panel.
const NUMBERS: f64 = 56.0;

/// All scenes of one model.
struct ModelScenes<'a> {
    model: &'a str,
    scenes: Vec<&'a Scene>,
}

/// Nominal reductions that are worth a figure: those of models with two or more protocols.
pub(super) fn reductions(view: &View) -> Vec<f64> {
    let models = models(view);
    let mut all: Vec<f64> =
        models.iter().flat_map(|model| &model.scenes).flat_map(|scene| scene.reductions()).collect();
    all.sort_by(f64::total_cmp);
    all.dedup_by(|a, b| same_reduction(*a, *b));
    spread_out(&all, MOST_FIGURES)
}

/// Draws all models at one nominal reduction.
pub(super) fn draw(view: &View, nominal: f64) -> Result<Option<Figure>, Failed> {
    let models = models(view);
    let rows = rows(&models, nominal);
    if rows.is_empty() {
        return Ok(None);
    }
    let gaps = family_gaps(&rows);
    let protocols = protocols(&models);
    let extra = models.iter().any(|model| rows.iter().any(|row| upstream_loss(model, &row.label, nominal).is_some()));
    let left = 8.0 + rows.iter().map(|s| text_width(&s.label, LABEL_TEXT, false)).fold(0.0, f64::max);
    let numbers = if extra { NUMBERS } else { 6.0 };
    let width = (FULL_WIDTH - left) / models.len() as f64 - numbers - 6.0;
    let plot = rows.len() as f64 * ROW + gaps.last().copied().unwrap_or(0.0) + 4.0;
    let top = if extra { 28.0 } else { 18.0 };
    let height = top + plot + 42.0;
    let svg = page(FULL_WIDTH, height, |canvas| {
        for (column, model) in models.iter().enumerate() {
            let corner = left + column as f64 * (width + numbers + 6.0);
            let range = range(model, nominal);
            let panel = Panel::new((corner, top), width, plot, range, (1.0, 0.0));
            panel.axes(canvas, &ticks(range, 4, 100.0, ""), &[], (true, false))?;
            canvas.text((corner, 8.0), model.model, Text::new(TITLE_TEXT).bold())?;
            if extra {
                let head = Text::new(6.4).align(Align::Middle).ink(Ink::GREY);
                let middle = panel.right() + 2.0 + NUMBERS / 2.0;
                canvas.text((middle, 13.0), "loss only", head)?;
                canvas.text((middle, 21.5), "under upstream", head)?;
            }
            baselines(canvas, &panel, model, &protocols)?;
            for (row, series) in rows.iter().enumerate() {
                let y = top + 2.0 + (row as f64 + 0.5) * ROW + gaps[row];
                if column == 0 {
                    canvas.text((left - 4.0, y), &series.label, Text::new(LABEL_TEXT).align(Align::End))?;
                }
                dumbbell(canvas, &panel, model, &series.label, nominal, y)?;
                if let Some(loss) = upstream_loss(model, &series.label, nominal) {
                    let sure = !loss.interval.contains(0.0);
                    let text = format!("{} ± {:.1}", signed(loss.value * 100.0), loss.interval.half_width() * 100.0);
                    let style = Text::new(TICK_TEXT).align(Align::Middle);
                    let style = if sure { style } else { style.ink(Ink::GREY) };
                    canvas.text((panel.right() + 2.0 + NUMBERS / 2.0, y), &text, style)?;
                }
            }
        }
        let label = Text::new(LABEL_TEXT).align(Align::Middle);
        let middle = left + (FULL_WIDTH - left) / 2.0;
        canvas.text((middle, top + plot + 18.0), "Accuracy, mean over tasks (%)", label)?;
        let entries: Vec<(&str, Style)> =
            protocols.iter().enumerate().map(|(i, name)| (name.as_str(), marked(name, i))).collect();
        legend::draw(canvas, (left, height - 14.0), FULL_WIDTH - left, &entries)
    });
    let percent = (nominal * 1_000.0).round() / 10.0;
    let arms = rows.iter().flat_map(|series| series.points.iter().map(|point| point.arm));
    let caption = format!(
        "Mean accuracy of the same rules under different protocols at a nominal FLOPs reduction of {percent} % (n per \
         model and protocol: {}). Bars are 95 % bootstrap intervals over items, stratified by task; dashed lines are \
         the unreduced baseline under each protocol. {}{}",
        models.iter().filter_map(|m| m.scenes.first()).map(|s| s.items().to_string()).collect::<Vec<_>>().join(", "),
        if extra {
            "\"Loss only under upstream\" is the loss to the baseline under `upstream` minus that under `context`, in \
             percentage points with the half-width of its 95 % paired interval (grey where it holds zero). "
        } else {
            ""
        },
        seeds_note(view, arms),
    );
    let name = format!("protocol_comparison_{}", percent.to_string().replace('.', "p"));
    figure(name, svg, csv(&models, nominal), caption)
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
    let mut names: Vec<String> = Vec::new();
    for scene in models.iter().flat_map(|model| &model.scenes) {
        if !names.contains(&scene.protocol) {
            names.push(scene.protocol.clone());
        }
    }
    names
}

/// Rules with a mean under at least one protocol, in the order of the first scene that has them.
fn rows<'a>(models: &[ModelScenes<'a>], nominal: f64) -> Vec<&'a Series> {
    let mut rows: Vec<&Series> = Vec::new();
    for series in models.iter().flat_map(|model| &model.scenes).flat_map(|scene| &scene.series) {
        let shown = series.at(nominal).is_some_and(|point| point.mean.is_some());
        if shown && rows.iter().all(|known| known.label != series.label) {
            rows.push(series);
        }
    }
    rows.sort_by_key(|series| series.family);
    rows
}

fn find<'a>(scene: &'a Scene, label: &str, nominal: f64) -> Option<&'a crate::analyse::TaskMean> {
    scene.series.iter().find(|series| series.label == label)?.at(nominal)?.mean.as_ref()
}

fn range(model: &ModelScenes, nominal: f64) -> (f64, f64) {
    let shown = model.scenes.iter().flat_map(|scene| {
        scene.series.iter().filter_map(|series| series.at(nominal)?.mean.as_ref()).chain(scene.baseline_mean())
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

fn dumbbell(
    canvas: &Canvas,
    panel: &Panel,
    model: &ModelScenes,
    label: &str,
    nominal: f64,
    y: f64,
) -> Result<(), DrawError> {
    let means: Vec<_> = model
        .scenes
        .iter()
        .enumerate()
        .filter_map(|(index, scene)| Some((index, *scene, find(scene, label, nominal)?)))
        .collect();
    let count = model.scenes.len() as f64;
    let height = |index: usize| y + (index as f64 - (count - 1.0) / 2.0) * (5.0 / count);
    let path: Vec<_> = means.iter().map(|(i, _, mean)| (panel.x.at(mean.estimate.value), height(*i))).collect();
    canvas.line(&path, Stroke::solid(Ink(190, 190, 190, 1.0), 1.2))?;
    for (index, scene, mean) in means {
        let look = style::protocol(&scene.protocol, index);
        let (interval, y) = (mean.estimate.interval, height(index));
        let ends = [(panel.x.at(interval.low), y), (panel.x.at(interval.high), y)];
        canvas.line(&ends, Stroke::solid(look.ink.alpha(0.65), 0.9))?;
        canvas.marker((panel.x.at(mean.estimate.value), y), look.marker, 2.0, look.ink)?;
    }
    Ok(())
}

/// Loss to the baseline under `upstream` minus that under `context`, paired over items.
fn upstream_loss(model: &ModelScenes, label: &str, nominal: f64) -> Option<Difference> {
    let of = |protocol: &str| {
        let scene = model.scenes.iter().find(|scene| scene.protocol == protocol)?;
        Some((find(scene, label, nominal)?, scene.baseline_mean()?, scene.accuracy_tasks()))
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
    Some(difference_of_replicates(value, &under_upstream, &under_context))
}

fn signed(value: f64) -> String {
    if value < 0.0 { format!("\u{2212}{:.1}", -value) } else { format!("{value:.1}") }
}

fn csv(models: &[ModelScenes], nominal: f64) -> String {
    let mut csv = "model,series,protocol,flops_reduction_nominal,n,value,ci_low,ci_high,diff,diff_ci_low,diff_ci_high,loss_only_under_upstream,loss_ci_low,loss_ci_high\n".to_owned();
    for model in models {
        for scene in &model.scenes {
            for series in &scene.series {
                let Some((point, mean)) = series.at(nominal).and_then(|p| Some((p, p.mean.as_ref()?))) else {
                    continue;
                };
                let mut fields = vec![model.model.to_owned(), series.label.clone(), scene.protocol.clone()];
                fields.push(number(nominal));
                fields.extend(estimate_fields(&mean.estimate));
                let loss =
                    if scene.protocol == "upstream" { upstream_loss(model, &series.label, nominal) } else { None };
                for difference in [point.difference, loss] {
                    fields.push(difference.map_or(String::new(), |d| number(d.value)));
                    fields.extend(interval_fields(difference.map(|d| d.interval)));
                }
                csv += &csv_line(&fields);
            }
        }
    }
    csv
}
