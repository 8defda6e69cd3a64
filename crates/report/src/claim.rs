//! The claim of an experiment in words, for `report.md` and for documents: effects first, pooled and on each model, then comparisons.

use std::fmt::Write as _;

use analysis::{ClaimResult, Interval, JOINT_LEVEL, MARK, OnModel, Pooled, Terms, Verdict, model_name};
use records::claim::{Quantity, Status};

use super::tables;
use crate::text;

/// Name of the table of comparisons.
pub(super) const TABLE: &str = "claim";

/// Name of the table of effects over models and on each.
pub(super) const EFFECTS: &str = "claim_effects";

/// Name of the file that says in a few lines what became of the claim.
pub(super) const SUMMARY: &str = "summary.md";

/// Whether a table is one of the claim's, which are shown with it.
pub(super) fn is_table(name: &str) -> bool {
    [TABLE, EFFECTS].contains(&name)
}

/// What a report says where the file of the claim does not.
const UNSAID: &str = "The file does not say what of the data was known when its comparisons were fixed.";

/// Claim, estimand, effects, status, comparisons.
pub(super) fn text(result: &ClaimResult) -> String {
    let claim = &result.claim;
    let mut page = format!("**Claim.** {}\n\n", text::markdown(&claim.expect));
    let said = [("Estimand", &claim.estimand), ("Population", &claim.population), ("Margins", &claim.margin_reason)];
    for (word, text) in said {
        if let Some(text) = text {
            let _ = writeln!(page, "**{word}.** {}\n", text::markdown(text));
        }
    }
    page += "**Effects.**\n\n";
    for line in effects(result) {
        let _ = writeln!(page, "* {line}");
    }
    let _ = writeln!(page, "\n{}\n", status(result));
    let table = tables::claim_effects_table(result);
    let _ = writeln!(page, "{}\n*{}*\n", table.markdown(), text::markdown(&table.caption));
    let counted = Verdict::ALL.map(|verdict| format!("{} {}", result.count(verdict), verdict.name()));
    let _ = writeln!(
        page,
        "**All comparisons.** Of {} comparisons {}. Verdicts are by Holm's step-down procedure: the probability of any wrong one among them is at most \
         5 %. Intervals of comparisons are max-t intervals over the shared resamples of items: all of them hold their effects together in \
         about {:.0} % of repetitions with other items.\n",
        result.rows.len(),
        counted.join(", "),
        JOINT_LEVEL * 100.0
    );
    let unequal = result.rows.iter().filter(|row| row.terms == Terms::Unequal).count();
    if unequal > 0 {
        let _ = writeln!(
            page,
            "**Unequal terms.** In {unequal} of {} comparisons the achieved FLOPs reductions of the two sides are more than half a point \
             apart ({MARK}): there the difference is not one of the rules alone.\n",
            result.rows.len()
        );
    }
    let table = tables::claim_table(result);
    let _ = writeln!(page, "{}\n*{}*", table.markdown(), text::markdown(&table.caption));
    page
}

fn status(result: &ClaimResult) -> String {
    let claim = &result.claim;
    let seen = claim.seen.as_deref().map_or(UNSAID.to_owned(), text::markdown);
    let digest = match claim.digest.get(..12) {
        Some(start) => format!(" The file that was run has the BLAKE3 digest `{start}`."),
        None => String::new(),
    };
    match claim.status {
        Status::Exploratory => format!("**Status: exploratory.** {seen} New items must confirm it.{digest}"),
        Status::Confirmatory => format!("**Status: confirmatory.** {seen}{digest}"),
    }
}

/// The claim in a few lines, for a page that shows several.
pub(super) fn summary(name: &str, question: Option<&str>, result: &ClaimResult) -> String {
    let question = text::markdown(question.unwrap_or(&result.claim.expect));
    let status = match result.claim.status {
        Status::Exploratory => "Exploratory",
        Status::Confirmatory => "Confirmatory",
    };
    let mut page = format!("**{}.** {question} {status}.\n\n", text::markdown(name));
    for line in effects(result) {
        let _ = writeln!(page, "* {line}");
    }
    page
}

/// A line for each entry and protocol: the pooled effect, then that of each model.
pub(super) fn effects(result: &ClaimResult) -> Vec<String> {
    result.pooled.iter().map(effect).collect()
}

fn effect(pooled: &Pooled) -> String {
    let models: Vec<String> = pooled.models.iter().map(|own| on_model(pooled, own)).collect();
    let whole = match &pooled.effect {
        // The effect is that of the model.
        Err(_) if pooled.models.len() == 1 => {
            return format!("{}, margin {}: {}.", title(pooled), margin(pooled), models.join("; "));
        }
        Err(reason) => format!("not known, {}", text::markdown(reason)),
        Ok(own) => format!("**{}**, {}", with_interval(own.effect, own.interval, pooled.quantity), own.verdict.name()),
    };
    format!("{}, margin {}: {whole}. {}.", title(pooled), margin(pooled), models.join("; "))
}

fn on_model(pooled: &Pooled, OnModel { model, decision, missing }: &OnModel) -> String {
    let name = text::markdown_code(model);
    if let Some(reason) = missing {
        return format!("{name} not known, {}", text::markdown(reason));
    }
    let effect = with_interval(decision.effect, decision.interval, pooled.quantity);
    let by_holm = if decision.is_by_holm(pooled.margin) {
        let Interval { low, high } = decision.deciding;
        let decimals = pooled.quantity.decimals();
        format!(" by Holm's interval, {low:.decimals$} to {high:.decimals$}")
    } else {
        String::new()
    };
    format!("{name} {effect}, {}{by_holm}", decision.verdict.name())
}

/// What figures and tables call the model of an effect. Where models are compared with each other, its label is that of a side, which names
/// the model within brackets.
pub(super) fn model(label: &str) -> String {
    match label.split_once('(') {
        Some((_, inside)) => model_name(inside.trim_end_matches(')').split(", ").next().unwrap_or(inside)),
        None => model_name(label),
    }
}

/// The entry in words: its name, or what it compares; and the protocol.
pub(super) fn title(pooled: &Pooled) -> String {
    let name = pooled.name.as_deref().unwrap_or(&pooled.what);
    match &pooled.protocol {
        Some(protocol) => format!("{} ({})", text::markdown(name), text::markdown(protocol)),
        None => text::markdown(name),
    }
}

/// An entry in words without marks of Markdown; `context` goes without saying.
pub(super) fn plain_title(pooled: &Pooled) -> String {
    let name = pooled.name.as_deref().unwrap_or(&pooled.what);
    match pooled.protocol.as_deref() {
        Some(protocol) if protocol != "context" => format!("{name}, {protocol}"),
        _ => name.to_owned(),
    }
}

fn margin(pooled: &Pooled) -> String {
    format!("{} {}", text::number(pooled.margin), pooled.quantity.unit())
}

fn with_interval(effect: f64, Interval { low, high }: Interval, quantity: Quantity) -> String {
    let decimals = quantity.decimals();
    format!("{effect:.decimals$} ({low:.decimals$} to {high:.decimals$}) {}", quantity.unit())
}
