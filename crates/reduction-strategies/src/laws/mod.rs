//! Laws that hold for every strategy. `tests/laws.rs` tries them on every registered one; [`check`] tries a rule that was written a moment
//! ago, in a script, before it is used.

pub mod cases;
mod causality;

use std::fmt;

use hint::Hint;
use ssm_model::Activations;
use thiserror::Error;

use crate::interpret::{n_kept, plan_sequence, plan_site};
use crate::plan::Plan;
use crate::registry::Strategy;
use crate::rule::{Causality, Count, Rule};
use crate::schedule;
use cases::{D_MODEL, Kind, Sequence, Stream};

pub use causality::breach_of_causality;

/// Seed of everything that draws here.
const SEED: u64 = 7;

/// One of the laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A plan is made, and its parts are valid.
    Plan,
    /// The same sequence and seed give the same plan.
    Repeat,
    /// As many tokens are kept as the rule declares.
    Count,
    /// Kept tokens keep their order.
    Order,
    /// Every token is kept, merged or dropped, and no two of them; what else changes is declared.
    Fate,
    /// A plan is the same after it was written and read back.
    Record,
    /// Protected tokens are kept, and with their bits.
    Protection,
    /// Values stay finite, sizes add up, and a keep ratio of 1 changes nothing.
    Values,
    /// The plan of a sequence does not depend on what is computed at the same time.
    Neighbours,
    /// Plans depend on the seed where the strategy says so, and nowhere else.
    Seed,
    /// Fates follow from the tokens that the rule declares.
    Causality,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plan => "a valid plan",
            Self::Repeat => "same sequence and seed, same plan",
            Self::Count => "count",
            Self::Order => "order",
            Self::Fate => "one fate for each token",
            Self::Record => "written and read back",
            Self::Protection => "protected tokens",
            Self::Values => "values",
            Self::Neighbours => "independence of neighbours",
            Self::Seed => "seed",
            Self::Causality => "causality",
        })
    }
}

/// A law that a strategy breaks, and the first sequence on which it does.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{strategy} breaks the law `{law}` on {sequence}: {problem}")]
pub struct Breach {
    /// The law.
    pub law: Law,
    /// The strategy with its options.
    pub strategy: String,
    /// The sequence.
    pub sequence: String,
    /// What is wrong.
    pub problem: String,
    /// What its author can do.
    hint: Option<String>,
}

impl Hint for Breach {
    fn hint(&self) -> Option<String> {
        let own = match self.law {
            Law::Repeat => {
                "a rule may use nothing but what it is shown: no clock, no counter, no other source of random numbers"
            }
            Law::Neighbours => {
                "a rule may keep nothing from one call to the next: sequences come in any order, from several threads"
            }
            Law::Seed => "declare whether the rule draws random numbers",
            Law::Causality => "declare another causality, or decide from earlier tokens alone",
            _ => return self.hint.clone(),
        };
        self.hint.clone().or_else(|| Some(own.to_owned()))
    }
}

/// Where a law was tried.
struct Case<'a> {
    strategy: &'a Strategy,
    sequence: String,
}

impl Case<'_> {
    fn breach(&self, law: Law, problem: impl Into<String>, hint: Option<String>) -> Breach {
        Breach {
            law,
            strategy: format!("{:?}", self.strategy),
            sequence: self.sequence.clone(),
            problem: problem.into(),
            hint,
        }
    }

    fn hold(&self, law: Law, holds: bool, problem: impl FnOnce() -> String) -> Result<(), Breach> {
        if holds { Ok(()) } else { Err(self.breach(law, problem(), None)) }
    }

    /// An error where the law wants a value.
    fn made<T, E: fmt::Display + Hint>(&self, law: Law, made: Result<T, E>) -> Result<T, Breach> {
        made.map_err(|error| self.breach(law, error.to_string(), error.hint()))
    }
}

/// Everything that can be said about one sequence under one rule.
///
/// # Errors
/// The first law that does not hold.
pub fn check_sequence(strategy: &Strategy, sequence: &Sequence, keep_ratio: f64) -> Result<(), Breach> {
    let n = sequence.len();
    let n_protected = sequence.tokens.protected.iter().filter(|protected| **protected).count();
    let case = Case { strategy, sequence: format!("{n} tokens, {n_protected} protected, keep_ratio {keep_ratio}") };
    let rule = strategy.rule();
    let plan = case.made(Law::Plan, plan_sequence(&rule, &sequence.view(SEED), keep_ratio))?;
    let again = case.made(Law::Repeat, plan_sequence(&rule, &sequence.view(SEED), keep_ratio))?;
    let kept = |plan: &Plan| format!("kept {:?}", plan.keep());
    case.hold(Law::Repeat, plan == again, || format!("{}, and another time {}", kept(&plan), kept(&again)))?;

    let got = plan.keep().len();
    let is = |expected: usize, what: &str| {
        case.hold(Law::Count, got == expected, || format!("{got} tokens are kept, {expected} were {what}"))
    };
    match n_kept(&rule, keep_ratio, &sequence.tokens.protected) {
        Some(declared) => is(declared, "declared")?,
        None => case.hold(Law::Count, rule.count().is_free() && n_protected < n, || {
            "a count that is not free is known".to_owned()
        })?,
    }
    match rule.count() {
        Count::Exact => is(n_protected + schedule::n_keep(keep_ratio, n - n_protected), "asked for")?,
        Count::Own(_) => {}
        Count::Free { .. } => {
            case.hold(Law::Count, (n_protected.max(1)..=n).contains(&got), || format!("{got} tokens are kept"))?;
            let other = case.made(Law::Count, plan_sequence(&rule, &sequence.view(SEED), 1.0))?;
            case.hold(Law::Count, plan == other, || {
                format!("{} at another keep ratio, and its count is free", kept(&other))
            })?;
        }
    }
    case.hold(Law::Order, plan.keep().windows(2).all(|pair| pair[0] < pair[1]), || kept(&plan))?;
    check_fates(&case, &plan)?;

    let written = serde_json::to_string(&plan).and_then(|text| serde_json::from_str::<Plan>(&text));
    let is_same = written.as_ref().is_ok_and(|read| *read == plan);
    case.hold(Law::Record, is_same, || format!("{written:?}"))?;
    check_values(&case, sequence, keep_ratio, &plan)
}

fn check_fates(case: &Case<'_>, plan: &Plan) -> Result<(), Breach> {
    let mut fates = vec![0; plan.n_tokens()];
    let merged: Vec<u32> = plan.merged().iter().map(|(token, _)| *token).collect();
    for token in plan.keep().iter().chain(&merged).chain(&plan.dropped()) {
        fates[*token as usize] += 1;
    }
    let wrong = fates.iter().position(|count| *count != 1);
    case.hold(Law::Fate, wrong.is_none(), || {
        format!("token {} has {} fates", wrong.unwrap_or(0), fates[wrong.unwrap_or(0)])
    })?;
    let changes_more = plan.residual_of() != plan.keep() || !plan.times().is_empty();
    let declared = case.strategy.rule().also_changes();
    case.hold(Law::Fate, !changes_more || declared.is_some(), || {
        "the plan changes more than which tokens are kept, and `also_changes` does not say so".to_owned()
    })
}

fn check_values(case: &Case<'_>, sequence: &Sequence, keep_ratio: f64, plan: &Plan) -> Result<(), Breach> {
    let stream = Stream::of(&[sequence]);
    let site = case.made(Law::Neighbours, plan_site(&case.strategy.rule(), keep_ratio, SEED, &stream.site()))?;
    case.hold(Law::Neighbours, site.plans == [Some(plan.clone())], || {
        "packed, the plan is another one than alone".to_owned()
    })?;
    let (Activations { hidden, residual, .. }, segments) = case.made(Law::Values, site.apply(&stream.site()))?;
    case.hold(Law::Values, segments.n_tokens() == plan.keep().len(), || {
        format!("{} rows remain", segments.n_tokens())
    })?;
    let after = case.made(Law::Values, stream.table.apply(&site))?;
    let tokens = &after.segments[0];
    let total: f32 = sequence.tokens.sizes.iter().sum();
    let remains: f32 = tokens.sizes.iter().sum::<f32>() + tokens.dropped;
    case.hold(Law::Values, (total - remains).abs() < 1e-3, || format!("sizes {total} became {remains}"))?;
    case.hold(Law::Order, tokens.positions.windows(2).all(|pair| pair[0] < pair[1]), || {
        "positions do not ascend".to_owned()
    })?;

    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for (branch, after, before) in
        [("hidden", Some(hidden), &sequence.hidden), ("residual", residual, &sequence.residual)]
    {
        let after = after.and_then(|after| after.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).ok());
        let Some(after) = after else { return Err(case.breach(Law::Values, format!("{branch} is gone"), None)) };
        case.hold(Law::Values, after.iter().all(|value| value.is_finite()), || format!("{branch} is NaN or infinite"))?;
        if keep_ratio >= 1.0 && !case.strategy.rule().count().is_free() {
            case.hold(Law::Values, bits(&after) == bits(before), || format!("{branch} changes at a keep ratio of 1"))?;
        }
        for (row, token) in plan.keep().iter().enumerate() {
            let token = *token as usize;
            if sequence.tokens.protected[token] {
                let (after, before) = (&after[row * D_MODEL..][..D_MODEL], &before[token * D_MODEL..][..D_MODEL]);
                case.hold(Law::Protection, bits(after) == bits(before), || {
                    format!("{branch} of token {token} changes")
                })?;
            }
        }
    }
    let is_kept = |token: usize| plan.keep().binary_search(&(token as u32)).is_ok();
    let lost = (0..sequence.len()).find(|token| sequence.tokens.protected[*token] && !is_kept(*token));
    case.hold(Law::Protection, lost.is_none(), || format!("token {} is removed", lost.unwrap_or(0)))
}

/// Plans of sequences that are computed together are those of each by itself.
///
/// # Errors
/// They are not.
pub fn check_neighbours(strategy: &Strategy, sequences: &[Sequence], keep_ratio: f64) -> Result<(), Breach> {
    let lengths: Vec<usize> = sequences.iter().map(Sequence::len).collect();
    let case = Case { strategy, sequence: format!("sequences of {lengths:?} tokens, keep_ratio {keep_ratio}") };
    let rule = strategy.rule();
    let stream = Stream::of(&sequences.iter().collect::<Vec<_>>());
    let site = case.made(Law::Neighbours, plan_site(&rule, keep_ratio, SEED, &stream.site()))?;
    for (index, (plan, sequence)) in site.plans.iter().zip(sequences).enumerate() {
        let alone = case.made(Law::Neighbours, plan_sequence(&rule, &sequence.view(SEED), keep_ratio))?;
        let is_same = plan.as_ref() == Some(&alone);
        case.hold(Law::Neighbours, is_same, || {
            let together = plan.as_ref().map_or(&[][..], Plan::keep);
            format!(
                "the one of {} tokens (entry {index}) keeps {:?} alone and {together:?} among the others",
                sequence.len(),
                alone.keep()
            )
        })?;
    }
    Ok(())
}

/// A seed matters to a strategy that says so, and to no other.
///
/// # Errors
/// It is not as the strategy says.
pub fn check_seed(strategy: &Strategy) -> Result<(), Breach> {
    let sequence = Sequence::new(5, 64, Kind::Plain);
    let case = Case { strategy, sequence: "64 tokens, keep_ratio 0.5".to_owned() };
    let plan = |seed| case.made(Law::Seed, plan_sequence(&strategy.rule(), &sequence.view(seed), 0.5));
    let (differs, seeded) = (plan(0)? != plan(1)?, strategy.registration.seeded);
    case.hold(Law::Seed, differs == seeded, || {
        let words = |yes| if yes { "depends" } else { "does not depend" };
        format!("the plan {} on the seed, and the strategy says that it {}", words(differs), words(seeded))
    })
}

/// Fates follow from the tokens that the rule names, if it names any.
///
/// # Errors
/// They do not.
pub fn check_causality(strategy: &Strategy, keep_ratio: f64) -> Result<(), Breach> {
    let rule: Rule = strategy.rule();
    if rule.causality() == Causality::None {
        return Ok(());
    }
    let case = Case { strategy, sequence: format!("48 tokens, keep_ratio {keep_ratio}") };
    let breach = case.made(Law::Causality, breach_of_causality(&rule, rule.causality(), keep_ratio))?;
    breach.map_or(Ok(()), |problem| Err(case.breach(Law::Causality, problem, None)))
}

/// All laws on few sequences, the smallest first.
///
/// # Errors
/// The first law that does not hold, with the smallest sequence of those tried.
pub fn check(strategy: &Strategy) -> Result<(), Breach> {
    for (n, keep_ratio) in [1, 2, 3, 8, 37].into_iter().flat_map(|n| [0.3, 0.5, 0.9, 1.0].map(|ratio| (n, ratio))) {
        check_sequence(strategy, &Sequence::new(n as u64, n, Kind::Plain), keep_ratio)?;
        check_sequence(strategy, &Sequence::new(n as u64, n, Kind::Plain).protect(3), keep_ratio)?;
    }
    for kind in cases::KINDS {
        check_sequence(strategy, &Sequence::new(1, 37, kind).protect(2), 0.3)?;
    }
    for lengths in [&[2, 3][..], &[5, 1, 8], &[37, 12, 20, 3]] {
        let sequences = lengths.iter().zip(100..).map(|(n, item)| Sequence::new(item, *n, Kind::Plain).protect(5));
        check_neighbours(strategy, &sequences.collect::<Vec<_>>(), 0.5)?;
    }
    check_seed(strategy)?;
    check_causality(strategy, 0.5)
}
