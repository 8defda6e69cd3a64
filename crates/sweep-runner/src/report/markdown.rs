//! `report.md`: the question, the headline, the figures with captions that can stand alone, and every warning.

use std::fmt::Write as _;

use super::claim;
use super::figures::Figure;
use super::guards;
use super::tables::Table;
use super::view::{Scene, Series, SeriesPoint, View};
use crate::analyse::{Analysis, Difference, Study};
use crate::config::RANDOM;

/// The whole page.
pub(super) fn page(study: &Study, analysis: &Analysis, view: &View, figures: &[Figure], tables: &[Table]) -> String {
    let mut page = format!("# {}\n\n", study.plan.experiment);
    if let Some(question) = &study.plan.question {
        let _ = writeln!(page, "**Question.** {question}\n");
    }
    page += &warnings(study, analysis, view);
    if let Some(result) = &study.claim {
        let _ = writeln!(page, "## Verdict\n\n{}", claim::text(result));
    }
    if !study.plan.cells.is_empty() {
        page += &headline(view, &study.plan.baseline);
    }
    page += "## Figures\n\n";
    if figures.is_empty() {
        page += "No figure could be drawn: no baseline finished, or no strategy beside it.\n\n";
    }
    for figure in figures {
        let name = &figure.name;
        let files = ["svg", "pdf", "png", "csv"].map(|kind| format!("[{kind}](figures/{name}.{kind})")).join(", ");
        let _ = writeln!(page, "![{name}](figures/{name}.svg)\n\n*{}* Files: {files}.\n", figure.caption);
    }
    page += "## Tables\n\n";
    // The table of the claim stands under the verdict.
    for table in tables.iter().filter(|table| table.name != claim::TABLE) {
        let name = &table.name;
        let files = ["md", "csv", "tex"].map(|kind| format!("[{kind}](tables/{name}.{kind})")).join(", ");
        let _ = writeln!(page, "### {name}\n\n{}\n*{}* Files: {files}.\n", table.markdown(), table.caption);
    }
    page += &guards::section(&study.guards);
    page += "## How to read the numbers\n\n\
        Intervals are 95 %: Wilson for the share of right answers of one trial, otherwise percentiles of 10,000 bootstrap \
        resamples of items; means over tasks are resampled within each task. Differences are paired: the same items, the \
        same resamples. p-values are two-sided (exact McNemar for shares of items, otherwise bootstrap) and not corrected \
        for the number of comparisons. Intervals speak about items, not about other models, data or seeds. Every number \
        of this page is in `trials.parquet` or beside its figure.\n";
    page
}

fn warnings(study: &Study, analysis: &Analysis, view: &View) -> String {
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
            let error = record.failure().to_string().replace('\n', " ");
            let reduction = trial.flops_reduction_nominal * 100.0;
            let (strategy, model, protocol) = (&trial.strategy, &trial.model, &trial.protocol);
            let _ = writeln!(
                text,
                "> * `{strategy}` at {reduction:.1} % on {} ({model}, `{protocol}`): {error}",
                record.task
            );
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
    text += &probe_warnings(study);
    if view.scenes.iter().any(|scene| scene.protocol == "upstream") {
        text += "> **Note.** The protocol `upstream` reproduces a defective scoring (shifted labels, reduced padding) and \
                 is for reproduction only; no claim about a strategy should rest on it.\n\n";
    }
    for scene in view.scenes.iter().filter(|scene| scene.baseline.is_none()) {
        let _ = writeln!(text, "> **Warning.** No finished baseline for {}: no differences.\n", scene.title());
    }
    text
}

/// Models that were never trained.
fn random_weights(study: &Study) -> String {
    let models = study.plan.digests.keys().filter_map(|what| what.strip_prefix("weights of "));
    let names: Vec<String> =
        models.filter(|model| model.starts_with(RANDOM)).map(|model| format!("`{model}`")).collect();
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
        let error = record.failure().to_string().replace('\n', " ");
        let (probe, model, task) = (&record.probe, &record.model, &record.task);
        let _ = writeln!(text, "> **Warning.** The probe `{probe}` failed on {task} ({model}): {error}\n");
    }
    if study.probes.unfinished > 0 {
        let total = study.probes.sets.len() + study.probes.unfinished;
        let _ =
            writeln!(text, "> **Warning.** {} of {total} planned probes are not finished.\n", study.probes.unfinished);
    }
    text
}

/// Per model, protocol and reduction: the best strategy against baseline and `random`.
fn headline(view: &View, baseline: &str) -> String {
    let mut text = format!(
        "## Headline\n\n| model | protocol | reduction % | `{baseline}` | `random` | best strategy | its accuracy | minus \
         `{baseline}` (95 %) | minus `random` (95 %) |\n|---|---|---:|---:|---:|---|---:|---:|---:|\n"
    );
    let mut rows = 0;
    for scene in &view.scenes {
        let Some(dense) = scene.baseline_mean() else {
            continue;
        };
        for nominal in scene.reductions() {
            let Some((series, point)) = best(scene, nominal) else {
                continue;
            };
            let Some(mean) = &point.mean else { continue };
            let random = scene.series.iter().find(|series| series.strategy == "random");
            let random = random.and_then(|series| series.at(nominal)).and_then(|point| point.mean.as_ref());
            rows += 1;
            let _ = writeln!(
                text,
                "| {} | `{}` | {:.1} | {:.1} | {} | `{}` | {:.1} ± {:.1} | {} | {} |",
                scene.model,
                scene.protocol,
                nominal * 100.0,
                dense.estimate.value * 100.0,
                random.map_or("–".to_owned(), |random| format!("{:.1}", random.estimate.value * 100.0)),
                series.label,
                mean.estimate.value * 100.0,
                mean.estimate.interval.half_width() * 100.0,
                point.difference.map_or("–".to_owned(), points),
                random.map_or("–".to_owned(), |random| points(mean.minus(random))),
            );
        }
    }
    if rows == 0 {
        return "## Headline\n\nNothing to compare yet: neither the baseline nor another strategy has finished.\n\n"
            .to_owned();
    }
    text + "\n*Mean accuracy over tasks in percent, differences in percentage points. The best of many strategies was chosen \
            on the items it is shown on, so its value is optimistic; the controls are not candidates.*\n\n"
}

/// The strategy with the highest mean; ties go to the first. Controls are references, not candidates.
fn best(scene: &Scene, nominal: f64) -> Option<(&Series, &SeriesPoint)> {
    let candidates = scene.series.iter().filter(|series| series.family != super::style::Family::Control);
    let mut best: Option<(&Series, &SeriesPoint, f64)> = None;
    for series in candidates {
        let Some(point) = series.at(nominal) else {
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

fn points(difference: Difference) -> String {
    let sign = |value: f64| format!("{value:+.1}").replace('-', "\u{2212}");
    let (low, high) = (difference.interval.low * 100.0, difference.interval.high * 100.0);
    format!("{} ({} to {})", sign(difference.value * 100.0), sign(low), sign(high))
}
