//! `claim`: what somebody says is so, and the comparisons that decide it.
//!
//! The sides of a comparison are selectors as those of `exclude`; which trials they meet is settled by the plan.

use records::claim::{QUANTITIES, Quantity, SHARES, Share};
use reduction_strategies::spelling::nearest;

use super::claim_rows::{RowComparison, WireRows};
use super::error::Fault;
use super::experiment::{Condition, ProbeVariant, Selector};
use super::node::{Located, Node};
use super::selectors::{self, Axes};
use super::strategies::same_value;
use super::wire::WireSelector;

/// A claim and the rule that decides it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is claimed, in words.
    pub expect: String,
    /// What of the data its author had seen before the comparisons and margins were fixed, in words.
    pub seen: Option<String>,
    /// How many of the comparisons must hold.
    pub share: Share,
    /// What decides it, in file order.
    pub decide: Vec<Entry>,
}

/// One entry of `decide`.
#[derive(Clone, Debug)]
pub enum Entry {
    /// About trials.
    Trials(Comparison),
    /// About the rows of a probe.
    Rows(RowComparison),
}

/// An entry about trials: on `quantity`, `higher` is above `lower` by more than `margin`.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What is compared, in words.
    pub name: Option<String>,
    /// The side that is claimed to be lower.
    pub lower: Selector,
    /// The side that is claimed to be higher.
    pub higher: Selector,
    /// What is compared.
    pub quantity: Quantity,
    /// Smallest difference that counts; percentage points for accuracies, per cent for costs.
    pub margin: f64,
}

/// `claim` as written.
pub(super) struct WireClaim {
    expect: String,
    seen: Option<String>,
    share: Share,
    decide: Vec<WireEntry>,
}

enum WireEntry {
    Trials(WireComparison),
    Rows(WireRows),
}

struct WireComparison {
    name: Option<String>,
    lower: WireSelector,
    higher: WireSelector,
    quantity: Quantity,
    margin: f64,
}

pub(super) const MARGIN: &str = "the smallest difference that counts, in percentage points (per cent for costs): for example `margin: 2`; a \
                      negative one lets `higher` be worse by that much";

impl WireClaim {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let fields = node.fields("`claim`", &["expect", "seen", "share", "decide"])?;
        let expect = fields.need("expect", "write what is claimed, in words")?.text("`expect`")?.value;
        let decide = fields.need("decide", "list the comparisons: `- { lower: .., higher: .., margin: 2 }`")?;
        Ok(Self {
            expect: expect.trim().to_owned(),
            seen: fields
                .get("seen")
                .map(|node| node.text("`seen`").map(|text| text.value.trim().to_owned()))
                .transpose()?,
            share: match fields.get("share") {
                Some(node) => word(node, "`share`", &SHARES)?,
                None => Share::All,
            },
            decide: decide.list("`decide`")?.iter().map(WireEntry::read).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn resolve(&self, axes: &Axes<'_>, probes: &[ProbeVariant], text: &str) -> Result<Claim, Fault> {
        let decide = self.decide.iter().map(|entry| {
            let wire = match entry {
                WireEntry::Trials(wire) => wire,
                WireEntry::Rows(wire) => return Ok(Entry::Rows(wire.resolve(probes)?)),
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
        Ok(Claim {
            expect: self.expect.clone(),
            seen: self.seen.clone(),
            share: self.share,
            decide: decide.collect::<Result<_, Fault>>()?,
        })
    }
}

/// Some listed strategy must have the name and the options that a side asks for together.
fn check_strategy(selector: &Selector, wire: &WireSelector, axes: &Axes<'_>) -> Result<(), Fault> {
    let fits = |condition: &Condition, variant: &super::Variant| match condition {
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

impl WireEntry {
    fn read(node: &Node) -> Result<Self, Fault> {
        let about_probe = node.entries("an entry of `decide`")?.iter().any(|(key, _)| key.value == "probe");
        if about_probe {
            WireRows::read(node, margin).map(Self::Rows)
        } else {
            WireComparison::read(node).map(Self::Trials)
        }
    }
}

fn margin(node: &Node) -> Result<f64, Fault> {
    let margin = node.number("`margin`")?;
    if margin.value.is_nan() || margin.value.abs() > 100.0 {
        return Err(margin
            .fault(format!("a margin of {} is beyond 100", margin.value))
            .label("percentage points")
            .hint("write 2 for two percentage points"));
    }
    Ok(margin.value)
}

impl WireComparison {
    fn read(node: &Node) -> Result<Self, Fault> {
        let fields = node.fields("an entry of `decide`", &["name", "lower", "higher", "quantity", "margin"])?;
        let side = |name: &str| {
            let hint = "select the arms of this side, for example `{ strategy: random }`";
            WireSelector::read(fields.need(name, hint)?, name)
        };
        let margin = margin(fields.need("margin", MARGIN)?)?;
        Ok(Self {
            name: fields.get("name").map(|node| node.text("`name`").map(|name| name.value)).transpose()?,
            lower: side("lower")?,
            higher: side("higher")?,
            quantity: match fields.get("quantity") {
                Some(node) => word(node, "`quantity`", &QUANTITIES[..4])?,
                None => Quantity::Accuracy,
            },
            margin,
        })
    }
}

fn word<T: Copy>(node: &Node, what: &str, known: &[(&str, T)]) -> Result<T, Fault> {
    let Located { value: written, .. } = node.text(what)?;
    known.iter().find(|(word, _)| *word == written).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
        let hint = match nearest(&written, words.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known words: {}", words.join(", ")),
        };
        node.fault(format!("{what} cannot be `{written}`")).label("unknown").hint(hint)
    })
}
