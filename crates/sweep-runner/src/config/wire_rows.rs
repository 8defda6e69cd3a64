//! Entries of `decide` about the rows of a probe instead of trials.

use evaluation::probes::{self, Key, Probe, Subject};
use hint::Hint;
use reduction_strategies::spelling::nearest;

use super::claim::RowComparison;
use super::error::{Fault, Span, line_of};
use super::experiment::ProbeVariant;
use super::node::{Node, Value};

pub(super) const MARGIN: &str = "the smallest difference that counts, in percentage points (nats for log-likelihoods, per cent for costs): for example `margin: 2`; a \
                      negative one lets `higher` be worse by that much";

/// [`RowComparison`] as written, with where.
#[derive(Clone)]
pub(super) struct WireRows {
    span: Span,
    comparison: RowComparison,
}

impl WireRows {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let known = ["name", "probe", "measure", "rows", "lower", "higher", "margin"];
        let fields = node.fields("an entry of `decide` about a probe", &known)?;
        let named = fields.need("probe", "name a probe")?.text("`probe`")?;
        let probe = probes::find(&named.value)
            .map_err(|error| named.fault(error.to_string()).label("unknown").maybe_hint(error.hint()))?;
        if probe.subject == Subject::Reduction {
            return Err(named
                .fault(format!("the probe `{}` looks at strategies: a claim cannot rest on its rows yet", probe.name))
                .label("a probe of strategies")
                .hint("compare the strategies themselves, with `lower` and `higher` as selectors of trials"));
        }
        let measures: Vec<&str> = probe.measures.iter().map(|measure| measure.name).collect();
        let measure = fields.need("measure", &format!("it measures {}", measures.join(", ")))?.text("`measure`")?;
        let found = probe.measures.iter().find(|known| known.name == measure.value);
        let found = found.ok_or_else(|| {
            let hint = nearest(&measure.value, measures.iter().copied()).map_or_else(
                || format!("it measures {}", measures.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            measure.fault(format!("the probe `{}` does not measure `{}`", probe.name, measure.value)).hint(hint)
        })?;
        if found.unit != "share" {
            return Err(measure
                .fault(format!("`{}` is in {}: margins are percentage points of shares", found.name, found.unit))
                .label("not a share")
                .hint("compare a measure whose unit is `share`; `sweep probes` lists them"));
        }
        let side = |name: &str| {
            let hint = "name the columns in which the sides differ, for example `{ distance: 32 }`";
            columns(fields.need(name, hint)?, probe, name)?
                .into_iter()
                .map(|(column, node, mut keys)| match keys.pop().filter(|_| keys.is_empty()) {
                    Some(key) => Ok((column, key)),
                    None => Err(node.wrong(&format!("`{name}`"), "one value a column")),
                })
                .collect::<Result<Vec<_>, Fault>>()
        };
        let (lower, higher) = (side("lower")?, side("higher")?);
        if lower.iter().map(|(column, _)| column).ne(higher.iter().map(|(column, _)| column)) {
            return Err(Fault::new(fields.span, "`lower` and `higher` name different columns")
                .label("here")
                .hint("name the same columns, in the same order, on both"));
        }
        if lower == higher {
            return Err(Fault::new(fields.span, "`lower` and `higher` are the same rows")
                .label("here")
                .hint("give a column different values on the two sides"));
        }
        let rows = fields.get("rows").map(|node| columns(node, probe, "rows")).transpose()?.unwrap_or_default();
        let rows: Vec<(String, Vec<Key>)> = rows.into_iter().map(|(column, _, keys)| (column, keys)).collect();
        for column in probe.columns {
            let times = usize::from(lower.iter().any(|(name, _)| name == column.name))
                + usize::from(rows.iter().any(|(name, _)| name == column.name));
            if times != 1 {
                let problem = if times == 0 { "says nothing of" } else { "names twice" };
                return Err(Fault::new(fields.span, format!("the comparison {problem} the column `{}`", column.name))
                    .label("here")
                    .hint(format!(
                        "rows of `{}` differ by {}: each stands either in `rows` or in `lower` and `higher`",
                        probe.name,
                        probe.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
                    )));
            }
        }
        let comparison = RowComparison {
            name: fields.get("name").map(|node| node.text("`name`").map(|name| name.value)).transpose()?,
            probe,
            measure: found,
            rows,
            lower,
            higher,
            margin: margin(fields.need("margin", MARGIN)?)?,
            line: 0,
        };
        Ok(Self { span: fields.span, comparison })
    }

    /// Where it is written.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// The comparison, if the experiment runs its probe in one variant.
    pub(super) fn resolve(&self, probes: &[ProbeVariant], text: &str) -> Result<RowComparison, Fault> {
        let name = self.comparison.probe.name;
        let problem = match probes.iter().filter(|variant| variant.probe.name == name).count() {
            1 => return Ok(RowComparison { line: line_of(self.span, text), ..self.comparison.clone() }),
            0 => format!("the probe `{name}` is not listed"),
            several => format!("the probe `{name}` is listed with {several} sets of options"),
        };
        Err(Fault::new(self.span, problem).label("which rows?").hint(format!("list `{name}` once under `probes`")))
    }
}

/// A margin as written.
pub(super) fn margin(node: &Node) -> Result<f64, Fault> {
    let margin = node.number("`margin`")?;
    if margin.value.is_nan() || margin.value.abs() > 100.0 {
        return Err(margin
            .fault(format!("a margin of {} is beyond 100", margin.value))
            .label("percentage points")
            .hint("write 2 for two percentage points"));
    }
    Ok(margin.value)
}

/// A column of a probe, the node of its values, and the values.
type Column<'n> = (String, &'n Node, Vec<Key>);

/// Columns of a probe with their values, one or more each.
fn columns<'n>(node: &'n Node, probe: &Probe, what: &str) -> Result<Vec<Column<'n>>, Fault> {
    let known: Vec<&str> = probe.columns.iter().map(|column| column.name).collect();
    let what = format!("`{what}`");
    node.fields(&what, &known)?;
    let entries = node.entries(&what)?.iter().map(|(column, value)| {
        let keys = value.one_or_more(&format!("`{}`", column.value))?.iter().map(key).collect::<Result<_, _>>()?;
        Ok((column.value.clone(), value, keys))
    });
    entries.collect()
}

fn key(node: &Node) -> Result<Key, Fault> {
    match &node.value {
        Value::Integer(whole) if *whole >= 0 => Ok(Key::Whole(*whole as u64)),
        Value::Number(number) => Ok(Key::Number(*number)),
        Value::Text(text) if text == "none" => Ok(Key::None),
        Value::Text(text) => Ok(Key::Text(text.clone())),
        _ => Err(node.wrong("a column of a probe", "a number of at least 0 or a word")),
    }
}
