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

/// What is wrong at a place, or at several; becomes a [`ConfigError`] once the file is known.
#[derive(Debug)]
pub(super) struct Fault {
    problem: Box<Problem>,
    /// What else is wrong.
    others: Vec<Fault>,
}

#[derive(Debug)]
struct Problem {
    message: String,
    label: String,
    hint: Option<String>,
    span: Span,
}

impl Fault {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        let problem = Problem { message: message.into(), label: "here".to_owned(), hint: None, span };
        Self { problem: Box::new(problem), others: Vec::new() }
    }

    /// The words under the mark.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.problem.label = label.into();
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.problem.hint = hint;
        self
    }

    /// Both faults.
    fn and(mut self, other: Self) -> Self {
        self.others.push(other);
        self
    }

    fn flatten(self, all: &mut Vec<Problem>) {
        all.push(*self.problem);
        for other in self.others {
            other.flatten(all);
        }
    }

    /// All problems in file order, each place once.
    pub(super) fn in_file(self, file: &str, text: &str) -> ConfigError {
        let mut problems = Vec::new();
        self.flatten(&mut problems);
        problems.sort_by_key(|problem| problem.span.start);
        problems.dedup_by(|next, last| next.span == last.span && next.message == last.message);
        let mut errors: Vec<ConfigError> = problems.into_iter().map(|problem| problem.in_file(file, text)).collect();
        let mut first = errors.remove(0);
        first.0.others = errors;
        first
    }
}

impl Problem {
    fn in_file(self, file: &str, text: &str) -> ConfigError {
        let span = first_line_of(self.span, text);
        let before = &text[..span.start];
        let line = line_of(span, text);
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
            others: Vec::new(),
        }))
    }
}

/// Collects what is wrong while reading goes on.
#[derive(Debug, Default)]
pub(super) struct Faults(Option<Fault>);

impl Faults {
    /// The value, or none after the fault was noted.
    pub(super) fn note<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.add(fault)).ok()
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.0 = Some(match self.0.take() {
            Some(earlier) => earlier.and(fault),
            None => fault,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// For where something must be wrong, since a part is missing.
    pub(super) fn refused<T>(self) -> Result<T, Fault> {
        Err(self.0.unwrap_or_else(|| unreachable!("what is missing was refused")))
    }

    /// `value` where nothing is wrong.
    pub(super) fn done<T>(self, value: T) -> Result<T, Fault> {
        self.0.map_or(Ok(value), Err)
    }
}

/// All values, or all faults: one wrong entry does not hide the next.
pub(super) fn gather<T>(results: impl IntoIterator<Item = Result<T, Fault>>) -> Result<Vec<T>, Fault> {
    let mut faults = Faults::default();
    let values = results.into_iter().filter_map(|result| faults.note(result)).collect();
    faults.done(values)
}

/// 1-based line on which a place begins.
pub(super) fn line_of(span: Span, text: &str) -> usize {
    text.char_indices().take_while(|(at, _)| *at < span.start).filter(|(_, c)| *c == '\n').count() + 1
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

/// Why an experiment file was refused: everything that is wrong, in file order. Message, place and hint are those of the first problem.
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
    /// The problems after this one.
    others: Vec<ConfigError>,
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
        Self(Box::new(Inner { message, hint: Some(hint.to_owned()), place: None, others: Vec::new() }))
    }

    /// 1-based line of the place, unless the file as a whole is refused.
    pub fn line(&self) -> Option<usize> {
        self.0.place.as_ref().map(|place| place.line)
    }

    /// 1-based column of the place, in characters.
    pub fn column(&self) -> Option<usize> {
        self.0.place.as_ref().map(|place| place.column)
    }

    /// Every problem, this one first.
    pub fn problems(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.0.others)
    }

    /// Message, snippet and hint of every problem as plain text.
    pub fn render(&self) -> String {
        render_plain(self)
    }
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<String> {
        self.0.hint.clone()
    }
}

/// What stands before the first of several problems, as the renderer writes it before each of the others.
pub(crate) fn heading(diagnostic: &dyn Diagnostic) -> &'static str {
    if diagnostic.related().is_some_and(|mut others| others.next().is_some()) { "Error: \n" } else { "" }
}

/// Any diagnostic as plain text without colour: for logs, tests and terminals that have none.
pub fn render_plain(diagnostic: &dyn Diagnostic) -> String {
    let mut out = heading(diagnostic).to_owned();
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

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let others = &self.0.others;
        (!others.is_empty()).then(|| Box::new(others.iter().map(|other| other as &dyn Diagnostic)) as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.0.place.as_ref()?;
        let label = LabeledSpan::new_primary_with_span(Some(place.label.clone()), (place.span.start, place.span.len));
        Some(Box::new(std::iter::once(label)))
    }
}
