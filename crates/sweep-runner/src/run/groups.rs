//! Groups: the units of work. A group is some consecutive items of one task under one protocol, for one model; all cells that
//! lack them run together. It is leased, recorded and lost as a whole.

use std::ops::Range;

use evaluation::Layout;
use records::plan::Cohort;
use records::schema::Failure;

use super::Shard;
use super::cell::scoring;
use super::tasks::Tasks;
use crate::config::Experiment;
use crate::library::{Library, LibraryError};
use crate::plan::ExperimentPlan;

/// Tokens of a group on the CPU: a few packed calls. Small enough that a kill costs seconds (minutes for the largest models that one
/// would run there), large enough that recording costs little beside computing.
const CPU_TOKENS: usize = 4096;
/// Tokens of a group on a GPU: a few calls that fill it.
const GPU_TOKENS: usize = 262_144;

/// A cohort of the plan with its groups.
pub(super) struct GroupedCohort {
    pub(super) planned: Cohort,
    /// Index of the model in the plan.
    pub(super) model: usize,
    /// Units of the layout, by group.
    pub(super) spans: Vec<Range<usize>>,
    /// Tokens of each group.
    pub(super) tokens: Vec<usize>,
}

/// One group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Index of the cohort.
    pub(super) cohort: usize,
    /// Number within the cohort.
    pub(super) index: usize,
}

impl GroupedCohort {
    /// Name of a group's lease.
    pub(super) fn lease(&self, group: usize) -> String {
        format!("{}-{group:05}", self.planned.cohort_id)
    }

    /// A group in words.
    pub(super) fn describe(&self, group: usize) -> String {
        let Cohort { model, task, protocol, .. } = &self.planned;
        format!("{model} {task} {protocol} group {} of {}", group + 1, self.spans.len())
    }

    /// Share of the cohort's work in a group.
    pub(super) fn share(&self, group: usize) -> f64 {
        self.tokens[group] as f64 / self.tokens.iter().sum::<usize>().max(1) as f64
    }
}

/// The layout of a cohort.
pub(super) fn layout(
    experiment: &Experiment,
    cohort: &Cohort,
    library: &Library,
    tasks: &mut Tasks,
) -> Result<Layout, LibraryError> {
    let task = tasks.get(library, &cohort.model, &cohort.task, experiment)?;
    Ok(Layout::new(task.kind, &task.items, scoring(experiment, &cohort.protocol)))
}

/// A cohort whose task cannot be put in the tokens of its model, and why. Its cells fail; others do not depend on it.
pub(super) struct Unfit {
    pub(super) planned: Cohort,
    pub(super) failure: Failure,
}

/// All cohorts with their groups, in the order of the plan, and those that cannot be cut into groups. Depends on the plan alone, so that
/// all processes cut alike.
pub(super) fn cohorts(
    experiment: &Experiment,
    plan: &ExperimentPlan,
    library: &Library,
    tasks: &mut Tasks,
) -> Result<(Vec<GroupedCohort>, Vec<Unfit>), LibraryError> {
    let budget = if plan.setting.device == "cpu" { CPU_TOKENS } else { GPU_TOKENS };
    let (mut cohorts, mut unfit) = (Vec::new(), Vec::new());
    for planned in plan.cohorts() {
        let layout = match layout(experiment, &planned, library, tasks) {
            Ok(layout) => layout,
            Err(error) if error.is_of_task() => {
                unfit.push(Unfit { planned, failure: error.failure() });
                continue;
            }
            Err(error) => return Err(error),
        };
        let spans = layout.spans(budget);
        let tokens = spans.iter().map(|span| layout.tokens(span.clone())).collect();
        let model = plan.models.iter().position(|model| model.reference == planned.model);
        let model = model.unwrap_or_else(|| unreachable!("cohorts are made of the plan's models"));
        cohorts.push(GroupedCohort { planned, model, spans, tokens });
    }
    Ok((cohorts, unfit))
}

/// The groups of a shard, in order; all of them where there is none.
pub(super) fn groups(plan: &ExperimentPlan, cohorts: &[GroupedCohort], shard: Option<Shard>) -> Vec<Group> {
    let all = cohorts.iter().enumerate().flat_map(|(cohort, facts)| {
        let cost: f64 = facts.planned.cells.iter().map(|cell| plan.cells[*cell].estimate.flops).sum();
        (0..facts.spans.len()).map(move |index| (Group { cohort, index }, cost * facts.share(index)))
    });
    let all: Vec<(Group, f64)> = all.collect();
    let Some(shard) = shard else { return all.into_iter().map(|(group, _)| group).collect() };
    let costs: Vec<f64> = all.iter().map(|(_, cost)| *cost).collect();
    all.iter().zip(shard.assign(&costs)).filter(|(_, mine)| *mine).map(|((group, _), _)| *group).collect()
}
