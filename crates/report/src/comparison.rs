//! Two rules compared item by item, as Markdown: a table per model, protocol and reduction, with its verdict.

use std::fmt::{self, Write};

use analysis::MARK;
use analysis::compare::{Pair, Row};

use crate::text::{markdown, markdown_cell, markdown_code, p_value};

/// What `sweep compare` prints. Differences are B minus A; accuracies and reductions are in per cent.
#[must_use]
pub fn comparison(pairs: &[Pair]) -> String {
    let mut out = String::new();
    // A string takes every text.
    let _ = pairs.iter().try_for_each(|pair| write(&mut out, pair)).and_then(|()| summary(&mut out, pairs));
    out
}

/// All verdicts side by side, with the correction for their number; nothing where there is one.
fn summary(out: &mut String, pairs: &[Pair]) -> fmt::Result {
    let verdicts: Vec<(&Pair, &Row)> = pairs.iter().filter_map(|pair| Some((pair, pair.verdict()?))).collect();
    if verdicts.len() < 2 {
        return Ok(());
    }
    let compared = verdicts.iter().filter(|(_, row)| row.p_holm.is_some()).count();
    writeln!(out, "## All pairs\n")?;
    writeln!(
        out,
        "| model | protocol | setting | A | B | task | B − A | 95 % interval | p | p (Holm) |\n\
         |---|---|---|---|---|---|---:|---|---:|---:|"
    )?;
    for (pair, row) in &verdicts {
        let (scale, decimals) = unit(row);
        let holm = row.p_holm.map_or_else(|| format!("{MARK}"), p_value);
        let [a, b] = pair.labels.each_ref().map(|label| markdown_cell(label));
        writeln!(
            out,
            "| {} | {} | {} | {a} | {b} | {} | {:+.decimals$} | {:+.decimals$} to {:+.decimals$} | {} | {holm} |",
            markdown_cell(&pair.model),
            markdown_cell(&pair.protocol),
            markdown_cell(&pair.setting),
            markdown_cell(&row.task),
            row.difference * scale,
            row.interval[0] * scale,
            row.interval[1] * scale,
            p_value(row.p_value),
        )?;
    }
    let told = verdicts.iter().filter(|(_, row)| row.p_holm.is_some_and(|p| p <= 0.05)).count();
    writeln!(
        out,
        "\nHolm's correction over {compared} comparisons at equal achieved reductions: {told} of them are told apart at 5 %.\n"
    )
}

fn write(out: &mut String, pair: &Pair) -> fmt::Result {
    let [first, second] = pair.labels.each_ref().map(|label| markdown_code(label));
    let (model, protocol) = (markdown(&pair.model), markdown_code(&pair.protocol));
    writeln!(out, "## {model}, {protocol}, {}\n", markdown(&pair.setting))?;
    writeln!(out, "A: {first}; B: {second}.\n")?;
    writeln!(
        out,
        "| task | metric | n | A | B | B − A | 95 % interval | B better / worse | p | achieved FLOPs reduction A / B |\n\
         |---|---|---:|---:|---:|---:|---|---:|---:|---:|"
    )?;
    for row in pair.rows.iter().chain(&pair.mean) {
        let (scale, decimals) = unit(row);
        let mark = if row.is_on_equal_terms() { String::new() } else { format!(" {MARK}") };
        writeln!(
            out,
            "| {} | {} | {} | {:.decimals$} | {:.decimals$} | {:+.decimals$} | {:+.decimals$} to {:+.decimals$} | {} / {} | {} | {:.1} % / {:.1} %{mark} |",
            markdown_cell(&row.task),
            markdown_cell(&row.metric),
            row.n,
            row.values[0] * scale,
            row.values[1] * scale,
            row.difference * scale,
            row.interval[0] * scale,
            row.interval[1] * scale,
            row.signs[0],
            row.signs[1],
            p_value(row.p_value),
            row.achieved[0] * 100.0,
            row.achieved[1] * 100.0,
        )?;
    }
    let apart: Vec<String> =
        pair.rows.iter().filter(|row| !row.is_on_equal_terms()).map(|row| markdown(&row.task)).collect();
    if !apart.is_empty() {
        writeln!(
            out,
            "\n> **Warning.** {MARK} On {} of {} tasks ({}) the achieved reductions of A and B are more than half a point apart: \
             their difference there is not one of the rules alone.",
            apart.len(),
            pair.rows.len(),
            apart.join(", ")
        )?;
    }
    writeln!(out, "\n{}\n", pair.verdict().map_or_else(|| "No task has finished on both sides.".to_owned(), conclusion))
}

/// What a value is multiplied by, and its decimals: accuracies are shown in per cent, losses as they are.
fn unit(row: &Row) -> (f64, usize) {
    if row.lower_is_better { (1.0, 3) } else { (100.0, 1) }
}

fn conclusion(row: &Row) -> String {
    let scale = if row.lower_is_better { "lower is better" } else { "accuracies in per cent" };
    let basis = format!("Paired over {} items; {scale}.", row.n);
    let task = markdown(&row.task);
    if !row.is_on_equal_terms() {
        let [a, b] = row.achieved.map(|share| share * 100.0);
        let apart = (a - b).abs();
        return format!(
            "**Not compared** ({task}), not on equal terms: the achieved reductions are {apart:.1} points apart (A {a:.1} %, \
             B {b:.1} %). {basis}"
        );
    }
    // What is decided together is corrected together.
    let is_told = row.p_holm.is_none_or(|p| p <= 0.05);
    let [low, high] = row.interval;
    let (up, down) = if row.lower_is_better { ("worse", "better") } else { ("better", "worse") };
    let verdict = if !is_told {
        "B and A are not told apart".to_owned()
    } else if low > 0.0 {
        format!("B is {up} than A")
    } else if high < 0.0 {
        format!("B is {down} than A")
    } else {
        "B and A are not told apart".to_owned()
    };
    let corrected = if !is_told && (low > 0.0 || high < 0.0) {
        " The interval alone would tell them apart; the p-value, corrected for the number of pairs, does not."
    } else {
        ""
    };
    format!("**{verdict}** ({task}), at an equal achieved reduction.{corrected} {basis}")
}
