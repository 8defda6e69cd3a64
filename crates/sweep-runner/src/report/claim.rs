//! The verdict on a claim in words, for `report.md` and for documents.

use std::fmt::Write as _;

use super::tables;
use crate::analyse::{ClaimResult, JOINT_LEVEL, Terms, Verdict};
use crate::config::Share;
use crate::text;

/// Name of the table of comparisons.
pub(super) const TABLE: &str = "claim";

/// Verdict, claim, rule, comparisons.
pub(super) fn text(result: &ClaimResult) -> String {
    let claim = &result.claim;
    let mut page = format!("**Claim.** {}\n\n", text::markdown(&claim.expect));
    let _ = writeln!(page, "**Verdict: {}.** {}\n", result.verdict.name(), counts(result));
    let share = match claim.share {
        Share::All => "every comparison holds",
        Share::Most => "more than half of the comparisons hold",
    };
    let _ = writeln!(
        page,
        "**Rule, fixed before the run.** The claim is supported if {share}, and refuted once so many fail that this cannot be. A \
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
