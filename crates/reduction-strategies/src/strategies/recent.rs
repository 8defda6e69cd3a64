//! `recent`: the last tokens are kept, and another rule chooses among the older ones.
//!
//! This program's. Most words of a text depend on those just before them, so whatever removes recent tokens pays in fluency, and a plain
//! shorter prompt (`drop_prefix`) pays nothing (`docs/findings.md`). It forgets all that the prefix told, though. This rule never
//! touches the last tokens, a share `recent` of those that it keeps, and lets `older` decide which of the others are removed. Formula, with
//! `n` unprotected tokens of which `n_keep` are kept:
//!
//! ```text
//! w = min(floor(recent n_keep), n_keep - 1);  keep = the last w, and what `older` keeps when it is asked for n_keep - w of the first n - w
//! ```
//!
//! `older` names a strategy with its defaults, or `repeats`: a token is removed the sooner the more it resembles a later one, so that of a
//! word that is told again the last mention is kept:
//!
//! ```text
//! S_t = -max_{s > t} cos(v_t, v_s)    v the rows of the tensor `match_on`
//! ```
//!
//! With `recent: 0` it is the other rule alone, with `recent: 1` it is `drop_prefix` but for one token. Taking the mean over the sequence
//! from all rows first was tried and not kept: on English novels it costs more recall (`experiments/recent-tune.yaml`).

use std::collections::BTreeMap;
use std::sync::Arc;

use ssm_model::SignalSet;

use crate::blocks::importance::{Source, Widths};
use crate::blocks::matching::unit_rows;
use crate::blocks::rank;
use crate::error::PlanError;
use crate::interpret::plan_of;
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::plan::Plan;
use crate::registry::{Family, Registration, Strategy};
use crate::rule::{DeviceRule, HostRule, Older, Rule};
use crate::schedule;
use crate::vectors::dot;
use crate::view::SequenceView;

const RECENT: OptionInfo = OptionInfo {
    name: "recent",
    kind: OptionKind::Number { min: 0.0, max: 1.0 },
    default: OptionDefault::Number(0.5),
    help: "share of the kept tokens that are the last ones, whatever they hold",
};

const REPEATS: &str = "repeats";

const OLDER: OptionInfo = OptionInfo {
    name: "older",
    kind: OptionKind::Choice(&[REPEATS, "uniform", "top_k", "inverted_top_k", "write_read", "utrc", "tome", "mtr"]),
    default: OptionDefault::Word(REPEATS),
    help: "what chooses among the older tokens: repeats (a token that resembles a later one is removed first), or a strategy",
};

const MATCH_ON: OptionInfo = OptionInfo {
    name: "match_on",
    kind: OptionKind::Choice(&["residual", "block_output", "ssm_output"]),
    default: OptionDefault::Word("residual"),
    help: "the tensor that repeats compares; other rules ignore it",
};

#[derive(Debug)]
struct Recent {
    recent: f64,
    older: Older,
}

impl Recent {
    /// How many of the last of the kept tokens are kept whatever they hold; one at least is the other rule's.
    fn last(&self, n_keep: usize) -> usize {
        schedule::n_last(self.recent, n_keep)
    }
}

/// Rows by how little they resemble a later row of the sequence; the last resembles none.
fn newness(source: Source, view: &SequenceView<'_>, rows: &[u32]) -> Result<Vec<f32>, PlanError> {
    let matrix = source.of(view)?;
    let all: Vec<u32> = (0..view.len() as u32).collect();
    let units = unit_rows(matrix, &all, false);
    let unit = |row: usize| &units[row * matrix.columns..(row + 1) * matrix.columns];
    let score = |row: &u32| {
        view.stop.check()?;
        let own = *row as usize;
        let largest = (own + 1..view.len()).map(|later| dot(unit(own), unit(later))).fold(-1.0, f64::max);
        let score = -largest as f32;
        let is_finite = matrix.row(own).iter().all(|value| value.is_finite());
        if is_finite { Ok(score) } else { Err(view.not_finite("a row that is compared", own, f32::NAN)) }
    };
    rows.iter().map(score).collect()
}

impl HostRule for Recent {
    fn signals(&self) -> SignalSet {
        match &self.older {
            Older::Repeats(source) => source.signals(),
            Older::Rule(rule) => rule.signals(),
        }
    }

    fn reads_residual(&self) -> bool {
        match &self.older {
            Older::Repeats(source) => *source == Source::Residual,
            Older::Rule(rule) => rule.reads_residual(),
        }
    }

    fn is_blind(&self) -> bool {
        matches!(&self.older, Older::Rule(rule) if rule.is_blind())
    }

    fn on_device(&self) -> Option<DeviceRule> {
        Some(DeviceRule::KeepLast { share: self.recent, older: self.older.clone() })
    }

    fn matching_flops(&self, n: usize, n_kept: usize, widths: Widths) -> f64 {
        let recent = self.last(n_kept);
        match &self.older {
            Older::Repeats(source) => (n - recent) as f64 * (n + recent) as f64 * widths.of(*source) as f64,
            Older::Rule(rule) => rule.matching_flops(n - recent, n_kept - recent, widths),
        }
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let candidates = view.reducible();
        let recent = self.last(n_keep);
        let (older, last) = candidates.split_at(candidates.len() - recent);
        let mut protected = view.protected.to_vec();
        for row in last {
            protected[*row as usize] = true;
        }
        match &self.older {
            Older::Repeats(source) => {
                let scores = newness(*source, view, older)?;
                for index in rank::highest(&scores, n_keep - recent)? {
                    protected[older[index as usize] as usize] = true;
                }
                Plan::prune(view.len(), (0..view.len() as u32).filter(|row| protected[*row as usize]).collect())
            }
            Older::Rule(rule) => plan_of(rule, &SequenceView { protected: &protected, ..*view }, n_keep - recent),
        }
    }
}

fn build(options: &ResolvedOptions) -> Rule {
    let older = match options.word("older") {
        REPEATS => Older::Repeats(Source::from_word(options.word("match_on"))),
        name => {
            let strategy = Strategy::new(name, &BTreeMap::new());
            Older::Rule(Box::new(
                strategy.unwrap_or_else(|error| unreachable!("a registered strategy: {error}")).rule(),
            ))
        }
    };
    Rule::Host(Arc::new(Recent { recent: options.number("recent"), older }))
}

inventory::submit! {
    Registration {
        name: "recent",
        family: Family::Pruning,
        version: 1,
        summary: "The last tokens are kept; among the older ones another rule chooses, or those that resemble a later token are removed.",
        source: "this program's; a window of recent tokens: StreamingLLM, Xiao et al., ICLR 2024, https://arxiv.org/abs/2309.17453",
        formula: "w = min(floor(recent n_keep), n_keep - 1); keep = the last w and the n_keep - w best of the others; \
                  repeats: S_t = -max_{s > t} cos(v_t, v_s)",
        differs: "StreamingLLM keeps the first tokens too and drops all between.",
        options: &[RECENT, OLDER, MATCH_ON],
        seeded: false,
        build: &build,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::importance::{Importance, SUM};
    use crate::rule::{Extreme, Score};
    use crate::testing::Sequence;

    #[test]
    fn the_last_are_kept_and_of_the_older_the_best() {
        let sequence = Sequence::of_rows(&[[1.0], [5.0], [2.0], [4.0], [0.0], [0.0]]);
        let by_sum = || {
            let importance = Importance::new(&SUM, Source::BlockOutput);
            Older::Rule(Box::new(Rule::Prune(Score::Importance { importance, keep: Extreme::Highest })))
        };
        let keep = |recent, n_keep| Recent { recent, older: by_sum() }.plan(&sequence.view(), n_keep).unwrap().keep().to_vec();
        assert_eq!(keep(0.5, 4), [1, 3, 4, 5]);
        assert_eq!(keep(0.0, 4), [0, 1, 2, 3]);
        assert_eq!(keep(1.0, 3), [1, 4, 5], "one of the kept is the other rule's");
    }

    #[test]
    fn of_what_is_told_twice_the_last_mention_is_kept() {
        // Rows 0 and 3 are one direction, 1 and 4 nearly so.
        let rows = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.3], [2.0, 0.0], [0.1, 1.0], [-1.0, -1.0]];
        let sequence = Sequence::of_rows(&rows);
        let rule = Recent { recent: 0.2, older: Older::Repeats(Source::BlockOutput) };
        assert_eq!(rule.plan(&sequence.view(), 5).unwrap().keep(), [1, 2, 3, 4, 5]);
        assert_eq!(rule.plan(&sequence.view(), 4).unwrap().keep(), [2, 3, 4, 5]);
        // Five older rows against the rows after them, one column: (6 - 1)(6 + 1) = 35, about twice 5 + 4 + 3 + 2 + 1.
        let widths = Widths { d_model: 1, d_inner: 1, dt: 1 };
        assert!((rule.matching_flops(6, 5, widths) - 35.0).abs() < 1e-9);
    }
}
