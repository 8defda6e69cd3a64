//! What figures and tables show: arms sorted into scenes (one model under one protocol) and series (one rule over its
//! reductions), with one label and one look for a rule in the whole report.

use std::collections::{BTreeMap, BTreeSet};

use analysis::{Arm, Difference, Labels, NoValue, Study, TaskMean, arms, comparable, comparable_set, model_name, rule};
use records::plan::PlanIndex;
use records::schema::{Asked, Reduction, TrialKey};
use records::{Family, Split};

use super::error::ReportError;
use super::paper::Sheet;
use super::style::{self, Style};
use crate::text;

/// A whole experiment, ready to be shown.
pub(super) struct View {
    pub(super) arms: Vec<Arm>,
    pub(super) scenes: Vec<Scene>,
    /// Whether some trial saw only the first items of its tasks.
    pub(super) limit: Option<usize>,
    /// Parts of the items that trials saw, where they did not see all.
    pub(super) splits: BTreeSet<Split>,
    /// What figures are drawn on.
    pub(super) sheet: Sheet,
}

/// One model under one protocol.
pub(super) struct Scene {
    pub(super) model: String,
    pub(super) protocol: String,
    /// Tasks with results, in the order of the plan, with their primary metric.
    pub(super) tasks: Vec<SceneTask>,
    /// Tasks that finished without a value of their primary metric, in the order of the plan.
    pub(super) without_value: Vec<NoValue>,
    /// Index of the baseline's arm and its mean over the accuracy tasks.
    pub(super) baseline: Option<(usize, Option<TaskMean>)>,
    /// Rules over their reductions, by family; without the baseline and without single-site sweeps.
    pub(super) series: Vec<Series>,
    /// Rules over sites and keep ratios.
    pub(super) sweeps: Vec<Series>,
}

/// A task of a scene.
#[derive(Clone, Debug)]
pub(super) struct SceneTask {
    pub(super) name: String,
    pub(super) metric: String,
    pub(super) lower_is_better: bool,
    pub(super) n: usize,
}

/// One rule.
pub(super) struct Series {
    pub(super) label: String,
    pub(super) strategy: String,
    pub(super) family: Family,
    pub(super) style: Style,
    /// By the reduction that was asked for, ascending; nominal ones first.
    pub(super) points: Vec<SeriesPoint>,
}

/// One rule at one setting.
pub(super) struct SeriesPoint {
    pub(super) arm: usize,
    /// The reduction that was asked for.
    pub(super) asked: Reduction,
    /// Over the accuracy tasks of the scene; none where one of them failed.
    pub(super) mean: Option<TaskMean>,
    /// Of the mean, to the baseline's.
    pub(super) difference: Option<Difference>,
    /// Whether its mean may be compared with those of the other rules of which the same was asked.
    pub(super) compared: bool,
}

impl View {
    /// Whether some reduction was asked for as achieved.
    pub(super) fn asks_achieved(&self) -> bool {
        self.arms.iter().any(|arm| arm.trial.flops_reduction_asked.is_some())
    }
}

impl Scene {
    /// The tasks whose mean is meaningful: accuracies.
    pub(super) fn accuracy_tasks(&self) -> Vec<String> {
        self.tasks.iter().filter(|task| !task.lower_is_better).map(|task| task.name.clone()).collect()
    }

    /// Reductions that were asked for, each once: nominal ones first, ascending.
    pub(super) fn reductions(&self) -> Vec<Reduction> {
        distinct(self.series.iter().flat_map(|series| series.points.iter().map(|point| point.asked)))
    }

    /// The baseline's mean over the accuracy tasks.
    pub(super) fn baseline_mean(&self) -> Option<&TaskMean> {
        self.baseline.as_ref().and_then(|(_, mean)| mean.as_ref())
    }

    /// `model, protocol` for captions.
    pub(super) fn title(&self) -> String {
        format!("{}, protocol `{}`", text::in_caption(&self.model_name()), text::in_caption(&self.protocol))
    }

    /// Its model, as figures and tables name it.
    pub(super) fn model_name(&self) -> String {
        model_name(&self.model)
    }

    /// What a figure says of itself: model, protocol and items.
    pub(super) fn note(&self) -> String {
        format!("{}, protocol {}", self.model_name(), text::shortened(&self.protocol, text::SHOWN))
    }

    /// Part of a file name.
    pub(super) fn slug(&self) -> String {
        format!("{}_{}", text::file_name(&self.model), text::file_name(&self.protocol))
    }

    /// Items of all accuracy tasks together.
    pub(super) fn items(&self) -> usize {
        self.tasks.iter().filter(|task| !task.lower_is_better).map(|task| task.n).sum()
    }
}

impl Series {
    /// The rule at one reduction.
    pub(super) fn at(&self, asked: Reduction) -> Option<&SeriesPoint> {
        self.points.iter().find(|point| point.asked.is(asked))
    }
}

/// A share in percent, to a tenth.
pub(super) fn in_percent(share: f64) -> f64 {
    (share * 1_000.0).round() / 10.0
}

/// Each reduction once: nominal ones first, ascending.
pub(super) fn distinct(reductions: impl IntoIterator<Item = Reduction>) -> Vec<Reduction> {
    let mut all: Vec<Reduction> = reductions.into_iter().collect();
    all.sort_by(Reduction::total_cmp);
    all.dedup_by(|a, b| a.is(*b));
    all
}

/// Head of the column that says what was asked for.
pub(super) fn asked_head(reductions: &[Reduction]) -> &'static str {
    if reductions.iter().all(|asked| asked.asked == Asked::Nominal) {
        "nominal reduction %"
    } else {
        "reduction asked for %"
    }
}

/// A reduction in percent below [`asked_head`]: with its word where not all are nominal.
pub(super) fn asked_text(asked: Reduction, reductions: &[Reduction]) -> String {
    let percent = format!("{:.1}", asked.value * 100.0);
    match asked.asked {
        Asked::Nothing => asked.word().to_owned(),
        _ if reductions.iter().all(|asked| asked.asked == Asked::Nominal) => percent,
        _ => format!("{percent} {}", asked.word()),
    }
}

/// Part of a file name that tells reductions apart.
pub(super) fn asked_slug(asked: Reduction) -> String {
    let percent = in_percent(asked.value).to_string().replace('.', "p");
    match asked.asked {
        Asked::Nominal => percent,
        Asked::Achieved => format!("{percent}_achieved"),
        Asked::Nothing => asked.word().to_owned(),
    }
}

/// What was asked for, as captions say it after "at".
pub(super) fn asked_phrase(asked: Reduction) -> String {
    let percent = in_percent(asked.value);
    match asked.asked {
        Asked::Nominal => format!("a nominal FLOPs reduction of {percent} %"),
        Asked::Achieved => format!("an achieved FLOPs reduction of {percent} %"),
        Asked::Nothing => "free counts".to_owned(),
    }
}

/// Sorts a study into scenes and series.
///
/// # Errors
/// The plan does not say the family of a strategy.
pub(super) fn view(study: &Study, sheet: Sheet) -> Result<View, ReportError> {
    let arms = arms(study);
    let names = Names { labels: Labels::of(study) };
    let mut scenes: Vec<(TrialKey, Vec<usize>)> = Vec::new();
    for (index, arm) in arms.iter().enumerate() {
        match scenes.iter_mut().find(|(key, _)| comparable(key, &arm.trial)) {
            Some((_, members)) => members.push(index),
            None => scenes.push((arm.trial.clone(), vec![index])),
        }
    }
    let scenes = scenes.into_iter().map(|(key, members)| scene(study, &arms, &names, &key, &members));
    let scenes = scenes.collect::<Result<_, _>>()?;
    let limit = study.cells.iter().filter_map(|cell| cell.record.trial.limit).max();
    let splits = study.cells.iter().map(|cell| cell.record.trial.split).filter(|split| !split.is_all()).collect();
    Ok(View { arms, scenes, limit, splits, sheet })
}

fn scene(study: &Study, arms: &[Arm], names: &Names, key: &TrialKey, members: &[usize]) -> Result<Scene, ReportError> {
    let mut tasks: Vec<SceneTask> = Vec::new();
    for result in members.iter().flat_map(|&index| &arms[index].tasks) {
        if tasks.iter().all(|task| task.name != result.task) {
            tasks.push(SceneTask {
                name: result.task.clone(),
                metric: result.metric.clone(),
                lower_is_better: result.lower_is_better,
                n: result.estimate.n,
            });
        }
    }
    let mut without_value: Vec<NoValue> = Vec::new();
    for missing in members.iter().flat_map(|&index| &arms[index].without_value) {
        if !without_value.contains(missing) && tasks.iter().all(|task| task.name != missing.task) {
            without_value.push(missing.clone());
        }
    }
    // Order of the plan, not of the first arm that finished a task.
    let position = |task: &str| study.cells.iter().position(|cell| cell.record.task == task);
    tasks.sort_by_key(|task| position(&task.name));
    without_value.sort_by_key(|missing| position(&missing.task));
    let mut scene = Scene {
        model: key.model.clone(),
        protocol: key.protocol.clone(),
        tasks,
        without_value,
        baseline: None,
        series: Vec::new(),
        sweeps: Vec::new(),
    };
    let means = scene.accuracy_tasks();
    scene.baseline =
        members.iter().find(|&&index| arms[index].is_baseline).map(|&index| (index, arms[index].mean_over(&means)));
    let others: Vec<usize> = members.iter().copied().filter(|&index| !arms[index].is_baseline).collect();
    let (sweeps, series) = split_sweeps(arms, &others);
    let build = |groups: Vec<(String, Vec<usize>)>, baseline: Option<&TaskMean>| {
        let series = groups.into_iter().map(|(_, members)| names.series(arms, &members, &means, baseline, &study.plan));
        let mut all = series.collect::<Result<Vec<Series>, _>>()?;
        all.sort_by_key(|series| series.family);
        Ok::<_, ReportError>(all)
    };
    scene.series = build(series, scene.baseline_mean())?;
    mark_compared(&mut scene);
    scene.sweeps = build(sweeps, scene.baseline_mean())?;
    Ok(scene)
}

/// Says of each rule at each reduction that was asked for whether it may be compared with the others there.
fn mark_compared(scene: &mut Scene) {
    for asked in scene.reductions() {
        let points = scene.series.iter_mut().flat_map(|series| &mut series.points);
        let points: Vec<&mut SeriesPoint> = points.filter(|point| point.asked.is(asked)).collect();
        let achieved = |point: &&mut SeriesPoint| point.mean.as_ref().map(|mean| mean.flops_reduction_achieved);
        let inside = comparable_set(&points.iter().map(achieved).collect::<Vec<_>>(), asked.value);
        for (point, inside) in points.into_iter().zip(inside) {
            point.compared = inside;
        }
    }
}

type Groups = Vec<(String, Vec<usize>)>;

/// Rules that were tried at two or more single sites are sweeps over sites; their other settings are not.
fn split_sweeps(arms: &[Arm], members: &[usize]) -> (Groups, Groups) {
    let mut sites: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for &index in members {
        if let [site] = arms[index].trial.sites.as_slice() {
            sites.entry(rule(&arms[index].trial)).or_default().insert(*site);
        }
    }
    let (mut sweeps, mut series): (Groups, Groups) = (Vec::new(), Vec::new());
    for &index in members {
        let trial = &arms[index].trial;
        let single = trial.sites.len() == 1 && sites.get(&rule(trial)).is_some_and(|sites| sites.len() > 1);
        let (groups, key) = if single {
            // Rows of a sweep are keep ratios, or achieved reductions.
            (&mut sweeps, format!("{}|{}", rule(trial), trial.flops_reduction_asked.is_some()))
        } else {
            (&mut series, format!("{}|{}", rule(trial), trial.schedule))
        };
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(index),
            None => groups.push((key, vec![index])),
        }
    }
    (sweeps, series)
}

/// Labels and looks of all rules of a report.
struct Names {
    labels: Labels,
}

impl Names {
    fn style(&self, trial: &TrialKey) -> Style {
        let siblings = self.labels.siblings(&trial.strategy);
        // One look per name: where a model reads a signal from is no other rule.
        let label = self.labels.label(trial);
        let index = siblings.iter().position(|other| self.labels.label(other) == label).unwrap_or(0);
        match style::style(&trial.strategy) {
            Some(own) => style::variant(own, index),
            None if trial.strategy == "top_k" => Self::importance_style(trial, siblings, index),
            // Unknown strategies take turns in alphabetical order.
            None => style::cycle(self.labels.strategies().position(|name| name == trial.strategy).unwrap_or(0) + index),
        }
    }

    /// A known metric has its own look; a second rule with the same metric takes one that is free.
    fn importance_style(trial: &TrialKey, siblings: &[TrialKey], index: usize) -> Style {
        let rank = |t: &TrialKey| t.importance.as_deref().and_then(style::importance_rank);
        let first = |t: &TrialKey| siblings.iter().position(|other| rank(other) == rank(t));
        match rank(trial) {
            Some(rank) if first(trial) == Some(index) => style::importance(rank),
            _ => {
                let taken: BTreeSet<usize> = siblings.iter().filter_map(rank).collect();
                let free: Vec<usize> = (0..8).filter(|i| !taken.contains(i)).collect();
                style::importance(if free.is_empty() { index } else { free[index % free.len()] })
            }
        }
    }

    fn series(
        &self,
        arms: &[Arm],
        members: &[usize],
        tasks: &[String],
        baseline: Option<&TaskMean>,
        plan: &PlanIndex,
    ) -> Result<Series, ReportError> {
        let trial = &arms[members[0]].trial;
        let mut points: Vec<SeriesPoint> = members
            .iter()
            .map(|&arm| {
                let mean = arms[arm].mean_over(tasks);
                let difference = mean.as_ref().zip(baseline).map(|(mean, baseline)| mean.minus(baseline));
                let asked = arms[arm].trial.reduction();
                SeriesPoint { arm, asked, mean, difference, compared: true }
            })
            .collect();
        points.sort_by(|a, b| a.asked.total_cmp(&b.asked));
        let family = if trial.strategy == plan.baseline {
            Family::Baseline
        } else {
            let family = plan.strategies.get(&trial.strategy).copied();
            family.ok_or_else(|| ReportError::NoFamily { strategy: trial.strategy.clone() })?
        };
        Ok(Series {
            label: self.labels.label(trial),
            strategy: trial.strategy.clone(),
            family,
            style: self.style(trial),
            points,
        })
    }
}
