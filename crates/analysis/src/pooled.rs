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
    /// The mean of each model's comparisons over tasks and settings, decided together with those of all entries: Holm's procedure, max-t
    /// intervals over items.
    pub models: Vec<(String, Decision)>,
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

/// The comparisons of an entry under a protocol: by model, then by setting.
struct Group<'a> {
    first: &'a PlannedComparison,
    models: Vec<(String, Vec<&'a PlannedComparison>)>,
}

/// Pools comparisons entry by entry and protocol by protocol. `find` gives the effect of a comparison on a task.
pub(super) fn pool(
    comparisons: &[PlannedComparison],
    find: impl Fn(&PlannedComparison, &String) -> Result<Evidence, String>,
) -> Vec<Pooled> {
    let groups = groups(comparisons);
    let mut pooled = Vec::new();
    let mut evidence: Vec<(Evidence, f64)> = Vec::new();
    for group in &groups {
        let first = group.first;
        let shared = |task: &&String| group.models.iter().flat_map(|(_, own)| own).all(|own| own.tasks.contains(task));
        let tasks: Vec<String> = first.tasks.iter().filter(shared).cloned().collect();
        let on_tasks = |own: &Vec<&PlannedComparison>| {
            tasks.iter().map(|task| mean_of(own, |comparison| find(comparison, task))).collect::<Result<Vec<_>, _>>()
        };
        let cells: Result<Vec<Vec<Evidence>>, String> = if tasks.is_empty() {
            Err("no task is in all of its comparisons".to_owned())
        } else {
            group.models.iter().map(|(_, own)| on_tasks(own)).collect()
        };
        let by_model = cells.as_ref().map(|cells| cells.iter().map(|row| mean(row)).collect::<Vec<_>>());
        evidence.extend((0..group.models.len()).map(|model| {
            (by_model.as_ref().map_or(Evidence::Missing, |by_model| by_model[model].clone()), first.margin)
        }));
        pooled.push(Pooled {
            entry: first.entry,
            name: first.name.clone(),
            protocol: first.protocol.clone(),
            quantity: first.quantity,
            what: first.what().to_owned(),
            margin: first.margin,
            effect: cells.map(|cells| over_models(&cells, first.margin)),
            tasks,
            models: Vec::new(),
        });
    }
    let mut decisions = decide(&evidence).into_iter();
    for (own, group) in pooled.iter_mut().zip(&groups) {
        own.models = group.models.iter().map(|(model, _)| model.clone()).zip(decisions.by_ref()).collect();
    }
    pooled
}

fn groups(comparisons: &[PlannedComparison]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for comparison in comparisons {
        let is_own =
            |group: &Group| group.first.entry == comparison.entry && group.first.protocol == comparison.protocol;
        let index = groups.iter().position(is_own).unwrap_or_else(|| {
            groups.push(Group { first: comparison, models: Vec::new() });
            groups.len() - 1
        });
        // Where models are compared with each other, the higher side tells which.
        let model = comparison.model.as_ref().unwrap_or(&comparison.higher.label);
        let models = &mut groups[index].models;
        match models.iter_mut().find(|(known, _)| known == model) {
            Some((_, own)) => own.push(comparison),
            None => models.push((model.clone(), vec![comparison])),
        }
    }
    groups
}

/// The mean over settings.
fn mean_of<'a>(
    comparisons: &[&'a PlannedComparison],
    find: impl Fn(&'a PlannedComparison) -> Result<Evidence, String>,
) -> Result<Evidence, String> {
    let parts = comparisons.iter().map(|comparison| find(comparison)).collect::<Result<Vec<_>, _>>()?;
    Ok(mean(&parts))
}

fn mean(parts: &[Evidence]) -> Evidence {
    Evidence::mean(&parts.iter().collect::<Vec<_>>())
}

fn over_models(cells: &[Vec<Evidence>], margin: f64) -> PooledEffect {
    let effects: Vec<Vec<f64>> = cells.iter().map(|row| row.iter().map(Evidence::mean_value).collect()).collect();
    let whole = mean(&cells.iter().map(|row| mean(row)).collect::<Vec<_>>());
    let pooled = crossed(&effects, whole.standard_error(), ALPHA).unwrap_or_else(|| Crossed {
        effect: effects[0][0],
        interval: whole.interval(ALPHA),
        between_models: f64::NAN,
        between_tasks: f64::NAN,
    });
    PooledEffect {
        effect: pooled.effect,
        interval: pooled.interval,
        level: 1.0 - ALPHA,
        between: [pooled.between_models, pooled.between_tasks],
        verdict: Verdict::of(pooled.interval, margin),
    }
}

#[cfg(test)]
mod tests {
    use records::claim::ArmName;

    use super::*;

    fn comparison(tasks: &[&str]) -> PlannedComparison {
        let side = || ArmName { label: "top_k".to_owned(), trials: Vec::new() };
        PlannedComparison {
            entry: 0,
            name: None,
            model: Some("m".to_owned()),
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
        let find = |_: &PlannedComparison, _: &String| Ok(Evidence::Replicates(2.0, vec![1.0, 2.0, 3.0]));
        let apart = pool(&[comparison(&["a"]), comparison(&["b"])], find);
        assert_eq!(apart[0].effect.as_ref().err().map(String::as_str), Some("no task is in all of its comparisons"));
        assert_eq!(apart[0].models[0].1.verdict, Verdict::Undecided);
        let together = pool(&[comparison(&["a", "b"]), comparison(&["b"])], find);
        assert_eq!(
            (together[0].tasks.as_slice(), together[0].effect.as_ref().unwrap().effect),
            (&["b".to_owned()][..], 2.0)
        );
    }
}
