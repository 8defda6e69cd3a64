//! Bridges as written to bridges, or a refusal.

use super::bridge::{Bridge, Step};
use super::error::{Fault, gather};
use super::selector::{Condition, Selector};
use super::selectors::{self, Axes};
use super::wire_bridge::{WireBridge, WireStep};

/// The bridges as written, checked against the axes of the experiment.
pub(super) fn resolve(written: &[WireBridge], axes: &Axes<'_>, text: &str) -> Result<Vec<Bridge>, Fault> {
    let mut names: Vec<&str> = Vec::new();
    for bridge in written {
        let name = bridge.name.value.as_str();
        if names.contains(&name) {
            return Err(bridge.name.fault(format!("two bridges are called `{name}`")).hint("name them apart"));
        }
        names.push(name);
    }
    gather(written.iter().map(|bridge| {
        let steps = bridge.steps.iter().enumerate().map(|(index, step)| resolve_step(step, index == 0, axes, text));
        Ok(Bridge { name: bridge.name.value.clone(), steps: gather(steps)? })
    }))
}

fn resolve_step(step: &WireStep, is_first: bool, axes: &Axes<'_>, text: &str) -> Result<Step, Fault> {
    let mut resolved = selectors::resolve(std::slice::from_ref(&step.selector), axes, text)?;
    let selector = resolved.pop().unwrap_or_else(|| unreachable!("one selector gives one"));
    if !is_first && !is_one_change(&selector) {
        return Err(Fault::new(step.selector.span, format!("{selector} is not one change"))
            .label("more than one, or none that a bridge can make")
            .hint("name one of `strategy`, `protocol`, `positions` or an option, with one value; the rest stays as it was"));
    }
    Ok(Step { factor: step.factor.clone(), selector })
}

fn is_one_change(selector: &Selector) -> bool {
    match selector.conditions.as_slice() {
        [Condition::Strategy(values)] => values.len() == 1,
        [Condition::Protocol(values)] => values.len() == 1,
        [Condition::Positions(values)] => values.len() == 1,
        [Condition::Option(_, values)] => values.len() == 1,
        _ => false,
    }
}
