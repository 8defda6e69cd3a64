//! `claim` as written: every key typed.

use records::claim::{QUANTITIES, Quantity, STATUSES, Status};
use reduction_strategies::spelling::nearest;

use super::error::{Fault, Span, gather};
use super::node::{Located, Node};
use super::wire_rows::{MARGIN, WireRows, margin};
use super::wire_selector::WireSelector;

/// `claim` as written.
pub(super) struct WireClaim {
    pub(super) expect: String,
    pub(super) seen: Option<String>,
    pub(super) status: Status,
    pub(super) estimand: Option<String>,
    pub(super) population: Option<String>,
    pub(super) margin_reason: Option<String>,
    pub(super) decide: Vec<WireEntry>,
}

/// One entry of `decide`.
pub(super) enum WireEntry {
    Trials(WireComparison),
    Rows(WireRows),
}

impl WireEntry {
    /// Where it is written.
    pub(super) fn span(&self) -> Span {
        match self {
            Self::Trials(entry) => entry.lower.span,
            Self::Rows(entry) => entry.span(),
        }
    }
}

/// An entry about trials.
pub(super) struct WireComparison {
    pub(super) name: Option<String>,
    pub(super) lower: WireSelector,
    pub(super) higher: WireSelector,
    pub(super) quantity: Quantity,
    pub(super) margin: f64,
}

impl WireClaim {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let known = ["expect", "estimand", "population", "margin_reason", "seen", "status", "decide"];
        let fields = node.fields("`claim`", &known)?;
        let expect = fields.need("expect", "write what is claimed, in words")?.text("`expect`")?.value;
        let decide = fields.need("decide", "list the comparisons: `- { lower: .., higher: .., margin: 2 }`")?;
        let words = |key: &str| {
            let text = |node: &Node| node.text(&format!("`{key}`")).map(|text| text.value.trim().to_owned());
            fields.get(key).map(text).transpose()
        };
        Ok(Self {
            expect: expect.trim().to_owned(),
            estimand: words("estimand")?,
            population: words("population")?,
            margin_reason: words("margin_reason")?,
            seen: words("seen")?,
            status: match fields.get("status") {
                Some(node) => word(node, "`status`", &STATUSES)?,
                None => Status::default(),
            },
            decide: gather(decide.list("`decide`")?.iter().map(WireEntry::read))?,
        })
    }
}

impl WireEntry {
    fn read(node: &Node) -> Result<Self, Fault> {
        let about_probe = node.entries("an entry of `decide`")?.iter().any(|(key, _)| key.value == "probe");
        if about_probe { WireRows::read(node).map(Self::Rows) } else { WireComparison::read(node).map(Self::Trials) }
    }
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
                Some(node) => word(node, "`quantity`", &QUANTITIES[..6])?,
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
