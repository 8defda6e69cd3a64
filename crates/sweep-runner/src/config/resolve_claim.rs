//! A claim as written to a claim, or a refusal.

use super::claim::{Claim, Comparison, Entry};
use super::error::{Fault, gather};
use super::experiment::{ProbeVariant, Variant};
use super::selector::{Condition, Selector};
use super::selectors::{self, Axes};
use super::strategies::same_value;
use super::wire_claim::{WireClaim, WireEntry};
use super::wire_selector::WireSelector;

/// The claim as written, checked against the axes and the probes of the experiment.
pub(super) fn resolve(
    written: &WireClaim,
    axes: &Axes<'_>,
    probes: &[ProbeVariant],
    text: &str,
) -> Result<Claim, Fault> {
    let decide = written.decide.iter().map(|entry| {
        let wire = match entry {
            WireEntry::Trials(wire) => wire,
            WireEntry::Rows(wire) => return Ok(Entry::Rows(wire.resolve(probes, text)?)),
        };
        let side = |side: &WireSelector| {
            let mut resolved = selectors::resolve(std::slice::from_ref(side), axes, text)?;
            let selector = resolved.pop().unwrap_or_else(|| unreachable!("one selector gives one"));
            check_strategy(&selector, side, axes)?;
            Ok::<_, Fault>(selector)
        };
        Ok(Entry::Trials(Comparison {
            name: wire.name.clone(),
            lower: side(&wire.lower)?,
            higher: side(&wire.higher)?,
            quantity: wire.quantity,
            margin: wire.margin,
        }))
    });
    let decide = gather(decide)?;
    for (index, entry) in decide.iter().enumerate() {
        if let Some(first) = decide[..index].iter().position(|other| entry.is_same(other)) {
            let (own, first) = (index + 1, first + 1);
            let problem = if entry.name().is_some() && entry.name() == decide[first - 1].name() {
                format!("entry {own} of `decide` has the name of entry {first}")
            } else {
                format!("entry {own} of `decide` is entry {first} again")
            };
            return Err(Fault::new(written.decide[index].span(), problem)
                .label("here")
                .hint("each entry is corrected for all others: write one, and give entries names of their own"));
        }
    }
    Ok(Claim {
        expect: written.expect.clone(),
        seen: written.seen.clone(),
        status: written.status,
        estimand: written.estimand.clone(),
        population: written.population.clone(),
        margin_reason: written.margin_reason.clone(),
        decide,
    })
}

/// Some listed strategy must have the name and the options that a side asks for together.
fn check_strategy(selector: &Selector, wire: &WireSelector, axes: &Axes<'_>) -> Result<(), Fault> {
    let fits = |condition: &Condition, variant: &Variant| match condition {
        Condition::Strategy(names) => names.iter().any(|name| name == variant.strategy.registration.name),
        Condition::Option(name, values) => {
            variant.strategy.options.get(name).is_some_and(|own| values.iter().any(|value| same_value(value, own)))
        }
        _ => true,
    };
    if axes.strategies.iter().any(|variant| selector.conditions.iter().all(|condition| fits(condition, variant))) {
        return Ok(());
    }
    Err(Fault::new(wire.span, format!("no listed strategy is {selector}"))
        .label("selects nothing")
        .hint("add it to `strategies` with these options, or select what is there"))
}
