//! Blocks of `schedule`: ratios in range, sites inside every model, targets within reach.

use hint::Hint;
use reduction_strategies::schedule::{ScheduleError, Sites, solve_keep_ratio};

use super::catalog::ModelFacts;
use super::error::{Fault, Faults, Span, gather};
use super::experiment::{Amount, Schedule, SchedulePoint, SiteAxis};
use super::node::{Located, refuse_duplicates};
use super::wire::{WireAmounts, WireSchedule, WireSites};

pub(super) fn resolve(blocks: &[WireSchedule], models: &[ModelFacts]) -> Result<Vec<Schedule>, Fault> {
    gather(blocks.iter().map(|block| resolve_block(block, models)))
}

fn resolve_block(block: &WireSchedule, models: &[ModelFacts]) -> Result<Schedule, Fault> {
    let mut faults = Faults::default();
    let (amounts, sites) = (faults.note(amounts(block)), faults.note(site_axis(&block.sites)));
    let (amounts, sites) =
        faults.done(amounts.zip(sites))?.unwrap_or_else(|| unreachable!("nothing is wrong with both"));
    // What one model cannot reach is said once, and not for each.
    let points = models.iter().map(|model| points(block, &sites, &amounts, model)).collect::<Result<_, _>>()?;
    Ok(Schedule { sites, amounts: amounts.into_iter().map(|amount| amount.value).collect(), points })
}

/// Every site set with every amount, in one model.
fn points(
    block: &WireSchedule,
    axis: &SiteAxis,
    amounts: &[Located<Amount>],
    model: &ModelFacts,
) -> Result<Vec<SchedulePoint>, Fault> {
    let mut points = Vec::new();
    let layers = model.kinds();
    let refused = |error: ScheduleError| beyond(&error, &block.sites, model);
    for set in axis.expand(&layers).map_err(refused)? {
        let sites = set.resolve(&layers).map_err(refused)?;
        for amount in amounts {
            let solved = match amount.value {
                Amount::FlopsReduction(target) => solve_keep_ratio(&sites, model.n_layer(), target).map(Some),
                // What no ratio gives nominally, none achieves: real sequences lose no larger share.
                Amount::AchievedReduction(target) | Amount::Calibrated(target) => {
                    solve_keep_ratio(&sites, model.n_layer(), target).map(|_| None)
                }
                Amount::KeepRatio(keep_ratio) => Ok(Some(keep_ratio)),
                Amount::Free => Ok(None),
            };
            let keep_ratio = solved.map_err(|error| {
                let hint = match axis {
                    SiteAxis::One(_) => error.hint(),
                    _ => Some("one late site saves little: give keep_ratio for single-site schedules".to_owned()),
                };
                amount.fault(format!("`{}`: {error}", model.reference)).label("out of reach").maybe_hint(hint)
            })?;
            points.push(SchedulePoint {
                schedule: set.to_string(),
                sites: sites.clone(),
                keep_ratio,
                amount: Some(amount.value),
            });
        }
    }
    Ok(points)
}

fn site_axis(sites: &Located<WireSites>) -> Result<SiteAxis, Fault> {
    let values = |layers: &[Located<usize>]| layers.iter().map(|layer| layer.value).collect::<Vec<_>>();
    Ok(match &sites.value {
        WireSites::Paper => SiteAxis::One(Sites::Paper),
        WireSites::Every { start, every, count } => {
            let last = every.checked_mul(*count).and_then(|reach| reach.checked_add(*start));
            if last.is_none_or(|last| last > MAX_LAYERS) {
                return Err(
                    Fault::new(sites.span, "the sites run beyond any model").hint("check start, every and count")
                );
            }
            SiteAxis::One(Sites::Every { start: *start, every: *every, count: *count })
        }
        WireSites::After(after) => SiteAxis::One(Sites::After(*after)),
        WireSites::SingleAll => SiteAxis::SingleAll,
        WireSites::SingleAfter(after) => SiteAxis::SingleAfter(*after),
        WireSites::Single(layers) => {
            refuse_duplicates(layers, "`single`", PartialEq::eq, ToString::to_string)?;
            SiteAxis::Single(values(layers))
        }
        WireSites::Explicit(layers) => {
            refuse_duplicates(layers, "`sites`", PartialEq::eq, ToString::to_string)?;
            if let Some(pair) = layers.windows(2).find(|pair| pair[0].value > pair[1].value) {
                return Err(pair[1]
                    .fault(format!("sites must increase: {} follows {}", pair[1].value, pair[0].value))
                    .label("out of order")
                    .hint("list the layers in the order in which tokens meet them"));
            }
            SiteAxis::One(Sites::Explicit(values(layers)))
        }
    })
}

/// Bounds the arithmetic on `start`, `every` and `count`; no model comes near.
const MAX_LAYERS: usize = 100_000;

fn beyond(error: &ScheduleError, sites: &Located<WireSites>, model: &ModelFacts) -> Fault {
    let span = match (&sites.value, error) {
        (WireSites::Explicit(layers) | WireSites::Single(layers), ScheduleError::SiteBeyondModel { site, .. }) => {
            layers.iter().find(|layer| layer.value == *site).map_or(sites.span, |layer| layer.span)
        }
        _ => sites.span,
    };
    Fault::new(span, format!("`{}`: {error}", model.reference)).label("no such layer").maybe_hint(error.hint())
}

fn amounts(block: &WireSchedule) -> Result<Vec<Located<Amount>>, Fault> {
    match &block.amounts {
        WireAmounts::Free => Ok(vec![located(block.span, Amount::Free)]),
        WireAmounts::Calibrated(values) => {
            refuse_duplicates(values, "`achieved`", PartialEq::eq, ToString::to_string)?;
            let amount = |value: &Located<f64>| {
                check_reduction(value).map(|()| located(value.span, Amount::Calibrated(value.value)))
            };
            gather(values.iter().map(amount))
        }
        WireAmounts::FlopsReduction(values) => {
            refuse_duplicates(values, "`flops_reduction`", PartialEq::eq, ToString::to_string)?;
            let amount = |value: &Located<f64>| {
                check_reduction(value).map(|()| located(value.span, Amount::FlopsReduction(value.value)))
            };
            gather(values.iter().map(amount))
        }
        WireAmounts::AchievedReduction(values) => {
            refuse_duplicates(values, "`achieved`", PartialEq::eq, ToString::to_string)?;
            let amount = |value: &Located<f64>| {
                check_reduction(value).map(|()| located(value.span, Amount::AchievedReduction(value.value)))
            };
            gather(values.iter().map(amount))
        }
        WireAmounts::KeepRatio(values) => {
            refuse_duplicates(values, "`keep_ratio`", PartialEq::eq, ToString::to_string)?;
            let amount = |value: &Located<f64>| {
                check_keep_ratio(value).map(|()| located(value.span, Amount::KeepRatio(value.value)))
            };
            gather(values.iter().map(amount))
        }
    }
}

fn located(span: Span, value: Amount) -> Located<Amount> {
    Located { value, span }
}

fn check_reduction(reduction: &Located<f64>) -> Result<(), Fault> {
    let value = reduction.value;
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    let hint = match percent(value) {
        Some(share) => format!("write {share} for {value} %"),
        None => "flops_reduction is the share of FLOPs saved, for example 0.2".to_owned(),
    };
    Err(reduction.fault(format!("flops_reduction {value} is outside [0, 1)")).label("not a share").hint(hint))
}

fn check_keep_ratio(ratio: &Located<f64>) -> Result<(), Fault> {
    let value = ratio.value;
    if value > 0.0 && value <= 1.0 {
        return Ok(());
    }
    let hint = match percent(value) {
        Some(share) => format!("write {share} to keep {value} %"),
        None => "keep_ratio is the share of arriving tokens that are kept, for example 0.9".to_owned(),
    };
    Err(ratio.fault(format!("keep_ratio {value} is outside (0, 1]")).label("not a share").hint(hint))
}

/// The share that is meant by a number which reads like a percentage.
fn percent(value: f64) -> Option<f64> {
    (1.0 < value && value < 100.0).then(|| (value * 1e9).round() / 1e11)
}
