//! `HellaSwag`: four endings of a description.

use std::sync::LazyLock;

use regex::Regex;

use super::documents_of_rows;
use crate::python::{capitalize, strip};
use crate::tasks::TaskError;
use crate::tasks::data::DataFile;
use crate::tasks::document::Document;
use crate::tasks::rows::Row;

/// Task `hellaswag` of lm-evaluation-harness, version 1.0. Rows of the original release and of the hub (`activity_label`, `ctx_a`,
/// `ctx_b`, `endings`) are cleaned as the harness does; rows that hold a finished `query` are taken as they are.
pub(super) fn documents(file: &DataFile, _labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    documents_of_rows(file, None, |row, _| document(row))
}

fn document(row: &Row<'_>) -> Result<Document, TaskError> {
    let endings = row.texts("endings")?;
    let gold = row.whole("label")? as usize;
    let id = format!("hellaswag-{}", row.index());
    if row.has("query") {
        return Document::choices(row, &id, row.filled("query")?, &endings, gold);
    }
    let context = format!("{} {}", row.text("ctx_a")?, capitalize(row.text("ctx_b")?));
    let query = clean(&format!("{}: {context}", row.text("activity_label")?));
    let endings: Vec<String> = endings.into_iter().map(clean).collect();
    Document::choices(row, &id, &query, &endings, gold)
}

/// Removes what the `WikiHow` half of the data has of its pages' structure. Stripping comes first, so that an ending which began
/// with a tag keeps the space behind it.
fn clean(text: &str) -> String {
    static TAG: LazyLock<Regex> = LazyLock::new(|| regex(r"\[.*?\]"));
    let text = strip(text).replace(" [title]", ". ");
    TAG.replace_all(&text, "").replace("  ", " ")
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| unreachable!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn tags_of_wikihow_go_and_spaces_before_them_stay() {
        assert_eq!(clean("How to sew [title] Find a needle. [step] Take one."), "How to sew. Find a needle. Take one.");
        assert_eq!(clean(" [substeps] Look at it. [substeps] Again. "), " Look at it. Again.");
        assert_eq!(clean("[header] a"), " a");
        assert_eq!(clean("a    b"), "a  b", "pairs of spaces become one, once");
        assert_eq!(clean("a [not\na tag] b"), "a [not\na tag] b", "a tag does not cross lines");
        assert_eq!(clean("a [one] [two] b"), "a  b");
    }
}
