//! Entries of `strategies`: option axes checked against the registry and multiplied out.

use std::collections::BTreeMap;

use hint::Hint;
use reduction_strategies::options::{OptionInfo, OptionValue};
use reduction_strategies::registry::{self, Registration, Strategy};
use reduction_strategies::spelling::nearest;

use super::error::{Fault, Faults, gather};
use super::experiment::Variant;
use super::node::{Located, refuse_duplicates, unknown_key};
use super::wire::{WireOption, WireSeeds, WireStrategy};

/// Most combinations of options that one entry may ask for; more is a slip of the pen.
const MAX_VARIANTS: usize = 10_000;

pub(super) fn resolve(entries: &[WireStrategy]) -> Result<Vec<Variant>, Fault> {
    let entry = |(index, entry): (usize, &WireStrategy)| resolve_entry(entry, &entries[..index]);
    Ok(gather(entries.iter().enumerate().map(entry))?.into_iter().flatten().collect())
}

fn resolve_entry(entry: &WireStrategy, earlier: &[WireStrategy]) -> Result<Vec<Variant>, Fault> {
    let registration = registry::find(&entry.name.value)
        .map_err(|error| entry.name.fault(error.to_string()).label("unknown").maybe_hint(error.hint()))?;
    if earlier.iter().any(|earlier| same_entry(earlier, entry)) {
        return Err(entry
            .name
            .fault(format!("`strategies` lists `{}` twice with the same options", entry.name.value))
            .label("again here")
            .hint("remove one of them"));
    }
    let mut faults = Faults::default();
    let seeds = entry.seeds.as_ref().map_or(Ok(Vec::new()), |seeds| check_seeds(registration, seeds));
    let seeds = faults.note(seeds).unwrap_or_default();
    let Registration { name, options, seeded, .. } = *registration;
    let declared = Declared { name, what: "strategy", options, seeded };
    for option in &entry.options {
        faults.note(check_option(&declared, option));
    }
    faults.done(())?;
    let variant = |options: BTreeMap<String, OptionValue>| {
        let strategy = Strategy::new(registration.name, &options)
            .map_err(|error| entry.name.fault(error.to_string()).maybe_hint(error.hint()))?;
        Ok(Variant { strategy, seeds: seeds.clone() })
    };
    product(entry)?.into_iter().map(variant).collect()
}

fn same_entry(left: &WireStrategy, right: &WireStrategy) -> bool {
    let options = |entry: &WireStrategy| -> BTreeMap<String, Vec<String>> {
        let values = |option: &WireOption| option.values.iter().map(|value| value.value.to_string()).collect();
        entry.options.iter().map(|option| (option.key.value.clone(), values(option))).collect()
    };
    let seeds = |entry: &WireStrategy| -> Option<Vec<u64>> {
        entry.seeds.as_ref().map(|seeds| seeds.values.iter().map(|seed| seed.value).collect())
    };
    left.name.value == right.name.value && options(left) == options(right) && seeds(left) == seeds(right)
}

fn check_seeds(registration: &Registration, seeds: &WireSeeds) -> Result<Vec<u64>, Fault> {
    if !registration.seeded {
        return Err(Fault::new(seeds.key, format!("strategy `{}` draws no random numbers", registration.name))
            .label("no use for seeds")
            .hint("remove `seeds`; repeating a deterministic trial adds nothing"));
    }
    refuse_duplicates(&seeds.values, "`seeds`", PartialEq::eq, ToString::to_string)?;
    Ok(seeds.values.iter().map(|seed| seed.value).collect())
}

/// What takes options, and which.
pub(super) struct Declared<'a> {
    pub(super) name: &'a str,
    /// `strategy` or `probe`.
    pub(super) what: &'static str,
    pub(super) options: &'static [OptionInfo],
    /// Whether it takes `seeds` too.
    pub(super) seeded: bool,
}

/// Refuses an option that is not declared, or values that it does not take.
pub(super) fn check_option(declared: &Declared<'_>, option: &WireOption) -> Result<(), Fault> {
    let Some(info) = declared.options.iter().find(|info| info.name == option.key.value) else {
        let mut known: Vec<_> = declared.options.iter().map(|info| info.name).collect();
        if declared.seeded {
            known.push("seeds");
        }
        let fault = unknown_key(&option.key, &format!("the options of `{}`", declared.name), &known);
        return Err(if known.is_empty() {
            fault.hint(format!("this {} takes no options", declared.what))
        } else {
            fault
        });
    };
    gather(option.values.iter().map(|value| check_value(info, value)))?;
    refuse_duplicates(&option.values, &format!("`{}`", info.name), same_value, ToString::to_string)
}

fn check_value(info: &OptionInfo, value: &Located<OptionValue>) -> Result<(), Fault> {
    info.check(&value.value).map(|_| ()).map_err(|error| {
        let word = if let OptionValue::Word(word) = &value.value { Some(word) } else { None };
        let near = match info.kind {
            reduction_strategies::options::OptionKind::Choice(words) => {
                word.and_then(|word| nearest(word, words.iter().copied()))
            }
            _ => None,
        };
        let hint = near.map(|near| format!("did you mean `{near}`?")).or_else(|| error.hint());
        value
            .fault(error.to_string())
            .label("not allowed")
            .maybe_hint(hint.or_else(|| Some(format!("`{}` takes {}", info.name, info.kind))))
    })
}

/// Whether two option values mean the same: whole and real numbers compare by value.
pub(crate) fn same_value(left: &OptionValue, right: &OptionValue) -> bool {
    let number = |value: &OptionValue| match value {
        OptionValue::Integer(value) => Some(*value as f64),
        OptionValue::Number(value) => Some(*value),
        OptionValue::Word(_) => None,
    };
    match (number(left), number(right)) {
        (Some(left), Some(right)) => left.to_bits() == right.to_bits() || (left - right).abs() <= 0.0,
        _ => left == right,
    }
}

/// All combinations of an entry's option values; the last option varies fastest.
pub(super) fn product(entry: &WireStrategy) -> Result<Vec<BTreeMap<String, OptionValue>>, Fault> {
    let size = entry.options.iter().try_fold(1_usize, |size, option| size.checked_mul(option.values.len()));
    if size.is_none_or(|size| size > MAX_VARIANTS) {
        return Err(entry
            .name
            .fault(format!("the options of `{}` multiply to more than {MAX_VARIANTS} variants", entry.name.value))
            .hint("split the experiment, or shorten an axis"));
    }
    let mut all = vec![BTreeMap::new()];
    for option in &entry.options {
        all = all
            .into_iter()
            .flat_map(|partial: BTreeMap<String, OptionValue>| {
                option.values.iter().map(move |value| {
                    let mut options = partial.clone();
                    options.insert(option.key.value.clone(), value.value.clone());
                    options
                })
            })
            .collect();
    }
    Ok(all)
}
