//! Strategies that a caller adds to those of the file.

use super::error::{Fault, Span};
use super::node::{Located, Node, Value};
use super::parse;

/// Adds the entries of `list`, a YAML list, to `strategies`. Errors in them point at that key.
pub(super) fn add_strategies(file: &mut Node, list: &str) -> Result<(), Fault> {
    let whole = Span { start: file.span.start, len: 0 };
    // The list has no place in the file, and neither have faults of it.
    let mut added =
        parse::parse(list).map_err(|_| Fault::new(whole, format!("the added strategies are no list: {list}")))?;
    let Value::Map(entries) = &mut file.value else { return Ok(()) };
    let own = entries.iter_mut().find(|(key, _)| key.value == "strategies");
    let span = own.as_ref().map_or(whole, |(key, _)| key.span);
    place(&mut added, span);
    match (own, added.value) {
        (Some((_, Node { value: Value::List(own), .. })), Value::List(added)) => own.extend(added),
        // What is no list is refused where it is read.
        (Some(_), _) => {}
        (None, value) => {
            entries.push((Located { value: "strategies".to_owned(), span }, Node { value, span }));
        }
    }
    Ok(())
}

/// Gives a tree the place `span`.
fn place(node: &mut Node, span: Span) {
    node.span = span;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| place(item, span)),
        Value::Map(entries) => {
            for (key, value) in entries {
                key.span = span;
                place(value, span);
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => {}
    }
}
