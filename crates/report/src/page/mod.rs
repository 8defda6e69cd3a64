//! `report.html`: the whole report as one file that needs no network, begins with the answer, and shows every item.
//!
//! The page is a template (`assets/page/page.html`) that escapes everything; what it takes as it is was made here: drawings, text that
//! [`html`] made of Markdown, data as JSON, the style and the script. Its content security policy names the script by its digest, and allows
//! nothing else.

mod answer;
mod browser;
mod html;
mod provenance;
mod rows;

use std::path::Path;

use analysis::{Analysis, MARK, NOT_COMPARED, Study};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::claim;
use super::error::ReportError;
use super::figures::{FailedFigure, Figure};
use super::guards;
use super::markdown;
use super::tables::Table;
use super::view::View;
pub(crate) use provenance::processes;
use provenance::{Fact, Process};

const TEMPLATE: &str = include_str!("../../assets/page/page.html");
const STYLE: &str = include_str!("../../assets/page/page.css");
const SCRIPT: &str = include_str!("../../assets/page/page.js");

/// A figure as the template takes it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    svg: String,
    csv: String,
    caption: String,
}

impl<'a> Shown<'a> {
    fn of(figure: &'a Figure) -> Self {
        let Figure { name, svg, csv, caption, .. } = figure;
        let csv = crate::text::terminal_lines(csv);
        Self { name, svg: drawing(svg, name), csv, caption: html::block(&crate::text::markdown(caption)) }
    }
}

/// A table as the template takes it.
#[derive(Serialize)]
struct Tabled<'a> {
    name: &'a str,
    body: String,
    caption: String,
}

/// What the template names. Fields that hold HTML were made here.
#[derive(Serialize)]
struct Page<'a> {
    name: String,
    question: Option<String>,
    facts: Vec<Fact>,
    answer: Vec<String>,
    first: Option<Shown<'a>>,
    warnings: Option<String>,
    verdict: Option<String>,
    headline: Option<String>,
    baseline: &'a str,
    mark: char,
    not_compared: &'static str,
    has_rows: bool,
    has_items: bool,
    items_note: Option<String>,
    figures: Vec<Shown<'a>>,
    tables: Vec<Tabled<'a>>,
    guards: String,
    processes: Vec<Process>,
    digests: Vec<Fact>,
    reading: String,
    data: String,
    style: &'static str,
    script: &'static str,
    script_hash: String,
}

/// The page.
///
/// # Errors
/// The template cannot be filled in, which tests exclude.
pub(super) fn page(
    dir: &Path,
    study: &Study,
    analysis: &Analysis,
    view: &View,
    (figures, failed): (&[Figure], &[FailedFigure]),
    tables: &[Table],
) -> Result<String, ReportError> {
    let baseline = &study.plan.baseline;
    let answer = answer::answer(study, view, figures);
    let rows = rows::rows(view, baseline);
    let (items, items_note) = browser::items(study, view);
    let first = answer.first.and_then(|place| figures.get(place));
    let others: Vec<Shown<'_>> = figures
        .iter()
        .enumerate()
        .filter(|(place, _)| answer.first != Some(*place))
        .map(|(_, one)| Shown::of(one))
        .collect();
    let warnings = markdown::warnings(study, analysis, view) + &markdown::failed_figures(failed);
    let headline = (!study.plan.cells.is_empty()).then(|| html::block(&markdown::headline(view, baseline)));
    let verdict = study.claim.as_ref().map(|result| html::block(&claim::text(result)));
    let tabled = tables.iter().filter(|table| !claim::is_table(&table.name)).map(|table| Tabled {
        name: &table.name,
        body: html::block(&table.markdown()),
        caption: html::block(&crate::text::markdown(&table.caption)),
    });
    let digests: Vec<Fact> = study
        .plan
        .digests
        .iter()
        .map(|(what, digest)| Fact { what: crate::text::terminal(what), value: digest.clone() })
        .collect();
    let sentences: Vec<String> = answer.sentences.iter().map(|sentence| html::block(sentence)).collect();
    let page = Page {
        name: crate::text::terminal(&study.plan.experiment),
        question: study.plan.question.as_deref().map(on_one_line),
        facts: facts(study, analysis),
        answer: sentences,
        first: first.map(Shown::of),
        warnings: (!warnings.is_empty()).then(|| html::block(&warnings)),
        verdict,
        headline,
        baseline,
        mark: MARK,
        not_compared: NOT_COMPARED,
        has_rows: rows.is_some(),
        has_items: items.is_some(),
        items_note,
        figures: others,
        tables: tabled.collect(),
        guards: html::block(&guards::section(&study.guards).replace("## Guards\n", "")),
        processes: processes(dir),
        digests,
        reading: html::block(markdown::READING),
        data: embedded(&json!({ "rows": rows, "items": items })),
        style: STYLE,
        script: SCRIPT,
        script_hash: policy(SCRIPT),
    };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let template = environment.template_from_str(TEMPLATE);
    let filled = template.and_then(|template| template.render(Serde(&page)));
    filled.map_err(|error| ReportError::Page { reason: format!("{error:#}") })
}

fn on_one_line(text: &str) -> String {
    crate::text::terminal(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What the head of the page counts.
fn facts(study: &Study, analysis: &Analysis) -> Vec<Fact> {
    let distinct = |names: &mut dyn Iterator<Item = &str>| names.collect::<std::collections::BTreeSet<_>>().len();
    let keys = || study.cells.iter().map(|cell| &cell.record.trial);
    let items: usize = study.cells.iter().map(|cell| cell.record.items.len()).sum();
    let counts = [
        ("models", distinct(&mut keys().map(|key| key.model.as_str()))),
        ("strategies", distinct(&mut keys().map(|key| key.strategy.as_str()))),
        ("protocols", distinct(&mut keys().map(|key| key.protocol.as_str()))),
        ("tasks", distinct(&mut study.cells.iter().map(|cell| cell.record.task.as_str()))),
        ("cells done", analysis.done),
        ("failed", analysis.failed),
        ("missing", analysis.unfinished),
        ("scored items", items),
    ];
    let shown = counts.into_iter().filter(|(_, count)| *count > 0);
    let word = |what: &str, count: usize| if count == 1 { singular(what) } else { what.to_owned() };
    shown.map(|(what, count)| Fact { what: word(what, count), value: count.to_string() }).collect()
}

/// `strategies` -> `strategy`.
fn singular(what: &str) -> String {
    match what.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None if what == "cells done" => "cell done".to_owned(),
        None => what.strip_suffix('s').unwrap_or(what).replace("scored items", "scored item"),
    }
}

/// A drawing inside of a page: as wide as there is room, with a name for those who do not see it.
fn drawing(svg: &str, name: &str) -> String {
    let Some((head, rest)) = svg.split_once('>') else { return String::new() };
    let attributes = head.trim_start_matches("<svg ").split_inclusive("\" ");
    let kept: String =
        attributes.filter(|attribute| !attribute.starts_with("width=") && !attribute.starts_with("height=")).collect();
    format!("<svg {kept} role=\"img\" aria-label=\"{}\">{rest}", attribute(name))
}

/// Text as the value of an attribute.
fn attribute(text: &str) -> String {
    crate::text::terminal(text).replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// JSON that can be inside of a script element: no tag can begin in it.
fn embedded(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// The script in the words of a content security policy.
fn policy(script: &str) -> String {
    format!("sha256-{}", base64(Sha256::digest(script.as_bytes()).as_slice()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut triple = [0; 3];
        triple[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes([0, triple[0], triple[1], triple[2]]);
        for place in 0..4 {
            let digit = (number >> (18 - 6 * place)) & 63;
            out.push(if place <= chunk.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_named_by_its_digest() {
        // printf '' | openssl dgst -sha256 -binary | base64
        assert_eq!(policy(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(base64(b"a"), "YQ==");
        assert_eq!(base64(b"ab"), "YWI=");
    }

    #[test]
    fn data_end_no_script() {
        let text = embedded(&json!({ "a": "</script><script>\u{2028}" }));
        assert_eq!(text, r#"{"a":"\u003c/script>\u003cscript>\u2028"}"#);
    }

    #[test]
    fn a_drawing_has_a_name_and_no_size() {
        let svg = drawing(r#"<svg width="5in" height="4in" viewBox="0 0 1 1" xmlns="x">\n<g/></svg>"#, "a<b");
        assert!(!svg.contains("5in") && !svg.contains("4in"), "{svg}");
        assert!(svg.contains(r#"viewBox="0 0 1 1""#) && svg.contains(r#"role="img" aria-label="a&lt;b">"#), "{svg}");
    }

    #[test]
    fn counts_have_the_right_word() {
        let of = |what| singular(what);
        assert_eq!(
            (of("strategies"), of("cells done"), of("models")),
            ("strategy".into(), "cell done".into(), "model".into())
        );
    }
}
