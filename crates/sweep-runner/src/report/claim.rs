//! The verdict on a claim in words, for `report.md` and for documents.

use std::fmt::Write as _;

use super::tables;
use crate::analyse::{ClaimResult, Verdict};
use crate::config::Share;

/// Name of the table of comparisons.
pub(super) const TABLE: &str = "claim";

/// Verdict, claim, rule, comparisons.
pub(super) fn text(result: &ClaimResult) -> String {
    let claim = &result.claim;
    let mut text = format!("**Claim.** {}\n\n", one_line(&claim.expect));
    let _ = writeln!(text, "**Verdict: {}.** {}\n", result.verdict.name(), counts(result));
    let share = match claim.share {
        Share::All => "every comparison holds",
        Share::Most => "more than half of the comparisons hold",
    };
    let _ = writeln!(
        text,
        "**Rule, fixed before the run.** The claim is supported if {share}, and refuted once so many fail that this cannot be. A \
         comparison holds where the interval of `higher` minus `lower` lies wholly above its margin, and fails where it lies \
         wholly at or below it. Intervals are corrected for {} comparisons (Holm): 95 % for all of them together.\n",
        claim.comparisons.len()
    );
    if let Some((width, quantity)) = result.blindest() {
        let _ = writeln!(
            text,
            "**What could have been seen.** The smallest detectable effect of a comparison is half the width of its corrected \
             interval: a true effect that far from the margin is decided every other time. It is at most {width:.1} {}.\n",
            quantity.unit()
        );
    }
    let table = tables::claim_table(result);
    let _ = writeln!(text, "{}\n*{}*", table.markdown(), table.caption);
    text
}

fn counts(result: &ClaimResult) -> String {
    let words = [Verdict::Supported, Verdict::Refuted, Verdict::Undecided]
        .map(|verdict| format!("{} {}", result.count(verdict), verdict.name()));
    let mut text = format!("Of {} comparisons {}.", result.rows.len(), words.join(", "));
    if result.models.len() > 1 {
        let models: Vec<String> =
            result.models.iter().map(|(model, verdict)| format!("{} on `{model}`", verdict.name())).collect();
        let _ = write!(text, " By model: {}.", models.join(", "));
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
