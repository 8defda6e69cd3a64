//! WikiText-2: the pages of the raw test set.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::documents_of_rows;
use crate::python::{count_words, strip};
use crate::tasks::data::DataFile;
use crate::tasks::document::{Document, TextRequest};
use crate::tasks::{ItemFacts, TaskError};

/// Task `wikitext` of lm-evaluation-harness, version 2.0. Reads the raw file, cut into pages at headings of the first level as the
/// hub's `EleutherAI/wikitext_document_level` is, or rows with a `page` each. Words and bytes are counted in the page, what is scored
/// is the page with the spaces of its tokenisation taken out.
pub(super) fn documents(file: &DataFile, _labels: Option<&DataFile>) -> Result<Vec<Document>, TaskError> {
    if !file.name.contains(".raw") {
        return documents_of_rows(file, None, |row, _| Ok(document(row.index(), row.filled("page")?, row.place())));
    }
    let pages = pages(&file.text).into_iter().enumerate();
    Ok(pages.map(|(index, (line, page))| document(index, &page, (file.name.clone(), line))).collect())
}

fn document(index: usize, page: &str, place: (String, usize)) -> Document {
    let text = detokenize(page);
    let facts = ItemFacts { words: count_words(page), bytes: page.len(), ..ItemFacts::default() };
    let request = TextRequest { context: String::new(), characters: text.chars().count(), continuation: text };
    Document {
        id: format!("wikitext-{index}"),
        gold: None,
        requests: vec![request],
        facts,
        heading: String::new(),
        place,
    }
}

/// Pages with the 1-based line on which each begins. A page begins at a line `= Title =`; what stands before the first is none
/// unless it holds text.
fn pages(text: &str) -> Vec<(usize, String)> {
    let is_heading = |line: &str| {
        // Deeper headings have their marks in pairs, which are closed up first.
        let line = line.replace("= = =", "===").replace("= =", "==");
        let line = strip(&line);
        line.starts_with("= ") && line.ends_with(" =")
    };
    let mut pages: Vec<(usize, Vec<&str>)> = vec![(1, Vec::new())];
    for (index, line) in text.split('\n').enumerate() {
        if is_heading(line) {
            pages.push((index + 1, Vec::new()));
        }
        if let Some((_, lines)) = pages.last_mut() {
            lines.push(line);
        }
    }
    let joined = pages.into_iter().map(|(line, lines)| (line, lines.join("\n")));
    joined.filter(|(_, page)| !strip(page).is_empty()).collect()
}

/// Takes out the spaces and marks that the tokenisation of the corpus put in, in the order and with the quirks of the harness.
fn detokenize(page: &str) -> String {
    /// White space of Python's regular expressions.
    const S: &str = r"[\s\x1c-\x1f]";
    static BETWEEN: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let between =
            |open: &str, inside: &str, close: &str, to| (regex(&format!("{open}{S}*({inside}*?){S}*{close}")), to);
        vec![
            between(r"\(", r"[^)]", r"\)", "($1)"),
            between(r"\[", r"[^\]]", r"\]", "[$1]"),
            between(r"\{", r"[^}]", r"\}", "{$1}"),
            between("\"", "[^\"]", "\"", "\"$1\""),
            between("'", "[^']", "'", "'$1'"),
        ]
    });
    static QUOTED_DIGIT: LazyLock<Regex> = LazyLock::new(|| regex("/' [0-9]/"));
    let mut text = page.replace("s '", "s'");
    text = QUOTED_DIGIT.replace_all(&text, "/'[0-9]/").into_owned();
    for (from, to) in [(" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", ".")] {
        text = text.replace(from, to);
    }
    for mark in [':', ';', '.', '!', '?', ','] {
        text = text.replace(&format!(" {mark} "), &format!("{mark} "));
    }
    for (between, to) in BETWEEN.iter() {
        if let Cow::Owned(replaced) = between.replace_all(&text, *to) {
            text = replaced;
        }
    }
    let last = [
        ("= = = =", "===="),
        ("= = =", "==="),
        ("= =", "=="),
        (" \u{b0} ", "\u{b0}"),
        (" \n", "\n"),
        ("\n ", "\n"),
        (" N ", " 1 "),
        (" 's", "'s"),
    ];
    for (from, to) in last {
        text = text.replace(from, to);
    }
    text
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| unreachable!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_begin_at_headings_of_the_first_level() {
        let text = " \n = One = \n \n First . \n = = Part = = \n More . \n = Two = \n = = = Deep = = = \n";
        let pages = pages(text);
        assert_eq!(pages.len(), 2);
        assert_eq!(pages[0], (2, " = One = \n \n First . \n = = Part = = \n More . ".to_owned()));
        assert_eq!(pages[1], (7, " = Two = \n = = = Deep = = = \n".to_owned()));
    }

    #[test]
    fn what_the_tokenisation_put_in_is_taken_out() {
        for (page, text) in [
            ("the dogs ' bowl", "the dogs' bowl"),
            ("a well @-@ known 1 @,@ 000 and 2 @.@ 5", "a well-known 1,000 and 2.5"),
            ("so : it ; is . Yes ! No ? Well , then", "so: it; is. Yes! No? Well, then"),
            ("( a b ) [ c ] { d }", "(a b) [c] {d}"),
            ("he said \" Yes \" and ' no '", "he said \"Yes\" and 'no'"),
            (" = = = Head = = = \n", " === Head ===\n"),
            (" = = = = Head = = = = ", " ==== Head ==== "),
            ("20 \u{b0} C", "20\u{b0}C"),
            ("N N N", "N 1 N"),
            ("the cat 's tail", "the cat's tail"),
            (" a \n b", " a\nb"),
        ] {
            assert_eq!(detokenize(page), text);
        }
    }
}
