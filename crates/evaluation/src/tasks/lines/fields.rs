//! The fields of a line, strict on the way in: each of its type, none unknown, none twice.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Author, Place, Span};
use crate::tasks::TaskError;

/// A line of the file, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    id: Option<Value>,
    pub(super) context: Option<Value>,
    pub(super) target: Option<Value>,
    pub(super) choices: Option<Value>,
    pub(super) contexts: Option<Value>,
    pub(super) gold: Option<Value>,
    pub(super) text: Option<Value>,
    pub(super) scored: Option<Value>,
    pub(super) necessary: Option<Value>,
    pub(super) necessary_by_option: Option<Value>,
    pub(super) recalls: Option<Value>,
    pub(super) distances: Option<Value>,
    pub(super) length: Option<Value>,
    pub(super) depth: Option<Value>,
    /// Anything its author wants to note.
    #[serde(rename = "meta")]
    _meta: Option<Value>,
}

/// What the program's own tasks note of an item for readers. A file of a user notes it in `meta`.
const NOTES: &[&str] = &["book", "distance", "fact", "kind", "necessary_by_query", "options", "p", "pairs", "words"];
/// What they repeat besides where an item has several contexts.
const NOTES_OF_CONTEXTS: &[&str] = &["context", "necessary"];

impl Fields {
    pub(super) fn read(place: &Place<'_>, author: Author, line: &str) -> Result<Self, TaskError> {
        // serde would read a list as the fields in their order.
        let first = line.trim_start();
        if !first.starts_with('{') {
            let shown: String = first.chars().take(20).collect();
            let dots = if first.chars().count() > 20 { "…" } else { "" };
            return Err(place.problem(&format!("a line must be an object, `{{…}}`, not `{shown}{dots}`")));
        }
        let read = match author {
            Author::User => serde_json::from_str(line),
            Author::Program => serde_json::from_str(line).and_then(|mut noted: Map<String, Value>| {
                let further = if noted.contains_key("contexts") { NOTES_OF_CONTEXTS } else { &[] };
                NOTES.iter().chain(further).for_each(|note| drop(noted.remove(*note)));
                serde_json::from_value(Value::Object(noted))
            }),
        };
        read.map_err(|error| {
            // The line that serde_json counts is always the first: one line is all it sees.
            let said = error.to_string();
            let said = said.split(" at line 1 column").next().unwrap_or(&said);
            place.problem(&format!("column {}: {said}", error.column()))
        })
    }

    pub(super) fn id(&self, place: &Place<'_>) -> Result<String, TaskError> {
        let id = place.required("id", place.text("id", self.id.as_ref())?)?;
        if id.trim().is_empty() { Err(place.problem("`id` is empty")) } else { Ok(id) }
    }
}

/// Typed values; none where the field is absent.
impl Place<'_> {
    fn wrong(&self, field: &str, expected: &str, value: &Value) -> TaskError {
        let mut shown = value.to_string();
        if shown.chars().count() > 40 {
            shown = shown.chars().take(40).chain(['…']).collect();
        }
        self.problem(&format!("`{field}` must be {expected}, not {shown}"))
    }

    pub(super) fn text(&self, field: &str, value: Option<&Value>) -> Result<Option<String>, TaskError> {
        let read = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| self.wrong(field, "a text", value));
        value.map(read).transpose()
    }

    pub(super) fn texts(&self, field: &str, value: Option<&Value>) -> Result<Option<Vec<String>>, TaskError> {
        self.list(field, "a list of texts", value, |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn number(&self, field: &str, value: Option<&Value>) -> Result<Option<u32>, TaskError> {
        let read = |value: &Value| whole(value).ok_or_else(|| self.wrong(field, "a whole number from 0", value));
        value.map(read).transpose()
    }

    pub(super) fn numbers(&self, field: &str, value: Option<&Value>) -> Result<Option<Vec<u32>>, TaskError> {
        self.list(field, "a list of whole numbers", value, whole)
    }

    pub(super) fn share(&self, field: &str, value: Option<&Value>) -> Result<Option<f64>, TaskError> {
        let inside = |value: &f64| (0.0..=1.0).contains(value);
        let read = |value: &Value| {
            value.as_f64().filter(inside).ok_or_else(|| self.wrong(field, "a number from 0 to 1", value))
        };
        value.map(read).transpose()
    }

    pub(super) fn spans(&self, field: &str, value: Option<&Value>) -> Result<Option<Vec<Span>>, TaskError> {
        self.list(field, SPANS, value, span)
    }

    pub(super) fn span_lists(&self, field: &str, value: Option<&Value>) -> Result<Option<Vec<Vec<Span>>>, TaskError> {
        let spans = |value: &Value| value.as_array()?.iter().map(span).collect::<Option<Vec<Span>>>();
        self.list(field, "a list with a list of spans for each context", value, spans)
    }

    fn list<T>(
        &self,
        field: &str,
        expected: &str,
        value: Option<&Value>,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, TaskError> {
        let Some(value) = value else { return Ok(None) };
        let list = value.as_array().and_then(|list| list.iter().map(read).collect());
        list.map(Some).ok_or_else(|| self.wrong(field, expected, value))
    }
}

const SPANS: &str = "a list of spans [start, end) in characters, for example [[0, 4], [10, 16]]";

fn whole(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn span(value: &Value) -> Option<Span> {
    match value.as_array()?.as_slice() {
        [start, end] => Some((whole(start)? as usize, whole(end)? as usize)).filter(|(start, end)| start < end),
        _ => None,
    }
}
