//! The answer in two or three sentences, and the figure that shows it: which one follows from what the experiment varies.

use analysis::{Difference, MARK, Study, are_equal};
use records::Family;
use records::schema::Reduction;

use crate::claim;
use crate::figures::Figure;
use crate::losses;
use crate::markdown::{best, nats, points};
use crate::text::{markdown, markdown_code};
use crate::view::{Scene, Series, SeriesPoint, View, asked_phrase, in_percent};

/// What comes first on the page.
pub(super) struct Answer {
    /// Markdown, one sentence or two each.
    pub(super) sentences: Vec<String>,
    /// The figure that answers the question, by its place among the figures.
    pub(super) first: Option<usize>,
}

/// Names that a sentence lists; more are counted.
const LISTED: usize = 4;

/// What the experiment found. Every number is one of the frames.
pub(super) fn answer(study: &Study, view: &View, figures: &[Figure]) -> Answer {
    let baseline = &study.plan.baseline;
    let named = |start: &str| figures.iter().position(|figure| figure.name.starts_with(start));
    let scene = main_scene(view);
    let (mut sentences, first) = if let Some(result) = &study.claim {
        let claimed = format!("Claimed: {}", markdown(&result.claim.expect));
        (std::iter::once(claimed).chain(claim::effects(result)).collect(), named("claim"))
    } else if let Some(scene) = scene {
        if !scene.sweeps.is_empty() {
            (layers(view, baseline), named("layer_ratio"))
        } else if let Some(figure) = named("loss_vs_length") {
            (lengths(view, scene, baseline), Some(figure))
        } else if view.scenes.iter().any(|other| other.model == scene.model && other.protocol != scene.protocol) {
            let asked = main_reduction(scene);
            let figure = asked.map(|asked| format!("protocol_comparison_{}", crate::view::asked_slug(asked)));
            let figure = figure.and_then(|name| figures.iter().position(|figure| figure.name == name));
            (rules(view, scene, baseline), figure.or_else(|| named("protocol_comparison")))
        } else if scene.accuracy_tasks().is_empty() {
            (loss_rules(view, scene, baseline), named("tasks_vs_flops"))
        } else {
            let own = format!("accuracy_vs_flops_{}", scene.slug());
            let figure = figures.iter().position(|figure| figure.name == own);
            (rules(view, scene, baseline), figure.or_else(|| named("accuracy_vs_flops")))
        }
    } else {
        (Vec::new(), None)
    };
    if sentences.is_empty() {
        sentences.push(if study.plan.cells.is_empty() {
            "The experiment looks into its models and compares no strategies.".to_owned()
        } else {
            format!(
                "Nothing can be compared yet: {} has not finished, or no strategy beside it.",
                markdown_code(baseline)
            )
        });
    }
    Answer { sentences, first: first.or((!figures.is_empty()).then_some(0)) }
}

/// The first scene of what a deployed model does, if there is one.
fn main_scene(view: &View) -> Option<&Scene> {
    let has_rules = |scene: &&Scene| !scene.series.is_empty() || !scene.sweeps.is_empty();
    let mut scenes = view.scenes.iter().filter(has_rules);
    scenes.clone().find(|scene| scene.protocol == "context").or_else(|| scenes.next())
}

/// The middle one of the reductions that were asked for.
fn main_reduction(scene: &Scene) -> Option<Reduction> {
    let reductions = scene.reductions();
    reductions.get(reductions.len() / 2).copied()
}

/// Scenes of one protocol, one per model.
fn models<'a>(view: &'a View, protocol: &str) -> Vec<&'a Scene> {
    view.scenes.iter().filter(|scene| scene.protocol == protocol).collect()
}

fn place(scene: &Scene) -> String {
    format!("{} under {}", markdown(&scene.model), markdown_code(&scene.protocol))
}

/// The best rule on each model, the same rule under other protocols, and what is not decided.
fn rules(view: &View, scene: &Scene, baseline: &str) -> Vec<String> {
    let Some(asked) = main_reduction(scene) else { return Vec::new() };
    let scenes = models(view, &scene.protocol);
    let own: Vec<String> = scenes.iter().take(LISTED).filter_map(|scene| best_of(scene, asked, baseline)).collect();
    if own.is_empty() {
        return loss_rules(view, scene, baseline);
    }
    let mut sentences = vec![format!(
        "At {} under {}, the best of the compared rules is {}.",
        asked_phrase(asked),
        markdown_code(&scene.protocol),
        own.join("; and ")
    )];
    sentences.extend(protocols(view, scene, asked));
    sentences.push(undecided(&scenes, asked, baseline));
    sentences
}

/// The best rule on one model, with its effects.
fn best_of(scene: &Scene, asked: Reduction, baseline: &str) -> Option<String> {
    let (series, point) = best(scene, asked)?;
    let (mean, difference) = (point.mean.as_ref()?, point.difference?);
    let mut words = format!(
        "{} on {} ({:.1} % achieved): {} points to {}",
        markdown_code(&series.label),
        markdown(&scene.model),
        mean.flops_reduction_achieved * 100.0,
        points(difference),
        markdown_code(baseline),
    );
    // A rule has to beat the best control, which need not be chance: a shorter prompt often is.
    let controls = scene.series.iter().filter(|own| own.family == Family::Control && own.label != series.label);
    let controls = controls.filter_map(|own| Some((own, own.at(asked)?.mean.as_ref()?)));
    let fair = controls.filter(|(_, own)| are_equal(own.flops_reduction_achieved, mean.flops_reduction_achieved));
    if let Some((control, own)) = fair.max_by(|a, b| a.1.estimate.value.total_cmp(&b.1.estimate.value)) {
        words += ", ";
        words += &points(mean.minus(own));
        words += " to the best control, ";
        words += &markdown_code(&control.label);
    }
    Some(words)
}

/// How the same rule scores under the other protocols, on the first model.
fn protocols(view: &View, scene: &Scene, asked: Reduction) -> Option<String> {
    let (series, _) = best(scene, asked)?;
    let others = view.scenes.iter().filter(|other| other.model == scene.model && other.protocol != scene.protocol);
    let of = |other: &Scene| {
        let point = other.series.iter().find(|own| own.label == series.label)?.at(asked)?;
        let achieved = point.mean.as_ref()?.flops_reduction_achieved * 100.0;
        Some(format!(
            "{} points ({achieved:.1} % achieved) under {}",
            points(point.difference?),
            markdown_code(&other.protocol)
        ))
    };
    let others: Vec<String> = others.filter_map(of).collect();
    (!others.is_empty()).then(|| {
        format!(
            "Under another scoring, the same {} on {} is at {}.",
            markdown_code(&series.label),
            markdown(&scene.model),
            others.join(", and at ")
        )
    })
}

/// Rules that are not told apart from the best or from the baseline, those that are not compared.
fn undecided(scenes: &[&Scene], asked: Reduction, baseline: &str) -> String {
    let mut parts = Vec::new();
    for scene in scenes.iter().take(LISTED) {
        let Some((first, top)) = best(scene, asked) else { continue };
        let Some(mean) = &top.mean else { continue };
        let rules = scene.series.iter().filter(|series| series.family != Family::Control);
        let points: Vec<(&Series, &SeriesPoint)> =
            rules.filter_map(|series| Some((series, series.at(asked)?))).collect();
        let compared = points.iter().filter(|(_, point)| point.compared);
        let tied: Vec<&str> = compared
            .clone()
            .filter(|(series, _)| series.label != first.label)
            .filter(|(_, point)| point.mean.as_ref().is_some_and(|other| holds_zero(mean.minus(other))))
            .map(|(series, _)| series.label.as_str())
            .collect();
        let like_dense: Vec<&str> = compared
            .filter(|(_, point)| point.difference.is_some_and(holds_zero))
            .map(|(series, _)| series.label.as_str())
            .collect();
        let apart: Vec<&str> =
            points.iter().filter(|(_, point)| !point.compared).map(|(series, _)| series.label.as_str()).collect();
        let mut own = Vec::new();
        if !tied.is_empty() {
            own.push(format!("{} not told apart from the best", are(&tied)));
        }
        if !like_dense.is_empty() {
            own.push(format!("{} not told apart from {}", are(&like_dense), markdown_code(baseline)));
        }
        if !apart.is_empty() {
            own.push(format!("{} not compared, because the achieved reduction differs {MARK}", are(&apart)));
        }
        if !own.is_empty() {
            parts.push(format!("on {}, {}", markdown(&scene.model), own.join("; ")));
        }
    }
    let text = if parts.is_empty() {
        format!("nothing; every compared rule is told apart from the best and from {}", markdown_code(baseline))
    } else {
        parts.join("; ")
    };
    format!(
        "Undecided over these items: {text}. The best was chosen on the items it is shown on, so its value is optimistic."
    )
}

/// `a`, `b` and 3 more are
fn are(labels: &[&str]) -> String {
    let listed: Vec<String> = labels.iter().take(LISTED).map(|label| markdown_code(label)).collect();
    let rest = labels.len() - listed.len();
    let verb = if labels.len() == 1 { "is" } else { "are" };
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more} {verb}", listed.join(", "))
}

fn holds_zero(difference: Difference) -> bool {
    difference.interval.low <= 0.0 && difference.interval.high >= 0.0
}

/// On each model the layer whose reduction costs least and most, over rules and amounts.
fn layers(view: &View, baseline: &str) -> Vec<String> {
    let of = |scene: &Scene| {
        let settings: Vec<(&Series, &SeriesPoint, Difference)> = scene
            .sweeps
            .iter()
            .flat_map(|series| series.points.iter().map(move |point| (series, point)))
            .filter_map(|(series, point)| Some((series, point, point.difference?)))
            .collect();
        let by_value = |a: &&(&Series, &SeriesPoint, Difference), b: &&(&Series, &SeriesPoint, Difference)| {
            a.2.value.total_cmp(&b.2.value)
        };
        let (least, most) = (settings.iter().max_by(by_value)?, settings.iter().min_by(by_value)?);
        let said = |(series, point, difference): &(&Series, &SeriesPoint, Difference)| {
            let arm = &view.arms[point.arm].trial;
            let site = arm.sites.first().copied().unwrap_or_default();
            let keep = arm.keep_ratio.map_or_else(String::new, |keep| format!(" with keep ratio {keep}"));
            let achieved = point.mean.as_ref().map_or(f64::NAN, |mean| mean.flops_reduction_achieved * 100.0);
            format!(
                "after layer {site}{keep} ({}, {achieved:.1} % achieved): {} points to {}",
                markdown_code(&series.label),
                points(*difference),
                markdown_code(baseline)
            )
        };
        let undecided = settings.iter().filter(|(.., difference)| holds_zero(*difference)).count();
        Some(format!(
            "On {}, one reduction costs most {}. It costs least {}. Of {} settings {undecided} are not told apart from {}.",
            place(scene),
            said(most),
            said(least),
            settings.len(),
            markdown_code(baseline)
        ))
    };
    view.scenes.iter().filter(|scene| !scene.sweeps.is_empty()).take(LISTED).filter_map(of).collect()
}

/// The rule that adds least to the loss at the longest context, and what it adds at the shortest, on each model.
fn lengths(view: &View, scene: &Scene, baseline: &str) -> Vec<String> {
    let Some(asked) = main_reduction(scene) else { return Vec::new() };
    let length = |name: &str| name.rsplit_once('@').and_then(|(_, length)| length.parse::<usize>().ok());
    let of = |scene: &Scene| {
        let mut tasks: Vec<_> = losses::tasks(scene).filter_map(|task| Some((length(&task.name)?, task))).collect();
        tasks.sort_by_key(|(length, _)| *length);
        let ((short, first), (long, last)) = (tasks.first()?, tasks.last()?);
        let at_long = losses::of_task(view, scene, asked, last);
        let (best, added) = least(&at_long)?;
        let at_short = losses::of_task(view, scene, asked, first);
        let before = at_short.iter().find(|loss| loss.series.label == best.series.label)?.result.difference?;
        let tied: Vec<&str> = at_long
            .iter()
            .filter(|loss| loss.compared && loss.series.label != best.series.label)
            .filter(|loss| best.result.minus(loss.result).is_some_and(holds_zero))
            .map(|loss| loss.series.label.as_str())
            .collect();
        let undecided =
            if tied.is_empty() { String::new() } else { format!(" Undecided: {} not told apart from it.", are(&tied)) };
        let unit = match losses::unit(&last.metric) {
            Some("nats") => " nats per token",
            Some(unit) => &format!(" {unit}"),
            None => "",
        };
        Some(format!(
            "On {}, {} adds least to the {} of {} after {long} tokens at {} ({:.1} % achieved): {}{unit}; after {short} tokens \
             it adds {}.{undecided}",
            place(scene),
            markdown_code(&best.series.label),
            markdown(&last.metric),
            markdown_code(baseline),
            asked_phrase(asked),
            best.result.flops_reduction_achieved * 100.0,
            nats(added),
            nats(before),
        ))
    };
    models(view, &scene.protocol).into_iter().take(LISTED).filter_map(of).collect()
}

fn least<'a, 'b>(all: &'b [losses::Loss<'a>]) -> Option<(&'b losses::Loss<'a>, Difference)> {
    let known = all.iter().filter(|loss| loss.compared).filter_map(|loss| Some((loss, loss.result.difference?)));
    known.min_by(|(_, a), (_, b)| a.value.total_cmp(&b.value))
}

/// Where no task has an accuracy: the rule that adds least to each loss, on the first model.
fn loss_rules(view: &View, scene: &Scene, baseline: &str) -> Vec<String> {
    let Some(asked) = main_reduction(scene) else { return Vec::new() };
    let of = |task: &crate::view::SceneTask| {
        let all = losses::of_task(view, scene, asked, task);
        let (best, added) = least(&all)?;
        let is_control = |loss: &&losses::Loss<'_>| loss.series.family == Family::Control;
        // A rule has to beat the best control, which on text is often a shorter prompt.
        let controls = all.iter().filter(is_control).filter(|loss| loss.compared);
        let least_control = controls.min_by(|a, b| a.result.estimate.value.total_cmp(&b.result.estimate.value));
        let beside = match least_control {
            Some(control) if control.series.label != best.series.label => {
                let name = markdown_code(&control.series.label);
                best.result.minus(control.result).map(|d| format!(", {} to the best control, {name}", nats(d)))
            }
            Some(_) => Some(", a control".to_owned()),
            None => None,
        };
        Some(format!(
            "{} on {} ({:.1} % achieved): {}{}",
            markdown_code(&best.series.label),
            markdown(&task.name),
            best.result.flops_reduction_achieved * 100.0,
            nats(added),
            beside.unwrap_or_default()
        ))
    };
    let tasks: Vec<String> = losses::tasks(scene).take(LISTED).filter_map(of).collect();
    if tasks.is_empty() {
        return Vec::new();
    }
    let percent = in_percent(asked.value);
    vec![format!(
        "On {}, the rules that add least to the loss of {} at {percent} % ({}) are {}.",
        place(scene),
        markdown_code(baseline),
        asked.word(),
        tasks.join("; ")
    )]
}
