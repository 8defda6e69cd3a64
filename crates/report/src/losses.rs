//! Rules on tasks whose metric is better when lower: what each of them adds to the loss, task by task. A mean over such tasks would mix
//! recall with fluency.

use analysis::{ArmTask, comparable_set};
use records::names::is_loss;
use records::schema::Reduction;

use crate::view::{Scene, SceneTask, Series, View};

/// One rule on one task.
pub(crate) struct Loss<'a> {
    pub(crate) series: &'a Series,
    pub(crate) result: &'a ArmTask,
    /// Whether its achieved reduction is that of the others.
    pub(crate) compared: bool,
}

/// Unit of a metric that is better when lower; none of a perplexity.
pub(crate) fn unit(metric: &str) -> Option<&'static str> {
    match metric {
        "bits_per_byte" => Some("bits per byte"),
        metric if is_loss(metric) => Some("nats"),
        _ => None,
    }
}

/// The tasks of a scene that are better when lower.
pub(crate) fn tasks(scene: &Scene) -> impl Iterator<Item = &SceneTask> {
    scene.tasks.iter().filter(|task| task.lower_is_better)
}

/// Every rule at one reduction on one task, in the order of the series.
pub(crate) fn of_task<'a>(view: &'a View, scene: &'a Scene, asked: Reduction, task: &SceneTask) -> Vec<Loss<'a>> {
    let results: Vec<(&Series, &ArmTask)> = scene
        .series
        .iter()
        .filter_map(|series| Some((series, view.arms[series.at(asked)?.arm].task(&task.name)?)))
        .collect();
    let achieved: Vec<Option<f64>> = results.iter().map(|(_, result)| Some(result.flops_reduction_achieved)).collect();
    let compared = comparable_set(&achieved, asked.value);
    let losses = results.into_iter().zip(compared);
    losses.map(|((series, result), compared)| Loss { series, result, compared }).collect()
}
