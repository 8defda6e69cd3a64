//! The verdict on a claim in words, for `report.md` and for documents.

use std::fmt::Write as _;

use analysis::{ClaimResult, ComparisonResult, Interval, JOINT_LEVEL, MARK, Terms, Verdict};
use records::claim::PlannedComparison;
use records::claim::Share;

use super::tables;
use crate::text;

/// Name of the table of comparisons.
pub(super) const TABLE: &str = "claim";

/// Name of the file that says in a few lines what became of the claim.
pub(super) const SUMMARY: &str = "summary.md";

/// What a report says where the file of the claim does not.
const UNSAID: &str = "The file does not say what of the data was known when its comparisons were fixed.";

/// Claim, effects, status, verdicts, rule, comparisons.
pub(super) fn text(result: &ClaimResult) -> String {
    let claim = &result.claim;
    let mut page = format!("**Claim.** {}\n\n**Effects.**\n\n", text::markdown(&claim.expect));
    for line in effects(result) {
        let _ = writeln!(page, "* {line}");
    }
    let seen = claim.seen.as_deref().map_or(UNSAID.to_owned(), text::markdown);
    let _ = writeln!(page, "\n**Status: exploratory.** {seen} New items must confirm it.\n");
    let _ = writeln!(
        page,
        "**Verdict over all comparisons: {}.** {} A claim that is refuted does not make its opposite true.\n",
        result.verdict.name(),
        counts(result)
    );
    let share = match claim.share {
        Share::All => "every comparison holds",
        Share::Most => "more than half of the comparisons hold",
    };
    let _ = writeln!(
        page,
        "**Rule.** The claim is supported if {share}, and refuted once so many fail that this cannot be. A \
         comparison holds where `higher` minus `lower` lies above its margin, and fails where it lies at or below it, by Holm's \
         step-down procedure over {} comparisons: the probability of any wrong call is at most 5 %.\n",
        claim.comparisons.len()
    );
    let _ = writeln!(
        page,
        "**Intervals.** Those of the table are max-t intervals over the shared resamples of items: all of them hold their effects \
         together in about {:.0} % of repetitions with other items. Verdicts may decide a little more than they show, since Holm's procedure asks \
         less of a comparison once clearer ones are decided.\n",
        JOINT_LEVEL * 100.0
    );
    let unequal = result.rows.iter().filter(|row| row.terms == Terms::Unequal).count();
    if unequal > 0 {
        let _ = writeln!(
            page,
            "**Unequal terms.** In {unequal} of {} comparisons the achieved FLOPs reductions of the two sides are more than half a point \
             apart (†): there the difference is not one of the rules alone.\n",
            result.rows.len()
        );
    }
    if let Some((width, quantity)) = result.blindest() {
        let _ = writeln!(
            page,
            "**What could have been seen.** The smallest detectable effect of a comparison is half the width of its interval: a \
             true effect that far from the margin is decided at least every other time. It is at most {width:.1} {}.\n",
            quantity.unit()
        );
    }
    let table = tables::claim_table(result);
    let _ = writeln!(page, "{}\n*{}*", table.markdown(), text::markdown(&table.caption));
    page
}

/// The claim in a few lines, for a page that shows several.
pub(super) fn summary(name: &str, question: Option<&str>, result: &ClaimResult) -> String {
    let question = text::markdown(question.unwrap_or(&result.claim.expect));
    let mut page = format!("**{}.** {question} Exploratory.\n\n", text::markdown(name));
    for line in effects(result) {
        let _ = writeln!(page, "* {line}");
    }
    page
}

/// A line for each model: what was found, then on which side of the margin it lies.
pub(super) fn effects(result: &ClaimResult) -> Vec<String> {
    let mut models: Vec<Option<&str>> = Vec::new();
    for comparison in &result.claim.comparisons {
        if !models.contains(&comparison.model.as_deref()) {
            models.push(comparison.model.as_deref());
        }
    }
    models.into_iter().map(|model| effects_on(result, model)).collect()
}

fn effects_on(result: &ClaimResult, model: Option<&str>) -> String {
    let all = result.claim.comparisons.iter().zip(&result.rows);
    let rows: Vec<_> = all.filter(|(planned, _)| planned.model.as_deref() == model).collect();
    let place = model.map_or("Between models or protocols".to_owned(), text::markdown_code);
    let known = rows.iter().filter(|(_, row)| row.decision.effect.is_finite());
    let least = known.clone().min_by(|a, b| a.1.decision.effect.total_cmp(&b.1.decision.effect));
    let most = known.max_by(|a, b| a.1.decision.effect.total_cmp(&b.1.decision.effect));
    let (Some(least), Some(most)) = (least, most) else {
        return format!("{place}: nothing finished.");
    };
    let shown = |(planned, row): &(&PlannedComparison, &ComparisonResult)| {
        let Interval { low, high } = row.decision.interval;
        format!("{:.1} ({low:.1} to {high:.1}) {}", row.decision.effect, planned.quantity.unit())
    };
    let range = if rows.len() == 1 { shown(least) } else { format!("{} to {}", shown(least), shown(most)) };
    let count = |verdict| rows.iter().filter(|(_, row)| row.decision.verdict == verdict).count();
    let unequal = rows.iter().filter(|(_, row)| row.terms == Terms::Unequal).count();
    let note =
        if unequal > 0 { format!("; {unequal} of them at unequal achieved reduction {MARK}") } else { String::new() };
    format!(
        "{place}: {range} in {}; {} above the margin, {} at or below it, {} open{note}.",
        counted(rows.len()),
        count(Verdict::Supported),
        count(Verdict::Refuted),
        count(Verdict::Undecided),
    )
}

fn counts(result: &ClaimResult) -> String {
    let words = [Verdict::Supported, Verdict::Refuted, Verdict::Undecided]
        .map(|verdict| format!("{} {}", result.count(verdict), verdict.name()));
    let mut text = format!("Of {} comparisons {}.", result.rows.len(), words.join(", "));
    if result.models.len() > 1 {
        let models: Vec<String> = result
            .models
            .iter()
            .map(|(model, verdict)| format!("{} on {}", verdict.name(), text::markdown_code(model)))
            .collect();
        let _ = write!(text, " By model: {}.", models.join(", "));
    }
    text
}

fn counted(comparisons: usize) -> String {
    if comparisons == 1 { "1 comparison".to_owned() } else { format!("{comparisons} comparisons") }
}
