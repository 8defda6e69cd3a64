//! Items as lines of JSON: the format of the reference tasks, of the tasks over books, and of tasks of a user.
//!
//! A line is checked as text first, without a tokenizer; [`encode`] puts it in the tokens of a model.

mod encode;
mod fields;

pub(super) use encode::encode;
use fields::Fields;

use super::{TaskError, TaskKind};

/// A stretch of a text: `[start, end)` in characters.
pub(super) type Span = (usize, usize);

/// An item as text: what a line says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TextItem {
    pub(super) id: String,
    pub(super) gold: Option<u32>,
    /// One or more contexts; for running text none.
    pub(super) contexts: Vec<TextContext>,
    pub(super) requests: Vec<TextRequest>,
    /// Running text.
    pub(super) text: Option<RunningText>,
    pub(super) length: Option<u32>,
    pub(super) depth: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TextContext {
    pub(super) text: String,
    pub(super) necessary: Vec<Span>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TextRequest {
    pub(super) context: usize,
    pub(super) text: String,
    /// What of it counts; all where there is none.
    pub(super) scored: Option<Vec<Span>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunningText {
    pub(super) text: String,
    pub(super) recalls: Vec<Span>,
    /// Of each recalled word, words back to the nearest earlier mention; empty where the line does not say.
    pub(super) distances: Vec<u32>,
}

/// Where a line stands, for errors.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Name of the file.
    pub(super) file: &'a str,
    /// 1-based.
    pub(super) line: usize,
}

/// Who wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Author {
    /// This project: its lines may hold notes for readers besides.
    Program,
    /// A user: what has no effect is refused.
    User,
}

/// A line of a file and the kind of item it is.
///
/// # Errors
/// No JSON, a field that is unknown, missing, of another type or without meaning in this kind of item, a span outside its text, an
/// empty text.
pub(super) fn read(place: Place<'_>, author: Author, line: &str) -> Result<(TaskKind, TextItem), TaskError> {
    let fields = Fields::read(&place, author, line)?;
    let mut item = TextItem {
        id: fields.id(&place)?,
        gold: place.number("gold", fields.gold.as_ref())?,
        length: place.number("length", fields.length.as_ref())?,
        depth: place.share("depth", fields.depth.as_ref())?,
        ..TextItem::default()
    };
    let (necessary, scored) = (fields.necessary.as_ref(), fields.scored.as_ref());
    let (kind, meaningless): (TaskKind, &[&str]) =
        match (&fields.text, &fields.contexts, &fields.choices, &fields.target) {
            (Some(_), None, None, None) if fields.context.is_none() => {
                item.text = Some(place.running_text(&fields)?);
                (TaskKind::RunningText, &["gold", "scored", "necessary", "necessary_by_option"])
            }
            (None, Some(_), None, Some(_)) => {
                place.contexts(&fields, &mut item)?;
                (TaskKind::MultipleChoice, &["context", "necessary", "recalls", "distances"])
            }
            (None, None, Some(choices), None) => {
                let choices = place.texts("choices", Some(choices))?.unwrap_or_default();
                item.contexts.push(place.context("context", fields.context.as_ref(), necessary)?);
                item.requests =
                    choices.into_iter().map(|text| TextRequest { context: 0, text, scored: None }).collect();
                place.check_gold("choices", &item)?;
                (TaskKind::MultipleChoice, &["scored", "necessary_by_option", "recalls", "distances"])
            }
            (None, None, None, Some(target)) => {
                item.contexts.push(place.context("context", fields.context.as_ref(), necessary)?);
                let text = place.text("target", Some(target))?.unwrap_or_default();
                item.requests.push(TextRequest { context: 0, text, scored: place.spans("scored", scored)? });
                (TaskKind::Target, &["gold", "necessary_by_option", "recalls", "distances"])
            }
            _ => return Err(place.problem(FORMS)),
        };
    // What a form of item does not use must not be there: it would look as if it had an effect.
    if let Some(field) = meaningless.iter().find(|field| fields.has(field)) {
        let form = if fields.contexts.is_some() { "an item with `contexts`" } else { name(kind) };
        return Err(place.problem(&format!("`{field}` has no meaning in {form}")));
    }
    for request in &item.requests {
        let field = if fields.choices.is_some() { "choices" } else { "target" };
        if request.text.trim().is_empty() {
            return Err(place.problem(&format!("`{field}` {}", empty(&request.text, fields.choices.is_some()))));
        }
        place.check_spans("scored", request.scored.as_deref().unwrap_or_default(), &request.text)?;
        if request.scored.as_ref().is_some_and(Vec::is_empty) {
            return Err(place.problem("`scored` is an empty list; leave it out if all of the target counts"));
        }
    }
    Ok((kind, item))
}

/// The fields that make an item.
pub(super) const FORMS: &str = "an item has `context` and `target`, or `context`, `choices` and `gold`, or `contexts`, `target` and \
                                `gold`, or `text`";

/// A kind of item in words.
pub(super) fn name(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::MultipleChoice => "a multiple-choice item",
        TaskKind::Target => "an item with a `target`",
        TaskKind::RunningText => "an item of running text",
    }
}

/// What is wrong with a text without content, or with a list that has one.
fn empty(text: &str, in_a_list: bool) -> &'static str {
    match (text.is_empty(), in_a_list) {
        (true, false) => "is empty",
        (false, false) => "is white space only",
        (true, true) => "has an empty text",
        (false, true) => "has a text of white space only",
    }
}

impl Fields {
    fn has(&self, field: &str) -> bool {
        match field {
            "context" => self.context.is_some(),
            "gold" => self.gold.is_some(),
            "scored" => self.scored.is_some(),
            "necessary" => self.necessary.is_some(),
            "necessary_by_option" => self.necessary_by_option.is_some(),
            "recalls" => self.recalls.is_some(),
            "distances" => self.distances.is_some(),
            _ => false,
        }
    }
}

impl Place<'_> {
    fn running_text(&self, fields: &Fields) -> Result<RunningText, TaskError> {
        let text = self.text("text", fields.text.as_ref())?.unwrap_or_default();
        if text.trim().is_empty() {
            return Err(self.problem(&format!("`text` {}", empty(&text, false))));
        }
        let recalls = self.spans("recalls", fields.recalls.as_ref())?.unwrap_or_default();
        self.check_spans("recalls", &recalls, &text)?;
        let distances = self.numbers("distances", fields.distances.as_ref())?;
        if let Some(distances) = distances.as_ref().filter(|distances| distances.len() != recalls.len()) {
            let (there, wanted) = (distances.len(), recalls.len());
            return Err(self.problem(&format!("`distances` has {there} numbers, but `recalls` has {wanted} spans")));
        }
        Ok(RunningText { text, recalls, distances: distances.unwrap_or_default() })
    }

    /// One context per option, and the same target after each.
    fn contexts(&self, fields: &Fields, item: &mut TextItem) -> Result<(), TaskError> {
        let contexts = self.texts("contexts", fields.contexts.as_ref())?.unwrap_or_default();
        let necessary = self.span_lists("necessary_by_option", fields.necessary_by_option.as_ref())?;
        let necessary = necessary.unwrap_or_else(|| vec![Vec::new(); contexts.len()]);
        if necessary.len() != contexts.len() {
            let (there, wanted) = (necessary.len(), contexts.len());
            return Err(self.problem(&format!(
                "`necessary_by_option` has {there} lists of spans, but `contexts` has {wanted} texts"
            )));
        }
        let target = self.text("target", fields.target.as_ref())?.unwrap_or_default();
        let scored = self.spans("scored", fields.scored.as_ref())?;
        for (index, (text, necessary)) in contexts.into_iter().zip(necessary).enumerate() {
            item.contexts.push(self.checked("contexts", "necessary_by_option", TextContext { text, necessary })?);
            item.requests.push(TextRequest { context: index, text: target.clone(), scored: scored.clone() });
        }
        self.check_gold("contexts", item)
    }

    fn context(
        &self,
        field: &str,
        text: Option<&serde_json::Value>,
        necessary: Option<&serde_json::Value>,
    ) -> Result<TextContext, TaskError> {
        let text = self.required(field, self.text(field, text)?)?;
        let necessary = self.spans("necessary", necessary)?.unwrap_or_default();
        self.checked(field, "necessary", TextContext { text, necessary })
    }

    fn checked(&self, field: &str, spans: &str, context: TextContext) -> Result<TextContext, TaskError> {
        if context.text.trim().is_empty() {
            return Err(self.problem(&format!("`{field}` {}", empty(&context.text, field == "contexts"))));
        }
        self.check_spans(spans, &context.necessary, &context.text)?;
        Ok(context)
    }

    fn check_gold(&self, field: &str, item: &TextItem) -> Result<(), TaskError> {
        let choices = item.requests.len();
        if choices < 2 {
            let there = if choices == 0 { "is empty" } else { "has one text" };
            return Err(self.problem(&format!("`{field}` {there}; two or more are needed")));
        }
        let gold = self.required("gold", item.gold)?;
        if gold as usize >= choices {
            return Err(self.problem(&format!("`gold` is {gold}, but `{field}` has {choices} texts, counted from 0")));
        }
        Ok(())
    }

    fn check_spans(&self, field: &str, spans: &[Span], text: &str) -> Result<(), TaskError> {
        let characters = text.chars().count();
        match spans.iter().find(|(_, end)| *end > characters) {
            Some((start, end)) => {
                Err(self.problem(&format!("`{field}` has [{start}, {end}], but its text has {characters} characters")))
            }
            None => Ok(()),
        }
    }

    fn required<T>(&self, field: &str, value: Option<T>) -> Result<T, TaskError> {
        value.ok_or_else(|| self.problem(&format!("missing field `{field}`")))
    }

    /// A problem with its own hint: one that the page on the format does not solve.
    fn problem_with(&self, problem: &str, hint: &str) -> TaskError {
        let (file, problem, hint) = (self.file.to_owned(), problem.to_owned(), hint.to_owned());
        TaskError::Row { file, line: self.line, problem, hint }
    }

    fn problem(&self, problem: &str) -> TaskError {
        TaskError::Line { file: self.file.to_owned(), line: self.line, problem: problem.to_owned() }
    }
}

#[cfg(test)]
mod tests;
