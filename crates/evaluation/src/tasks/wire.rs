//! One line of a task file, strict on the way in, and the item that it becomes.

use serde::Deserialize;

use super::{Context, Item, Request, TaskError};
use crate::tokenizer::{Encoding, Tokenizer};

type Spans = Vec<(usize, usize)>;

/// A line as it stands in the file; the README of the reference tasks describes the fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireItem {
    id: String,
    context: Option<String>,
    choices: Option<Vec<String>>,
    contexts: Option<Vec<String>>,
    options: Option<Vec<String>>,
    target: Option<String>,
    gold: Option<u32>,
    scored: Option<Spans>,
    #[serde(default)]
    necessary: Spans,
    necessary_by_option: Option<Vec<Spans>>,
    #[serde(default, rename = "necessary_by_query")]
    _necessary_by_query: Option<serde_json::Value>,
    text: Option<String>,
    #[serde(default)]
    recalls: Spans,
    #[serde(default, rename = "kind")]
    _kind: Option<serde_json::Value>,
    #[serde(default, rename = "fact")]
    _fact: Option<serde_json::Value>,
    #[serde(default, rename = "pairs")]
    _pairs: Option<serde_json::Value>,
    #[serde(default, rename = "length")]
    _length: Option<serde_json::Value>,
    #[serde(default, rename = "depth")]
    _depth: Option<serde_json::Value>,
}

/// Where a line stands, for errors.
struct Place<'a> {
    file: &'a str,
    line: usize,
    tokenizer: &'a Tokenizer,
}

/// The item of a line.
pub(super) fn item(file: &str, line: usize, text: &str, tokenizer: &Tokenizer) -> Result<Item, TaskError> {
    let place = Place { file, line, tokenizer };
    let wire: WireItem = serde_json::from_str(text).map_err(|error| place.problem(&error.to_string()))?;
    let item = place.item(wire)?;
    if let Some(gold) = item.gold
        && gold as usize >= item.requests.len()
    {
        return Err(place.problem(&format!("gold is {gold}, but there are {} choices", item.requests.len())));
    }
    Ok(item)
}

impl Place<'_> {
    fn item(&self, wire: WireItem) -> Result<Item, TaskError> {
        let mut item =
            Item { id: wire.id, gold: wire.gold, contexts: Vec::new(), requests: Vec::new(), recalls: Vec::new() };
        match (wire.text, wire.contexts, wire.context, wire.choices, wire.target) {
            (Some(text), None, None, None, None) => {
                let encoding = self.encode(&text, "text")?;
                item.recalls = self.positions(&encoding, &wire.recalls, "recalls")?;
                if encoding.ids.len() < 2 {
                    return Err(self.problem("`text` has fewer than two tokens"));
                }
                item.contexts.push(Context { tokens: encoding.ids, necessary: Vec::new() });
            }
            (None, Some(contexts), _, None, Some(target)) => {
                let necessary = wire.necessary_by_option.unwrap_or_else(|| vec![Spans::new(); contexts.len()]);
                let counts = [contexts.len(), necessary.len(), wire.options.as_ref().map_or(contexts.len(), Vec::len)];
                if counts != [contexts.len(); 3] {
                    return Err(self.problem("`contexts`, `options` and `necessary_by_option` differ in length"));
                }
                for (index, (context, necessary)) in contexts.iter().zip(&necessary).enumerate() {
                    item.contexts.push(self.context(context, necessary)?);
                    item.requests.push(self.request(index, &target, wire.scored.as_ref())?);
                }
            }
            (None, None, Some(context), Some(choices), None) => {
                item.contexts.push(self.context(&context, &wire.necessary)?);
                for choice in &choices {
                    item.requests.push(self.request(0, choice, None)?);
                }
            }
            (None, None, Some(context), None, Some(target)) => {
                item.contexts.push(self.context(&context, &wire.necessary)?);
                item.requests.push(self.request(0, &target, wire.scored.as_ref())?);
            }
            _ => {
                return Err(self.problem(
                    "an item has `text`, or `context` with `choices` or `target`, or `contexts` with `target`",
                ));
            }
        }
        if item.requests.len() > 1 && item.gold.is_none() {
            return Err(self.problem("missing field `gold`"));
        }
        Ok(item)
    }

    fn context(&self, text: &str, necessary: &Spans) -> Result<Context, TaskError> {
        let encoding = self.encode(text, "context")?;
        let necessary = self.positions(&encoding, necessary, "necessary")?;
        Ok(Context { tokens: encoding.ids, necessary })
    }

    fn request(&self, context: usize, text: &str, scored: Option<&Spans>) -> Result<Request, TaskError> {
        let encoding = self.encode(text, "continuation")?;
        let scored = match scored {
            Some(spans) => self.positions(&encoding, spans, "scored")?,
            None => (0..encoding.ids.len() as u32).collect(),
        };
        Ok(Request { context, continuation: encoding.ids, scored, bytes: text.trim_start().len() })
    }

    fn encode(&self, text: &str, what: &str) -> Result<Encoding, TaskError> {
        let encoding = self.tokenizer.encode(text).map_err(|error| TaskError::Tokenizer {
            file: self.file.to_owned(),
            line: self.line,
            error,
        })?;
        if encoding.ids.is_empty() { Err(self.problem(&format!("the {what} is empty"))) } else { Ok(encoding) }
    }

    /// Token positions of character spans, ascending; every span must be exactly one token.
    fn positions(&self, encoding: &Encoding, spans: &Spans, field: &str) -> Result<Vec<u32>, TaskError> {
        let mut positions = Vec::with_capacity(spans.len());
        for span in spans {
            let position = encoding.spans.iter().position(|token| token == span);
            let position = position
                .ok_or_else(|| self.problem(&format!("`{field}` has {span:?}, which is not exactly one token")))?;
            positions.push(position as u32);
        }
        positions.sort_unstable();
        positions.dedup();
        Ok(positions)
    }

    fn problem(&self, problem: &str) -> TaskError {
        TaskError::Line { file: format!("{}.jsonl", self.file), line: self.line, problem: problem.to_owned() }
    }
}
