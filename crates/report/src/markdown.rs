//! `report.md`: the question, the headline, the figures with captions that can stand alone, and every warning.

use std::fmt::Write as _;

use analysis::{Analysis, Difference, MARK, NOT_COMPARED, Study, TaskMean, are_equal};
use records::Family;
use records::names::RANDOM;
use records::schema::Reduction;

use super::claim;
use super::figures::{FailedFigure, Figure};
use super::guards;
use super::losses;
use super::tables::Table;
use super::view::{Scene, Series, SeriesPoint, View, asked_head, asked_text, distinct};
use crate::spread::{ENDS, PERCENT, Spread, scaled};
use crate::text::{markdown, markdown_cell, markdown_code};

/// The whole page.
pub(super) fn page(
    study: &Study,
    analysis: &Analysis,
    view: &View,
    (figures, failed): (&[Figure], &[FailedFigure]),
    tables: &[Table],
) -> String {
    let mut page = format!("# {}\n\n", markdown(&study.plan.experiment));
    if let Some(question) = &study.plan.question {
        let _ = writeln!(page, "**Question.** {}\n", markdown(question));
    }
    page += &warnings(study, analysis, view);
    page += &failed_figures(failed);
    if let Some(result) = &study.claim {
        let _ = writeln!(page, "## Verdict\n\n{}", claim::text(result));
    }
    if !study.plan.cells.is_empty() {
        page += &headline(view, &study.plan.baseline);
    }
    page += "## Figures\n\n";
    if figures.is_empty() && failed.is_empty() {
        let baseline = markdown_code(&study.plan.baseline);
        let _ = writeln!(page, "No figure could be drawn: {baseline} has not finished, or no strategy beside it.\n");
    }
    for figure in figures {
        let name = &figure.name;
        let files =
            ["svg", "pdf", "png", "csv", "json"].map(|kind| format!("[{kind}](figures/{name}.{kind})")).join(", ");
        let _ = writeln!(page, "![{name}](figures/{name}.svg)\n\n*{}* Files: {files}.\n", markdown(&figure.caption));
    }
    page += "## Tables\n\n";
    // The tables of the claim are shown with it.
    for table in tables.iter().filter(|table| !claim::is_table(&table.name)) {
        let name = &table.name;
        let files = ["md", "csv", "tex"].map(|kind| format!("[{kind}](tables/{name}.{kind})")).join(", ");
        let _ = writeln!(page, "### {name}\n\n{}\n*{}* Files: {files}.\n", table.markdown(), markdown(&table.caption));
    }
    page += &guards::section(&study.guards);
    page + READING
}

/// How the numbers are to be read.
pub(super) const READING: &str = "## How to read the numbers\n\n\
        Intervals are 95 %: Wilson's for the share of right answers and its means over seeds and tasks, otherwise percentiles of 10,000 \
        bootstrap resamples of items. Differences are paired: the same items, the same resamples, drawn within each task; one of 0.0 to \
        0.0 says that no item differed. Rules are compared where their achieved FLOPs reductions are within half a point of each other; the \
        nominal reduction is what was asked for. p-values are two-sided (exact McNemar for shares of items, otherwise bootstrap) and not corrected \
        for the number of comparisons. Intervals speak about items, not about other models, data or seeds. Every number \
        of this page is in `trials.parquet` or beside its figure.\n";

/// Figures that could not be drawn, as warnings.
pub(super) fn failed_figures(failed: &[FailedFigure]) -> String {
    let mut text = String::new();
    for FailedFigure { name, reason } in failed {
        let (name, reason) = (markdown_code(name), markdown(reason));
        let _ = writeln!(
            text,
            "> **Warning.** The figure {name} could not be drawn: {reason}. The numbers behind it are in `trials.parquet`.\n"
        );
    }
    text
}

/// Everything that a reader must know before the numbers.
pub(super) fn warnings(study: &Study, analysis: &Analysis, view: &View) -> String {
    let mut text = random_weights(study);
    for split in &view.splits {
        let _ = writeln!(text, "> **SPLIT.** Only the items of the split `{split}` were scored.\n");
    }
    if let Some(limit) = view.limit {
        let _ = writeln!(text, "> **LIMITED.** At most the first {limit} items of each task were scored.\n");
    }
    if analysis.failed > 0 {
        let _ = writeln!(text, "> **Warning.** {} of {} recorded cells failed:\n>", analysis.failed, study.cells.len());
        let failed: Vec<_> = study.cells.iter().filter(|cell| !cell.is_done()).collect();
        // All of them are rows of `trials.parquet`; a page needs the first few.
        for cell in failed.iter().take(10) {
            let (trial, record) = (&cell.record.trial, &cell.record);
            let error = markdown(&record.failure().to_string());
            let reduction = trial.reduction().in_words(1);
            let (strategy, protocol) = (markdown_code(&trial.strategy), markdown_code(&trial.protocol));
            let (model, task) = (markdown(&trial.model), markdown(&record.task));
            let _ = writeln!(text, "> * {strategy} at {reduction} on {task} ({model}, {protocol}): {error}");
        }
        if failed.len() > 10 {
            let _ = writeln!(text, "> * and {} more, see `trials.parquet`", failed.len() - 10);
        }
        text.push('\n');
    }
    if analysis.unfinished > 0 {
        let total = study.plan.cells.len();
        let _ = writeln!(text, "> **Warning.** {} of {total} planned cells are not finished.\n", analysis.unfinished);
    }
    text += &not_finite(study);
    text += &probe_warnings(study);
    if view.scenes.iter().any(|scene| scene.protocol == "upstream") {
        text += "> **Note.** The protocol `upstream` reproduces a defective scoring (shifted labels, reduced padding) and \
                 is for reproduction only; no claim about a strategy should rest on it.\n\n";
    }
    for scene in view.scenes.iter().filter(|scene| scene.baseline.is_none()) {
        let _ = writeln!(
            text,
            "> **Warning.** {} has not finished for {}: no differences.\n",
            markdown_code(&study.plan.baseline),
            markdown(&scene.title())
        );
    }
    text
}

/// Metrics that are no finite numbers.
fn not_finite(study: &Study) -> String {
    let values = study.cells.iter().flat_map(|cell| cell.metrics.iter().map(move |metric| (&cell.record, metric)));
    let found: Vec<String> = values
        .filter(|(_, metric)| !metric.estimate.value.is_finite())
        .map(|(record, metric)| {
            let trial = &record.trial;
            let (strategy, task) = (markdown_code(&trial.strategy), markdown(&record.task));
            let (model, protocol) = (markdown(&trial.model), markdown_code(&trial.protocol));
            format!("{} of {strategy} on {task} ({model}, {protocol})", markdown(&metric.metric))
        })
        .collect();
    if found.is_empty() {
        return String::new();
    }
    let further =
        if found.len() > 10 { format!(" and {} more, see `trials.parquet`", found.len() - 10) } else { String::new() };
    let list = found.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
    format!(
        "> **Warning.** {} values are no finite numbers and take no part in any comparison: {list}{further}. Figures mark them at their \
         border.\n\n",
        found.len()
    )
}

/// Models that were never trained.
fn random_weights(study: &Study) -> String {
    let models = study.plan.digests.keys().filter_map(|what| what.strip_prefix("weights of "));
    let names: Vec<String> = models.filter(|model| model.starts_with(RANDOM)).map(markdown_code).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(
        "> **RANDOM WEIGHTS.** Never trained: {}. Times, memory and the way that every number took mean something; the \
         scores do not.\n\n",
        names.join(", ")
    )
}

/// Probes that failed or are missing.
fn probe_warnings(study: &Study) -> String {
    let mut text = String::new();
    for record in study.probes.sets.iter().filter(|set| !set.is_done()).map(|set| &set.record) {
        let error = markdown(&record.failure().to_string());
        let (probe, model, task) = (markdown_code(&record.probe), markdown(&record.model), markdown(&record.task));
        let _ = writeln!(text, "> **Warning.** The probe {probe} failed on {task} ({model}): {error}\n");
    }
    if study.probes.unfinished > 0 {
        let total = study.probes.sets.len() + study.probes.unfinished;
        let _ =
            writeln!(text, "> **Warning.** {} of {total} planned probes are not finished.\n", study.probes.unfinished);
    }
    text
}

/// Per model, protocol and reduction that was asked for: the best strategy against baseline and `random`, of those at the same achieved reduction.
pub(super) fn headline(view: &View, baseline: &str) -> String {
    let baseline = markdown_code(baseline);
    let reductions = distinct(view.scenes.iter().flat_map(Scene::reductions));
    let asked_head = asked_head(&reductions);
    // A control that no scene has is no column.
    let with_random = view.scenes.iter().any(|scene| scene.series.iter().any(|series| series.strategy == "random"));
    let shown = |head: &str| if with_random { head.to_owned() } else { String::new() };
    let mut text = format!(
        "## Headline\n\n| model | protocol | {asked_head} | {baseline} |{} best strategy | achieved % | its accuracy | minus \
         {baseline} (95 %) |{} {NOT_COMPARED_HEAD} |\n|---|---|---:|---:|{}---|---:|---:|---:|{}---|\n",
        shown(" `random` |"),
        shown(" minus `random` (95 %) |"),
        shown("---:|"),
        shown("---:|"),
    );
    let (mut rows, mut apart, mut ends) = (0, false, false);
    for scene in &view.scenes {
        let Some(dense) = scene.baseline_mean() else {
            continue;
        };
        for asked in scene.reductions() {
            let best = best(scene, asked).and_then(|(series, point)| Some((series, point, point.mean.as_ref()?)));
            let others = not_compared(scene, asked);
            if best.is_none() && others.is_empty() {
                continue;
            }
            let random = scene.series.iter().find(|series| series.strategy == "random");
            let random = random.and_then(|series| series.at(asked)).and_then(|point| point.mean.as_ref());
            let equal = random.zip(best).filter(|(random, (_, _, mean))| {
                are_equal(random.flops_reduction_achieved, mean.flops_reduction_achieved)
            });
            apart |= !others.is_empty();
            rows += 1;
            let none = || "–".to_owned();
            let value = |mean: &TaskMean| mean.estimate.value * 100.0;
            let spread = |mean: &TaskMean| Spread::of(value(mean), scaled(mean.estimate.interval, 100.0), PERCENT);
            let with_interval = |mean: &TaskMean| match spread(mean) {
                Some(spread) => format!("{:.1} {}", value(mean), spread.words(|number| format!("{number:.1}"))),
                None => format!("{:.1}", value(mean)),
            };
            ends |= best.and_then(|(.., mean)| spread(mean)).is_some_and(|spread| matches!(spread, Spread::Ends(..)));
            let mut cells = vec![
                markdown_cell(&scene.model),
                markdown_code(&scene.protocol),
                asked_text(asked, &reductions),
                format!("{:.1}", value(dense)),
                random.map_or_else(none, |random| format!("{:.1}", value(random))),
                best.map_or_else(none, |(series, ..)| markdown_code(&series.label)),
                best.map_or_else(none, |(.., mean)| format!("{:.1}", mean.flops_reduction_achieved * 100.0)),
                best.map_or_else(none, |(.., mean)| with_interval(mean)),
                best.and_then(|(_, point, _)| point.difference).map_or_else(none, points),
                equal.map_or_else(none, |(random, (.., mean))| points(mean.minus(random))),
                others,
            ];
            if !with_random {
                cells.remove(9);
                cells.remove(4);
            }
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    let losses = loss_headline(view, &baseline) + &without_value(view);
    if rows == 0 && !losses.is_empty() {
        return format!("## Headline\n\n{losses}");
    }
    if rows == 0 {
        return format!(
            "## Headline\n\nNothing to compare yet: neither {baseline} nor another strategy has finished.\n\n"
        );
    }
    if ends {
        let _ = writeln!(text, "\n{ENDS}.");
    }
    if apart {
        let _ = writeln!(text, "\n{MARK} {NOT_COMPARED}.");
    }
    text + "\n*Mean accuracy over tasks in percent, differences in percentage points. The best is the best of the strategies at the \
            same achieved FLOPs reduction (within half a point; in brackets that of the others, in percent). It was chosen on the items it \
            is shown on, so its value is optimistic; the controls are not candidates.*\n\n"
        + &losses
}

/// Per model, protocol, task that is better when lower, and reduction: the rule that adds least to the baseline, next to the controls
/// `random` and `drop_prefix`.
fn loss_headline(view: &View, baseline: &str) -> String {
    let reductions = distinct(view.scenes.iter().flat_map(Scene::reductions));
    // A control that no scene has is no column.
    let has = |name: &&str| view.scenes.iter().any(|scene| scene.series.iter().any(|series| series.strategy == *name));
    let controls: Vec<&str> = ["random", "drop_prefix"].into_iter().filter(has).collect();
    let mut rows = String::new();
    for scene in &view.scenes {
        for task in losses::tasks(scene) {
            for asked in scene.reductions() {
                let all = losses::of_task(view, scene, asked, task);
                let control = |name: &str| {
                    let loss = all.iter().find(|loss| loss.series.strategy == name);
                    loss.and_then(|loss| loss.result.difference).map_or_else(|| "–".to_owned(), nats)
                };
                let candidates = all.iter().filter(|loss| loss.compared && loss.series.family != Family::Control);
                let known = candidates.filter_map(|loss| Some((loss, loss.result.difference?)));
                let best = known.min_by(|(_, a), (_, b)| a.value.total_cmp(&b.value));
                let Some((best, difference)) = best else { continue };
                let controls: Vec<String> = controls.iter().map(|name| format!(" {} |", control(name))).collect();
                let controls = controls.concat();
                let _ = writeln!(
                    rows,
                    "| {} | {} | {} ({}) | {} | {} | {:.1} | {} |{controls}",
                    markdown_cell(&scene.model),
                    markdown_code(&scene.protocol),
                    markdown_cell(&task.name),
                    markdown_cell(&task.metric),
                    asked_text(asked, &reductions),
                    markdown_code(&best.series.label),
                    best.result.flops_reduction_achieved * 100.0,
                    nats(difference),
                );
            }
        }
    }
    if rows.is_empty() {
        return rows;
    }
    let heads: Vec<String> = controls.iter().map(|name| format!(" `{name}` minus {baseline} |")).collect();
    let heads = heads.concat();
    let align = "---:|".repeat(controls.len());
    format!(
        "| model | protocol | task | {} | best strategy | achieved % | minus {baseline} (95 %) |{heads}\n\
         |---|---|---|---:|---|---:|---:|{align}\n{rows}\n*Differences of metrics that are better when lower: above 0 is worse than {baseline}. The best \
         adds least of the strategies at the same achieved FLOPs reduction (within half a point). It was chosen on the items it is shown on, \
         so its value is optimistic; the controls are not candidates.*\n\n",
        asked_head(&reductions)
    )
}

/// Tasks that finished and have nothing to show.
fn without_value(view: &View) -> String {
    let mut text = String::new();
    for scene in &view.scenes {
        for missing in &scene.without_value {
            let (task, reason) = (markdown_code(&missing.task), markdown(&missing.reason()));
            let _ = writeln!(text, "**No value.** {task} ({}): {reason}.\n", markdown(&scene.title()));
        }
    }
    text
}

/// A difference in the unit of its metric.
pub(super) fn nats(difference: Difference) -> String {
    let sign = |value: f64| format!("{value:+.2}").replace('-', "\u{2212}");
    let interval = difference.interval;
    format!("{} ({} to {})", sign(difference.value), sign(interval.low), sign(interval.high))
}

/// Head of the column of what is not compared.
const NOT_COMPARED_HEAD: &str = "not compared †";

/// Strategies at another achieved reduction, with it.
fn not_compared(scene: &Scene, asked: Reduction) -> String {
    let points = scene.series.iter().filter_map(|series| Some((series, series.at(asked)?)));
    let apart = points.filter(|(_, point)| !point.compared).filter_map(|(series, point)| {
        let achieved = point.mean.as_ref()?.flops_reduction_achieved * 100.0;
        Some(format!("{} ({achieved:.1})", markdown_code(&series.label)))
    });
    apart.collect::<Vec<_>>().join(", ")
}

/// The strategy with the highest mean, of those at the same achieved reduction; ties go to the first. Controls are references, not
/// candidates.
pub(super) fn best(scene: &Scene, asked: Reduction) -> Option<(&Series, &SeriesPoint)> {
    let candidates = scene.series.iter().filter(|series| series.family != Family::Control);
    let mut best: Option<(&Series, &SeriesPoint, f64)> = None;
    for series in candidates {
        let Some(point) = series.at(asked).filter(|point| point.compared) else {
            continue;
        };
        let Some(value) = point.mean.as_ref().map(|mean| mean.estimate.value) else {
            continue;
        };
        if best.is_none_or(|(_, _, top)| value > top) {
            best = Some((series, point, value));
        }
    }
    best.map(|(series, point, _)| (series, point))
}

pub(super) fn points(difference: Difference) -> String {
    let sign = |value: f64| format!("{value:+.1}").replace('-', "\u{2212}");
    let (low, high) = (difference.interval.low * 100.0, difference.interval.high * 100.0);
    format!("{} ({} to {})", sign(difference.value * 100.0), sign(low), sign(high))
}
