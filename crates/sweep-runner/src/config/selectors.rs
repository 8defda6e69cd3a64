//! Maps of `exclude` and `zip`: every value must be one that the grid has, so that a typo cannot select nothing.

use evaluation::{POSITIONS, Positions, Protocol, protocol};
use reduction_strategies::spelling::nearest;

use super::catalog::{ModelFacts, PlannedTask};
use super::error::{Fault, gather, line_of};
use super::experiment::{Amount, Schedule, SiteAxis, Variant};
use super::node::{Located, Node, Value, unknown_key};
use super::selector::{Condition, Selector};
use super::strategies::same_value;
use super::wire::{achieved, after, option_value, says_after};
use super::wire_selector::WireSelector;
use reduction_strategies::schedule::Sites;

/// The axes that selectors speak of.
pub(super) struct Axes<'a> {
    pub(super) models: &'a [ModelFacts],
    pub(super) tasks: &'a [PlannedTask],
    pub(super) protocols: &'a [&'static Protocol],
    pub(super) strategies: &'a [Variant],
    pub(super) positions: &'a [Positions],
    pub(super) schedules: &'a [Schedule],
    pub(super) seed: u64,
}

/// How errors name a reduction that was asked for as achieved.
const ACHIEVED: &str = "flops_reduction (achieved)";

const KEYS: [&str; 9] =
    ["model", "task", "protocol", "strategy", "positions", "flops_reduction", "keep_ratio", "seed", "sites"];

pub(super) fn resolve(selectors: &[WireSelector], axes: &Axes<'_>, text: &str) -> Result<Vec<Selector>, Fault> {
    gather(selectors.iter().map(|wire| {
        let conditions = gather(wire.conditions.iter().map(|(key, value)| axes.condition(key, value)))?;
        let line = line_of(wire.span, text);
        Ok(Selector { conditions, line, reason: wire.reason.clone() })
    }))
}

impl Axes<'_> {
    fn condition(&self, key: &Located<String>, value: &Node) -> Result<Condition, Fault> {
        let name = key.value.as_str();
        Ok(match name {
            "model" => Condition::Model(words(value, name, self.models.iter().map(|model| model.reference.as_str()))?),
            "task" => Condition::Task(words(value, name, self.tasks.iter().map(|task| task.name.as_str()))?),
            "strategy" => Condition::Strategy(words(
                value,
                name,
                self.strategies.iter().map(|variant| variant.strategy.registration.name),
            )?),
            "protocol" => {
                let names = words(value, name, self.protocols.iter().map(|protocol| protocol.name))?;
                Condition::Protocol(names.iter().filter_map(|name| protocol::find(name)).collect())
            }
            "positions" => {
                let names = words(value, name, self.positions.iter().map(|positions| positions.name()))?;
                Condition::Positions(names.iter().filter_map(|name| find_positions(name)).collect())
            }
            "flops_reduction" => match achieved(value)? {
                Some(value) => Condition::AchievedReduction(numbers(value, ACHIEVED, &self.amounts(ACHIEVED))?),
                None if self.amounts(name).is_empty() && !self.amounts(ACHIEVED).is_empty() => {
                    return Err(value
                        .fault("no schedule block sets a nominal flops_reduction")
                        .label("selects nothing")
                        .hint("write `flops_reduction: { achieved: .. }`, as the schedule does"));
                }
                None => Condition::FlopsReduction(numbers(value, name, &self.amounts(name))?),
            },
            "keep_ratio" => Condition::KeepRatio(numbers(value, name, &self.amounts(name))?),
            "seed" => {
                let known: Vec<_> =
                    self.strategies.iter().flat_map(|variant| &variant.seeds).copied().chain([self.seed]).collect();
                let seeds = value.one_or_more("`seed`")?.iter().map(|seed| seed.whole("`seed`", 0));
                Condition::Seed(seeds.map(|seed| on_axis(&seed?, name, &known)).collect::<Result<_, _>>()?)
            }
            "sites" => self.sites(value)?,
            _ => self.option(key, value)?,
        })
    }

    fn amounts(&self, name: &str) -> Vec<f64> {
        let amounts = self.schedules.iter().flat_map(|schedule| &schedule.amounts);
        let mut values: Vec<f64> = amounts
            .filter_map(|amount| match (amount, name) {
                (Amount::FlopsReduction(value), "flops_reduction")
                | (Amount::AchievedReduction(value) | Amount::Calibrated(value), ACHIEVED)
                | (Amount::KeepRatio(value), "keep_ratio") => Some(*value),
                _ => None,
            })
            .collect();
        values.dedup();
        values
    }

    fn sites(&self, value: &Node) -> Result<Condition, Fault> {
        let condition = match &value.value {
            Value::Text(word) if word == "paper" => Condition::NamedSites(Sites::Paper),
            Value::Map(_) if says_after(value) => Condition::NamedSites(Sites::After(after(value)?)),
            Value::Integer(_) => Condition::Sites(vec![value.index("`sites`")?.value]),
            Value::List(_) => {
                let layers = value.list("`sites`")?.iter().map(|layer| layer.index("a layer").map(|layer| layer.value));
                Condition::Sites(layers.collect::<Result<_, _>>()?)
            }
            _ => return Err(value.wrong("`sites`", "`paper`, a layer, a list of layers or {after: KIND}")),
        };
        let planned = self.schedules.iter().any(|schedule| match (&condition, &schedule.sites) {
            (Condition::NamedSites(sites), axis) => *axis == SiteAxis::One(sites.clone()),
            (Condition::Sites(sites), axis) => self
                .models
                .iter()
                .flat_map(|model| {
                    axis.expand(&model.kinds()).into_iter().flatten().map(|set| set.resolve(&model.kinds()))
                })
                .any(|resolved| resolved.is_ok_and(|resolved| resolved == *sites)),
            _ => false,
        });
        if planned {
            return Ok(condition);
        }
        Err(value
            .fault("no schedule block has these sites")
            .label("selects nothing")
            .hint("write the whole site list of the schedule, `paper`, or `after` as the schedule has it"))
    }

    fn option(&self, key: &Located<String>, value: &Node) -> Result<Condition, Fault> {
        let options: Vec<_> = self.strategies.iter().flat_map(|variant| variant.strategy.options.iter()).collect();
        let planned: Vec<_> = options.iter().filter(|(name, _)| *name == key.value).map(|(_, value)| *value).collect();
        if planned.is_empty() {
            let known: Vec<_> = KEYS.into_iter().chain(options.iter().map(|(name, _)| *name)).collect();
            return Err(unknown_key(key, "a selection", &known));
        }
        let values = value.one_or_more(&key.value)?.iter().map(|value| {
            let value = option_value(value, &format!("`{}`", key.value))?;
            if planned.iter().any(|known| same_value(known, &value.value)) {
                return Ok(value.value);
            }
            let mut shown: Vec<_> = planned.iter().map(ToString::to_string).collect();
            shown.dedup();
            let message = format!("no listed strategy has `{}: {}`", key.value, value.value);
            Err(value.fault(message).label("selects nothing").hint(format!("planned values: {}", shown.join(", "))))
        });
        Ok(Condition::Option(key.value.clone(), values.collect::<Result<_, _>>()?))
    }
}

pub(super) fn find_positions(name: &str) -> Option<Positions> {
    POSITIONS.iter().find(|(known, _)| *known == name).map(|(_, positions)| *positions)
}

fn words<'a>(value: &Node, key: &str, known: impl Iterator<Item = &'a str>) -> Result<Vec<String>, Fault> {
    let known: Vec<_> = known.collect();
    let one = |word: &Node| {
        let word = word.text(&format!("`{key}`"))?;
        if known.contains(&word.value.as_str()) {
            return Ok(word.value);
        }
        let hint = match nearest(&word.value, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("listed: {}", known.join(", ")),
        };
        Err(word.fault(format!("{key} `{}` is not in this experiment", word.value)).label("selects nothing").hint(hint))
    };
    value.one_or_more(&format!("`{key}`"))?.iter().map(one).collect()
}

fn numbers(value: &Node, key: &str, known: &[f64]) -> Result<Vec<f64>, Fault> {
    if known.is_empty() {
        return Err(value
            .fault(format!("no schedule block sets {key}"))
            .label("selects nothing")
            .hint("select by the quantity that the schedule gives"));
    }
    let what = format!("`{key}`");
    value.one_or_more(&what)?.iter().map(|number| on_axis(&number.number(&what)?, key, known)).collect()
}

fn on_axis<T: Copy + PartialEq + ToString>(value: &Located<T>, key: &str, known: &[T]) -> Result<T, Fault> {
    if known.contains(&value.value) {
        return Ok(value.value);
    }
    let shown: Vec<_> = known.iter().map(ToString::to_string).collect();
    Err(value
        .fault(format!("{key} {} is not planned", value.value.to_string()))
        .label("selects nothing")
        .hint(format!("planned values: {}", shown.join(", "))))
}
