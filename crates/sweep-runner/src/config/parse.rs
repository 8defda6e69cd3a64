//! YAML text to a tree of located nodes. The only module that knows the YAML library.
//!
//! Positions are kept by reading every node through the library's `Spanned`. The tree is untyped on purpose: readers of
//! `node` then decide what a node should have been, so that a wrong type, an unknown key and an impossible value are all
//! reported in one way, and no serde feature that loses positions (untagged, flatten) is needed.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned, Tagged};

use super::error::{Fault, Span, gather};
use super::node::{Located, Node, Value};

/// Largest accepted file; experiments are a few kilobytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// Reads one YAML document.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let options = serde_saphyr::options! {
        // Far above any experiment, far below what an alias bomb expands to.
        budget: serde_saphyr::budget! { max_nodes: 50_000, max_events: 200_000, max_depth: 32, max_documents: 1 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        // `no` and `on` are words here, as in YAML 1.2.
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Place<Raw>>(text, options) {
        Ok(raw) => into_node(raw, text),
        Err(error) => Err(syntax_fault(&error, text)),
    }
}

fn syntax_fault(error: &serde_saphyr::Error, text: &str) -> Fault {
    let span = error.location().map_or(Span { start: 0, len: 0 }, |location| span_of(location, text));
    let message = error.without_snippet().to_string();
    // The library appends the position that the snippet shows anyway.
    let message = message.split(" at line ").next().unwrap_or(&message);
    let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message);
    let (message, hint) = if indent_of(span, text).contains('\t') {
        ("a tab indents this line", "indent with spaces")
    } else if message.contains("Documents {") {
        ("the file holds more than one YAML document", "write one experiment per file, without `---` between parts")
    } else if message.contains("budget breached") {
        ("the file expands to far more values than any experiment has", "check its anchors (`&`) and aliases (`*`)")
    } else if message.contains("duplicate") {
        (message, "each key may stand once; several values of one axis are written as a list")
    } else if message.contains("non-finite float") {
        ("a number must be finite", "write it plainly, for example 0.2")
    } else if message.contains("too large a number") {
        (message, "the largest whole number is 9223372036854775807")
    } else if message.contains("did not find expected '-'") {
        (message, "keys of a list entry are indented more than its `- `, and all `- ` of one list equally")
    } else if message.contains("did not find expected key") && is_entry(span, text) {
        (message, "indent all `- ` of one list equally")
    } else if message.contains("did not find expected key") && !indent_of(span, text).is_empty() {
        ("this line is indented more than the key above it, which has its value", "keys of one map begin in one column")
    } else if message.contains("mapping values are not allowed") {
        ("a second `: ` in one line", "put text that holds `: ` in quotes")
    } else if message.contains("simple key expected") {
        ("a key without a value", "write `key: value`, with a space after the colon")
    } else {
        (message, "check indentation, brackets and quotes around here")
    };
    Fault::new(span, message).hint(hint)
}

/// Whether an entry of a list begins there.
fn is_entry(span: Span, text: &str) -> bool {
    text.get(span.start..).is_some_and(|rest| rest.starts_with("- "))
}

/// The white space before a place at which a line begins; empty at other places.
fn indent_of(span: Span, text: &str) -> &str {
    let before = text.get(..span.start).unwrap_or_default();
    before.rsplit('\n').next().filter(|line| line.trim().is_empty()).unwrap_or_default()
}

/// Byte span of a location; a location without bytes is found from its line and column.
fn span_of(location: Location, text: &str) -> Span {
    let span = location.span();
    if let Some(start) = span.byte_offset() {
        return Span { start: start as usize, len: span.byte_len().map_or(1, |len| len.max(1) as usize) };
    }
    let line_start: usize =
        text.split_inclusive('\n').take((location.line() as usize).saturating_sub(1)).map(str::len).sum();
    let column = (location.column() as usize).saturating_sub(1);
    let within = text[line_start..].char_indices().nth(column).map_or(0, |(offset, _)| offset);
    Span { start: line_start + within, len: 1 }
}

/// A node as the YAML library delivers it.
enum Raw {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Place<Raw>>),
    Map(Vec<(Place<String>, Place<Raw>)>),
}

/// Something with its place and the tag in front of it.
type Place<T> = Spanned<Tagged<T>>;

/// Refuses an entry of a list that swallowed the next ones, which are indented more than it.
fn refuse_swallowed(item: &Node, text: &str) -> Result<(), Fault> {
    let written = text.get(item.span.start..).unwrap_or_default();
    let Value::Text(value) = &item.value else { return Ok(()) };
    if !value.contains(" - ") || written.starts_with(['"', '\'', '|', '>']) {
        return Ok(());
    }
    let mut start = item.span.start;
    for line in written.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        if start != item.span.start && line.trim_start().starts_with("- ") {
            let span = Span { start: start + indent, len: line.trim().len() };
            return Err(Fault::new(
                span,
                "this `- ` is indented more than the entry above it, so that it continues the text of that one",
            )
            .label("indented more")
            .hint("indent all `- ` of one list equally"));
        }
        start += line.len();
    }
    Ok(())
}

fn into_node(raw: Place<Raw>, text: &str) -> Result<Node, Fault> {
    let Located { value, span } = untagged(raw, text)?;
    let value = match value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Integer(value) => Value::Integer(value),
        Raw::Number(value) => Value::Number(value),
        Raw::Text(value) => Value::Text(value),
        Raw::List(items) => {
            let item = |item| into_node(item, text).and_then(|item| refuse_swallowed(&item, text).map(|()| item));
            Value::List(gather(items.into_iter().map(item))?)
        }
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Ok((untagged(key, text)?, into_node(value, text)?)))
                .collect::<Result<_, Fault>>()?,
        ),
    };
    Ok(Located { value, span })
}

/// A tag could change what a value means, and none means anything here: it is refused rather than ignored.
fn untagged<T>(place: Place<T>, text: &str) -> Result<Located<T>, Fault> {
    let span = span_of(place.referenced, text);
    let Tagged(value, tag) = place.value;
    match tag {
        None => Ok(Located { value, span }),
        Some(tag) => Err(Fault::new(span, format!("the YAML tag `{tag}` means nothing here"))
            .label("tagged")
            .hint("remove the tag; quotes make a text of a value")),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Raw, E> {
        i64::try_from(value).map(Raw::Integer).map_err(|_| E::custom(format!("{value} is too large a number")))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries: Vec<(Place<String>, Place<Raw>)> = Vec::new();
        while let Some(key) = access.next_key::<Place<String>>()? {
            if entries.iter().any(|(earlier, _)| earlier.value.0 == key.value.0) {
                return Err(A::Error::custom(format!("duplicate key `{}`", key.value.0)));
            }
            entries.push((key, access.next_value()?));
        }
        Ok(Raw::Map(entries))
    }
}
