//! The headline of a claim: the effect of each entry over models, tasks and settings, and what each model shows.

use records::claim::{PlannedComparison, Quantity};

use super::statistics::{Crossed, Decision, Evidence, Interval, Verdict, crossed, decide};

/// The comparisons of an entry under one protocol, pooled.
pub struct Pooled {
    /// The entry of the claim, counted from 0.
    pub entry: usize,
    /// The name that the file gives it.
    pub name: Option<String>,
    /// Protocol of its comparisons; none where the sides differ in it, and for probes.
    pub protocol: Option<String>,
    /// What is compared.
    pub quantity: Quantity,
    /// What is compared, in a word.
    pub what: String,
    /// Smallest difference that counts.
    pub margin: f64,
    /// Tasks that every comparison has.
    pub tasks: Vec<String>,
    /// Over models and tasks, both taken as a sample; or why there is none.
    pub effect: Result<PooledEffect, String>,
    /// What each model shows.
    pub models: Vec<OnModel>,
}

/// The mean of a model's comparisons over its tasks and settings, decided together with those of all entries: Holm's procedure, max-t
/// intervals over items.
#[derive(Clone, Debug)]
pub struct OnModel {
    /// Its reference.
    pub model: String,
    /// Effect, interval and verdict.
    pub decision: Decision,
    /// Why there is no effect.
    pub missing: Option<String>,
}

/// A mean effect over models, tasks and settings.
#[derive(Clone, Copy, Debug)]
pub struct PooledEffect {
    /// The mean, every model and task with equal weight.
    pub effect: f64,
    /// Where the mean over models and tasks like these lies.
    pub interval: Interval,
    /// Level of the interval: 0.95 for this effect alone.
    pub level: f64,
    /// Standard deviation between models and between tasks; NaN where there is one.
    pub between: [f64; 2],
    /// What the interval says of the margin.
    pub verdict: Verdict,
}

/// What a pooled interval leaves outside. Each is read by itself: with two or three models a correction would leave nothing to read.
const ALPHA: f64 = 0.05;

/// The comparisons of an entry under a protocol, by their indices: by model, then by setting.
struct Group<'a> {
    first: &'a PlannedComparison,
    models: Vec<(String, Vec<usize>)>,
}

/// Pools comparisons entry by entry and protocol by protocol. `whole` is what each comparison rests on, `find` gives its effect on a task.
pub(super) fn pool(
    comparisons: &[PlannedComparison],
    whole: &[Result<Evidence, String>],
    find: impl Fn(&PlannedComparison, &String) -> Result<Evidence, String>,
) -> Vec<Pooled> {
    let groups = groups(comparisons);
    let on_models = |group: &Group| -> Vec<Result<Evidence, String>> {
        group.models.iter().map(|(_, own)| mean_of(own, |index| whole[index].clone())).collect()
    };
    let of_models: Vec<_> = groups.iter().map(on_models).collect();
    let evidence = groups.iter().zip(&of_models).flat_map(|(group, of_model)| {
        of_model.iter().map(|own| (own.clone().unwrap_or(Evidence::Missing), group.first.margin))
    });
    let mut decisions = decide(&evidence.collect::<Vec<_>>()).into_iter();
    let mut pooled = Vec::new();
    for (group, of_model) in groups.into_iter().zip(of_models) {
        let first = group.first;
        let all = || group.models.iter().flat_map(|(_, own)| own).map(|&index| &comparisons[index]);
        let shared = |task: &&String| all().all(|own| own.tasks.contains(task));
        let tasks: Vec<String> = first.tasks.iter().filter(shared).cloned().collect();
        let on_tasks = |own: &Vec<usize>| {
            let on_task = |task| mean_of(own, |index| find(&comparisons[index], task));
            tasks.iter().map(on_task).collect::<Result<Vec<_>, _>>()
        };
        let effect = if tasks.is_empty() {
            Err("no task is in all of its comparisons".to_owned())
        } else {
            let cells: Result<Vec<Vec<Evidence>>, String> = group.models.iter().map(|(_, own)| on_tasks(own)).collect();
            cells.and_then(|cells| over_models(&cells, first))
        };
        let models = group.models.into_iter().zip(of_model).zip(decisions.by_ref());
        pooled.push(Pooled {
            entry: first.entry,
            name: first.name.clone(),
            protocol: first.protocol.clone(),
            quantity: first.quantity,
            what: first.what().to_owned(),
            margin: first.margin,
            tasks,
            effect,
            models: models
                .map(|(((model, _), own), decision)| OnModel { model, decision, missing: own.err() })
                .collect(),
        });
    }
    pooled
}

fn groups(comparisons: &[PlannedComparison]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for (index, comparison) in comparisons.iter().enumerate() {
        let is_own =
            |group: &Group| group.first.entry == comparison.entry && group.first.protocol == comparison.protocol;
        let place = groups.iter().position(is_own).unwrap_or_else(|| {
            groups.push(Group { first: comparison, models: Vec::new() });
            groups.len() - 1
        });
        // Where models are compared with each other, the higher side tells which.
        let model = comparison.model.as_ref().unwrap_or(&comparison.higher.label);
        let models = &mut groups[place].models;
        match models.iter_mut().find(|(known, _)| known == model) {
            Some((_, own)) => own.push(index),
            None => models.push((model.clone(), vec![index])),
        }
    }
    groups
}

/// The mean over settings, by the indices of their comparisons.
fn mean_of(own: &[usize], find: impl Fn(usize) -> Result<Evidence, String>) -> Result<Evidence, String> {
    let parts = own.iter().map(|&index| find(index)).collect::<Result<Vec<_>, _>>()?;
    Ok(mean(&parts))
}

fn mean(parts: &[Evidence]) -> Evidence {
    Evidence::mean(&parts.iter().collect::<Vec<_>>())
}

fn over_models(cells: &[Vec<Evidence>], first: &PlannedComparison) -> Result<PooledEffect, String> {
    if cells.len() < 2 {
        return Err("one model, which says nothing of others like it".to_owned());
    }
    let effects: Vec<Vec<f64>> = cells.iter().map(|row| row.iter().map(Evidence::mean_value).collect()).collect();
    let whole = mean(&cells.iter().map(|row| mean(row)).collect::<Vec<_>>());
    let Crossed { effect, interval, between_models, between_tasks } = crossed(&effects, whole.standard_error(), ALPHA);
    // Effects outside the range cannot be, so the part of the interval inside holds them as often.
    let (least, most) = first.quantity.range();
    let interval = Interval { low: interval.low.max(least), high: interval.high.min(most) };
    let verdict = Verdict::of(interval, first.margin);
    Ok(PooledEffect { effect, interval, level: 1.0 - ALPHA, between: [between_models, between_tasks], verdict })
}

#[cfg(test)]
mod tests {
    use records::claim::ArmName;

    use super::*;

    fn comparison(model: &str, tasks: &[&str]) -> PlannedComparison {
        let side = || ArmName { label: "top_k".to_owned(), trials: Vec::new() };
        PlannedComparison {
            entry: 0,
            name: None,
            model: Some(model.to_owned()),
            protocol: None,
            setting: String::new(),
            lower: side(),
            higher: side(),
            quantity: Quantity::Accuracy,
            margin: 1.0,
            tasks: tasks.iter().map(|task| (*task).to_owned()).collect(),
            rows: None,
        }
    }

    #[test]
    fn settings_without_a_common_task_have_no_pooled_effect() {
        let found = || Ok(Evidence::Replicates(2.0, vec![1.0, 2.0, 3.0]));
        let find = |_: &PlannedComparison, _: &String| found();
        let apart = pool(&[comparison("m", &["a"]), comparison("n", &["b"])], &[found(), found()], find);
        assert_eq!(apart[0].effect.as_ref().err().map(String::as_str), Some("no task is in all of its comparisons"));
        assert!(apart[0].models.iter().all(|own| own.decision.effect > 1.9 && own.missing.is_none()));
        let together = pool(&[comparison("m", &["a", "b"]), comparison("n", &["b"])], &[found(), found()], find);
        assert_eq!(
            (together[0].tasks.as_slice(), together[0].effect.as_ref().unwrap().effect),
            (&["b".to_owned()][..], 2.0)
        );
    }

    #[test]
    fn one_model_is_no_sample_of_models_and_accuracies_end_at_a_hundred() {
        let find = |own: &PlannedComparison, _: &String| {
            let sign = if own.model.as_deref() == Some("m") { 1.0 } else { -1.0 };
            Ok(Evidence::Replicates(sign * 40.0, vec![sign * 39.0, sign * 41.0]))
        };
        let both = ["m", "n"].map(|model| comparison(model, &["a", "b"]));
        let whole = both.each_ref().map(|own| find(own, &own.tasks[0]));
        let alone = pool(&both[..1], &whole[..1], find);
        assert!(alone[0].effect.as_ref().is_err_and(|reason| reason.contains("one model")));
        assert!((alone[0].models[0].decision.effect - 40.0).abs() < 1e-9);
        let apart = pool(&both, &whole, find);
        let Interval { low, high } = apart[0].effect.as_ref().unwrap().interval;
        assert_eq!((low, high), (-100.0, 100.0));
    }

    /// A model that failed takes nothing from the others but the mean over models.
    #[test]
    fn a_model_that_did_not_finish_is_missing_alone() {
        let find = |own: &PlannedComparison, _: &String| match own.model.as_deref() {
            Some("m") => Ok(Evidence::Replicates(2.0, vec![1.0, 2.0, 3.0])),
            _ => Err("`dense` did not finish".to_owned()),
        };
        let both = ["m", "n"].map(|model| comparison(model, &["a"]));
        let whole = both.each_ref().map(|own| find(own, &own.tasks[0]));
        let pooled = &pool(&both, &whole, find)[0];
        assert_eq!(pooled.effect.as_ref().err().map(String::as_str), Some("`dense` did not finish"));
        assert_eq!((pooled.models[0].decision.effect, pooled.models[0].missing.as_deref()), (2.0, None));
        assert_eq!(pooled.models[1].missing.as_deref(), Some("`dense` did not finish"));
    }
}
