//! One line of a task file, strict on the way in, and the item that it becomes.

use serde::Deserialize;

use super::{Context, Item, ItemFacts, Request, TaskError, TaskKind};
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
    necessary: Option<Spans>,
    necessary_by_option: Option<Vec<Spans>>,
    text: Option<String>,
    recalls: Option<Spans>,
    // What the item varies: for people, and for breaking results down outside of this crate.
    #[serde(rename = "necessary_by_query")]
    _necessary_by_query: Option<Vec<Spans>>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    #[serde(rename = "fact")]
    _fact: Option<String>,
    #[serde(rename = "pairs")]
    _pairs: Option<u32>,
    length: Option<u32>,
    depth: Option<f64>,
}

/// Where a line stands, for errors.
struct Place<'a> {
    file: &'a str,
    line: usize,
    tokenizer: &'a Tokenizer,
}

/// The item of a line of a task of this kind.
pub(super) fn item(
    file: &str,
    line: usize,
    text: &str,
    kind: TaskKind,
    tokenizer: &Tokenizer,
) -> Result<Item, TaskError> {
    let place = Place { file, line, tokenizer };
    let wire: WireItem = serde_json::from_str(text).map_err(|error| place.problem(&error.to_string()))?;
    place.item(kind, wire)
}

impl Place<'_> {
    fn item(&self, kind: TaskKind, wire: WireItem) -> Result<Item, TaskError> {
        let mut item = Item {
            id: wire.id,
            gold: wire.gold,
            contexts: Vec::new(),
            requests: Vec::new(),
            recalls: Vec::new(),
            facts: ItemFacts { length: wire.length, depth: wire.depth, ..ItemFacts::default() },
        };
        // What a form of item does not use must not be there: it would look as if it had an effect.
        let mut unused = vec![];
        match (kind, wire.text, wire.contexts, wire.context, wire.choices, wire.target) {
            (TaskKind::RunningText, Some(text), None, None, None, None) => {
                unused.extend([
                    ("gold", wire.gold.is_some()),
                    ("scored", wire.scored.is_some()),
                    ("necessary", wire.necessary.is_some()),
                    ("necessary_by_option", wire.necessary_by_option.is_some()),
                    ("options", wire.options.is_some()),
                ]);
                let encoding = self.encode(&text, "text")?;
                item.recalls = self.positions(&encoding, &self.required("recalls", wire.recalls)?, "recalls")?;
                if encoding.ids.len() < 2 {
                    return Err(self.problem("`text` has fewer than two tokens"));
                }
                item.contexts.push(Context { tokens: encoding.ids, necessary: Vec::new() });
            }
            // `context`, `options` and `necessary` repeat for people what the other fields say.
            (TaskKind::MultipleChoice, None, Some(contexts), _, None, Some(target)) => {
                unused.push(("recalls", wire.recalls.is_some()));
                let necessary = self.required("necessary_by_option", wire.necessary_by_option)?;
                if necessary.len() != contexts.len()
                    || wire.options.is_some_and(|options| options.len() != contexts.len())
                {
                    return Err(self.problem("`contexts`, `options` and `necessary_by_option` differ in length"));
                }
                for (index, (context, necessary)) in contexts.iter().zip(&necessary).enumerate() {
                    item.contexts.push(self.context(context, necessary)?);
                    item.requests.push(self.request(index, &target, "target", wire.scored.as_ref())?);
                }
                self.check_gold(&item)?;
            }
            (TaskKind::MultipleChoice, None, None, Some(context), Some(choices), None) => {
                unused.extend([
                    ("scored", wire.scored.is_some()),
                    ("necessary_by_option", wire.necessary_by_option.is_some()),
                    ("options", wire.options.is_some()),
                    ("recalls", wire.recalls.is_some()),
                ]);
                item.contexts.push(self.context(&context, &self.required("necessary", wire.necessary)?)?);
                for choice in &choices {
                    item.requests.push(self.request(0, choice, "choices", None)?);
                }
                self.check_gold(&item)?;
            }
            (TaskKind::Target, None, None, Some(context), None, Some(target)) => {
                unused.extend([
                    ("gold", wire.gold.is_some()),
                    ("necessary_by_option", wire.necessary_by_option.is_some()),
                    ("options", wire.options.is_some()),
                    ("recalls", wire.recalls.is_some()),
                ]);
                item.contexts.push(self.context(&context, &self.required("necessary", wire.necessary)?)?);
                item.requests.push(self.request(0, &target, "target", wire.scored.as_ref())?);
            }
            _ => return Err(self.problem(form(kind))),
        }
        match unused.iter().find(|(_, present)| *present) {
            Some((field, _)) => Err(self.problem(&format!("`{field}` has no meaning here"))),
            None => Ok(item),
        }
    }

    fn required<T>(&self, field: &str, value: Option<T>) -> Result<T, TaskError> {
        value.ok_or_else(|| self.problem(&format!("missing field `{field}`")))
    }

    fn check_gold(&self, item: &Item) -> Result<(), TaskError> {
        let choices = item.requests.len();
        if choices < 2 {
            return Err(self.problem(&format!("an item to choose from has {choices} choices, expected two or more")));
        }
        let gold = self.required("gold", item.gold)?;
        if gold as usize >= choices {
            return Err(self.problem(&format!("`gold` is {gold}, but there are {choices} choices")));
        }
        Ok(())
    }

    fn context(&self, text: &str, necessary: &Spans) -> Result<Context, TaskError> {
        let encoding = self.encode(text, "context")?;
        let necessary = self.positions(&encoding, necessary, "necessary")?;
        Ok(Context { tokens: encoding.ids, necessary })
    }

    fn request(&self, context: usize, text: &str, field: &str, scored: Option<&Spans>) -> Result<Request, TaskError> {
        let encoding = self.encode(text, field)?;
        let scored = match scored {
            Some(spans) => self.positions(&encoding, spans, "scored")?,
            None => (0..encoding.ids.len() as u32).collect(),
        };
        if scored.is_empty() {
            return Err(self.problem("`scored` names no token"));
        }
        Ok(Request { context, continuation: encoding.ids, scored, characters: text.trim_start().chars().count() })
    }

    fn encode(&self, text: &str, what: &str) -> Result<Encoding, TaskError> {
        let encoding = self.tokenizer.encode_known(text).map_err(|error| TaskError::Tokenizer {
            file: self.file_name(),
            line: self.line,
            error,
        })?;
        if encoding.ids.is_empty() { Err(self.problem(&format!("`{what}` has an empty text"))) } else { Ok(encoding) }
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

    fn file_name(&self) -> String {
        format!("{}.jsonl", self.file)
    }

    fn problem(&self, problem: &str) -> TaskError {
        TaskError::Line { file: self.file_name(), line: self.line, problem: problem.to_owned() }
    }
}

/// The fields that make an item of a task.
fn form(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::MultipleChoice => {
            "an item of this task has `context`, `choices` and `gold`, or `contexts`, `target` and `gold`"
        }
        TaskKind::Target => "an item of this task has `context` and `target`",
        TaskKind::RunningText => "an item of this task has `text`",
    }
}

#[cfg(test)]
mod tests;
