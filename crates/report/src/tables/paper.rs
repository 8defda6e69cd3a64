//! `paper`: our numbers beside those that the paper printed (`assets/paper/README.md`).

use analysis::{Cell, Estimate, Study, are_equal};
use records::names::RANDOM;
use records::schema::Asked;

use super::format::{Number, Rank, Row, Table, TableCell};
use super::main_table::value;
use crate::view::{Scene, SeriesPoint, View};

const PRINTED: &str = include_str!("../../assets/paper/main-tables.csv");

/// Models by the paper's names, and their short names. On the hub, [`OWNER`] publishes them under these.
const MODELS: [(&str, &str); 4] = [
    ("Mamba-2-1.3B", "mamba2-1.3b"),
    ("Mamba-2-2.7B", "mamba2-2.7b"),
    ("Mamba-1.4B", "mamba-1.4b"),
    ("Mamba-2.8B", "mamba-2.8b"),
];

/// Owner of the paper's models on the hub.
const OWNER: &str = "state-spaces/";

/// Methods by the paper's names, and the strategies that implement them: first what its code does, then what its text says.
const METHODS: [(&str, &[&str]); 5] = [
    ("dense", &["dense"]),
    ("PuMer", &["pumer_released", "pumer"]),
    ("EViT", &["evit_released", "top_k"]),
    ("Ours", &["utrc_released", "utrc"]),
    ("LTMP", &["ltmp"]),
];

/// Columns of the paper in the order of the file, and the task and metric that they are.
const COLUMNS: [(&str, &str, &str); 7] = [
    ("lambada_ppl", "lambada_openai", "perplexity"),
    ("lambada_acc", "lambada_openai", "acc"),
    ("hellaswag", "hellaswag", "acc_norm"),
    ("piqa", "piqa", "acc"),
    ("arc_e", "arc_easy", "acc"),
    ("arc_c", "arc_challenge", "acc_norm"),
    ("winogrande", "winogrande", "acc"),
];

/// Names of the strategies that implement the paper's methods.
pub(crate) fn named() -> impl Iterator<Item = &'static str> {
    METHODS.iter().flat_map(|(_, strategies)| strategies.iter().copied())
}

/// Nominal reductions as far apart as this are the same one: ratios are often given with four digits.
const SAME_REDUCTION: f64 = 0.005;

/// One row of the paper's tables.
struct Printed {
    /// Short name of the model.
    model: &'static str,
    /// Nominal FLOPs reduction, a share.
    reduction: f64,
    method: &'static str,
    strategies: &'static [&'static str],
    /// Percentages and a perplexity, in the order of [`COLUMNS`].
    values: [f64; COLUMNS.len()],
    /// Mean over the accuracies.
    mean: f64,
}

/// The table, where some model, method and reduction of the paper were run.
pub(super) fn table(study: &Study, view: &View) -> Option<Table> {
    let mut printed = printed();
    printed.sort_by(|a, b| a.reduction.total_cmp(&b.reduction));
    let mut rows: Vec<Row> = Vec::new();
    for (index, scene) in view.scenes.iter().enumerate() {
        let Some(model) = published(&scene.model) else { continue };
        for printed in printed.iter().filter(|printed| printed.model == model) {
            // A rule between scenes and between reductions.
            let block = 100 * index + (printed.reduction * 100.0) as usize;
            let cells =
                matching(scene, printed).into_iter().flat_map(|ours| compared(study, view, scene, printed, &ours));
            rows.extend(cells.map(|cells| Row { block, cells }));
        }
    }
    if rows.is_empty() {
        return None;
    }
    let header = [
        "model",
        "nominal reduction %",
        "method",
        "strategy",
        "achieved %",
        "protocol",
        "task",
        "n",
        "ours",
        "paper",
        "difference",
    ];
    let random = view.scenes.iter().any(|scene| scene.model.starts_with(RANDOM) && published(&scene.model).is_some());
    let warning =
        if random { "RANDOM WEIGHTS: our numbers prove the path and say nothing about the paper's. " } else { "" };
    let caption = format!(
        "{warning}Ours beside the numbers that the paper printed (Zhan et al., EMNLP 2024, Tables 1, 2 and 6), by model, method and \
         nominal reduction. Accuracies in percent, ± half the width of the 95 % interval over items; the paper gives no \
         intervals, so the difference has the interval of our number. Strategies that end in `_released` do what the released \
         code does, the others what the paper's text says; the paper's numbers come from its code, which the protocol `upstream` \
         imitates. Which accuracy a column is was inferred from the dense rows. Achieved: our FLOPs reduction; the paper gives the \
         nominal one alone, so a difference counts where ours is within half a point of it."
    );
    let header = header.map(str::to_owned).to_vec();
    Some(Table {
        name: "paper".to_owned(),
        caption,
        header,
        rows,
        keys: vec![0, 1, 2, 3, 5, 6],
        has_rules: true,
        ..Table::default()
    })
}

/// Short name of the paper's model that a reference to the hub, or to random weights of its size, names.
fn published(reference: &str) -> Option<&'static str> {
    let name = reference.strip_prefix("hub:").or_else(|| reference.strip_prefix(RANDOM))?;
    let name = name.split('@').next().unwrap_or(name);
    let short = name.strip_prefix(OWNER).unwrap_or(name);
    MODELS.into_iter().find(|(_, known)| *known == short).map(|(_, known)| known)
}

/// A rule of ours that implements a method of the paper.
struct Ours<'a> {
    label: &'a str,
    arm: usize,
    /// None for the dense model.
    point: Option<&'a SeriesPoint>,
}

fn matching<'a>(scene: &'a Scene, printed: &Printed) -> Vec<Ours<'a>> {
    if printed.strategies == ["dense"] {
        return scene.baseline.iter().map(|(arm, _)| Ours { label: "dense", arm: *arm, point: None }).collect();
    }
    let mut all = Vec::new();
    for strategy in printed.strategies {
        for series in scene.series.iter().filter(|series| series.strategy == *strategy) {
            let same = |point: &&SeriesPoint| {
                point.asked.asked == Asked::Nominal && (point.asked.value - printed.reduction).abs() < SAME_REDUCTION
            };
            let points = series.points.iter().filter(same);
            all.extend(points.map(|point| Ours { label: &series.label, arm: point.arm, point: Some(point) }));
        }
    }
    all
}

/// The cells of one row per task that finished, and of one for the mean where the tasks are those of the paper.
fn compared(study: &Study, view: &View, scene: &Scene, printed: &Printed, ours: &Ours<'_>) -> Vec<Vec<TableCell>> {
    let trial = &view.arms[ours.arm].trial;
    // The baseline of an experiment may be another rule.
    if ours.point.is_none() && trial.strategy != "dense" {
        return Vec::new();
    }
    let row = |task: String, estimate: &Estimate, lower_is_better: bool, paper: f64, achieved: f64| {
        let rank = if are_equal(achieved, printed.reduction) { Rank::Plain } else { Rank::Apart };
        let (unit, decimals) = if lower_is_better { (1.0, 2) } else { (100.0, 1) };
        let own = match value(estimate, lower_is_better, Rank::Plain, achieved) {
            // It has a column of its own.
            TableCell::Number(number) => TableCell::Number(Number { achieved: None, ..number }),
            other => other,
        };
        let difference = Number { value: estimate.value * unit - paper, decimals, rank, ..Number::default() };
        vec![
            TableCell::Text(scene.model.clone()),
            Number::plain(printed.reduction * 100.0, 0),
            TableCell::Text(printed.method.to_owned()),
            TableCell::Name(ours.label.to_owned()),
            Number::plain(achieved * 100.0, 1),
            TableCell::Name(scene.protocol.clone()),
            TableCell::Text(task),
            Number::plain(estimate.n as f64, 0),
            own,
            Number::plain(paper, decimals),
            TableCell::Number(difference),
        ]
    };
    let done = |cell: &&Cell| cell.is_done() && cell.record.trial.trial_id == trial.trial_id;
    let mut rows = Vec::new();
    for ((_, task, metric), paper) in COLUMNS.iter().zip(printed.values) {
        let cell = study.cells.iter().filter(done).find(|cell| cell.record.task == *task);
        let found = cell.and_then(|cell| cell.metrics.iter().find(|estimate| estimate.metric == *metric));
        if let Some((found, cell)) = found.zip(cell) {
            let achieved = cell.record.cost.flops_reduction_achieved;
            rows.push(row(format!("{task} ({metric})"), &found.estimate, *metric == "perplexity", paper, achieved));
        }
    }
    let mean = match ours.point {
        Some(point) => point.mean.as_ref(),
        None => scene.baseline_mean(),
    };
    if let Some(mean) = mean.filter(|_| scores_as_the_paper(scene)) {
        let achieved = mean.flops_reduction_achieved;
        rows.push(row("mean".to_owned(), &mean.estimate, false, printed.mean, achieved));
    }
    rows
}

/// Whether the mean of a scene is over the six accuracies of the paper and nothing else.
fn scores_as_the_paper(scene: &Scene) -> bool {
    let accuracies = || COLUMNS.iter().filter(|(_, _, metric)| *metric != "perplexity");
    let known = |name: &str, metric: &str| accuracies().any(|(_, task, its)| *task == name && *its == metric);
    let tasks: Vec<_> = scene.tasks.iter().filter(|task| !task.lower_is_better).collect();
    tasks.len() == accuracies().count() && tasks.iter().all(|task| known(&task.name, &task.metric))
}

/// The rows of the file; [`tests::the_file_is_what_the_code_takes_it_for`] sees to it that none is left out.
fn printed() -> Vec<Printed> {
    PRINTED.lines().skip(1).filter_map(row_of).collect()
}

fn row_of(line: &str) -> Option<Printed> {
    let mut fields = line.split(',');
    let (model, reduction, method) = (fields.next()?, fields.next()?, fields.next()?);
    let (_, model) = MODELS.into_iter().find(|(name, _)| *name == model)?;
    let (method, strategies) = METHODS.into_iter().find(|(name, _)| *name == method)?;
    let mut number = || fields.next()?.parse::<f64>().ok();
    let mut values = [0.0; COLUMNS.len()];
    for value in &mut values {
        *value = number()?;
    }
    let mean = number()?;
    Some(Printed { model, reduction: reduction.parse::<f64>().ok()? / 100.0, method, strategies, values, mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_the_code_takes_it_for() {
        let mut lines = PRINTED.lines();
        let columns: Vec<&str> = COLUMNS.iter().map(|(name, _, _)| *name).collect();
        let header = format!("model,flops_reduction_pct,method,{},avg_printed", columns.join(","));
        assert_eq!(lines.next(), Some(header.as_str()));
        assert!(lines.all(|line| row_of(line).is_some()));
        let rows = printed();
        assert_eq!(rows.len(), 37);
        for row in &rows {
            let mean = row.values[1..].iter().sum::<f64>() / 6.0;
            // The paper's own slip.
            let slip = row.method == "LTMP" && row.reduction < 0.15;
            assert!((mean - row.mean).abs() < 0.11 || slip, "{} {}: {mean}", row.model, row.method);
        }
    }

    #[test]
    fn references_are_known_by_their_published_models() {
        assert_eq!(published("hub:state-spaces/mamba2-2.7b@main"), Some("mamba2-2.7b"));
        assert_eq!(published("random:mamba-1.4b@3"), Some("mamba-1.4b"));
        assert_eq!(published("hub:someone/mamba3@main"), None);
        assert_eq!(published("builtin:mamba2-world"), None);
    }
}
