//! A refused experiment file: what is wrong, where, and what to write instead.

use std::fmt;

use hint::Hint;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

/// A place in the file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// The hint of last resort.
const WHERE_TO_LOOK: &str = "docs/experiment-format.md describes every key";

/// What is wrong at a place; becomes a [`ConfigError`] once the file is known.
#[derive(Debug)]
pub(super) struct Fault {
    message: String,
    label: String,
    hint: Option<String>,
    span: Span,
}

impl Fault {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), label: "here".to_owned(), hint: None, span }
    }

    /// The words under the mark.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    pub(super) fn in_file(self, file: &str, text: &str) -> ConfigError {
        let span = first_line_of(self.span, text);
        let before = &text[..span.start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
        ConfigError(Box::new(Inner {
            message: self.message,
            hint: Some(self.hint.unwrap_or_else(|| WHERE_TO_LOOK.to_owned())),
            place: Some(Place {
                source: NamedSource::new(file, text.to_owned()).with_language("yaml"),
                label: self.label,
                span,
                line,
                column,
            }),
        }))
    }
}

/// A mark that runs over several lines hides the text it marks: only the first line of a block is underlined.
fn first_line_of(span: Span, text: &str) -> Span {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let line = text[start..].split('\n').next().unwrap_or("").trim_end();
    let mut len = span.len.min(line.len());
    while !line.is_char_boundary(len) {
        len -= 1;
    }
    Span { start, len: line[..len].trim_end().len() }
}

/// Why an experiment file was refused.
///
/// Carries the file's text, so that the binary's edge can print it with the place marked; [`ConfigError::render`] does
/// the same without colour.
#[derive(Debug)]
pub struct ConfigError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    message: String,
    hint: Option<String>,
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    source: NamedSource<String>,
    label: String,
    span: Span,
    line: usize,
    column: usize,
}

impl ConfigError {
    /// An error of the file as a whole: it cannot be read, or is too large.
    pub(super) fn of_file(message: String, hint: &str) -> Self {
        Self(Box::new(Inner { message, hint: Some(hint.to_owned()), place: None }))
    }

    /// 1-based line of the place, unless the file as a whole is refused.
    pub fn line(&self) -> Option<usize> {
        self.0.place.as_ref().map(|place| place.line)
    }

    /// 1-based column of the place, in characters.
    pub fn column(&self) -> Option<usize> {
        self.0.place.as_ref().map(|place| place.column)
    }

    /// Message, snippet and hint as plain text.
    pub fn render(&self) -> String {
        render_plain(self)
    }
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<String> {
        self.0.hint.clone()
    }
}

/// Any diagnostic as plain text without colour: for logs, tests and terminals that have none.
pub fn render_plain(diagnostic: &dyn Diagnostic) -> String {
    let mut out = String::new();
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(110).with_links(false);
    // Writing to a string cannot fail; what could be rendered is still worth showing.
    let _ = handler.render_report(&mut out, diagnostic);
    out
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.0.place.as_ref().map(|place| &place.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.0.place.as_ref()?;
        let label = LabeledSpan::new_primary_with_span(Some(place.label.clone()), (place.span.start, place.span.len));
        Some(Box::new(std::iter::once(label)))
    }
}
