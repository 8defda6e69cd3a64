//! The ends of the bridges: the rules between what is described and what is released begin and end where they say.

use std::collections::BTreeMap;

use reduction_strategies::laws::cases::{KINDS, Sequence};
use reduction_strategies::options::OptionValue;
use reduction_strategies::registry::Strategy;
use reduction_strategies::{Plan, plan_sequence, schedule};

const LENGTHS: [usize; 10] = [1, 2, 3, 4, 5, 36, 37, 64, 65, 200];
const RATIOS: [f64; 6] = [0.05, 0.3, 0.5, 0.9, 0.9729, 1.0];

/// The options after `tensor`, with the word of what is released.
const RELEASED: [(&str, &str); 6] = [
    ("compared", "clipped"),
    ("halves", "places"),
    ("pairs", "mixed"),
    ("matched", "ranks"),
    ("pruned", "channels"),
    ("at_most", "half"),
];

fn rule(name: &str, options: &[(&str, &str)]) -> Strategy {
    let options: BTreeMap<String, OptionValue> =
        options.iter().map(|(name, word)| ((*name).to_owned(), OptionValue::Word((*word).to_owned()))).collect();
    Strategy::new(name, &options).unwrap()
}

fn plan(strategy: &Strategy, sequence: &Sequence, keep_ratio: f64) -> Plan {
    plan_sequence(&strategy.rule(), &sequence.view(7), keep_ratio).unwrap()
}

/// Sequences of awkward lengths with a ratio each, some tokens protected in some of them.
fn cases() -> impl Iterator<Item = (String, Sequence, f64)> {
    let kinds = KINDS.into_iter().flat_map(|kind| LENGTHS.map(|n| (kind, n)));
    let ratios = kinds.flat_map(|(kind, n)| RATIOS.map(|ratio| (kind, n, ratio)));
    ratios.flat_map(|(kind, n, ratio)| {
        let sequence = Sequence::new(n as u64, n, kind);
        let protected = sequence.clone().protect(3);
        [sequence, protected].map(|sequence| (format!("{kind:?} {n} {ratio}"), sequence, ratio))
    })
}

#[test]
fn the_first_step_is_utrc_and_the_last_is_what_was_released() {
    let (first, described) = (rule("utrc_steps", &[]), rule("utrc", &[]));
    let all = [&[("tensor", "block_output")][..], &RELEASED].concat();
    let (last, released) = (rule("utrc_steps", &all), rule("utrc_released", &[]));
    for (what, sequence, ratio) in cases() {
        assert_eq!(plan(&first, &sequence, ratio), plan(&described, &sequence, ratio), "{what}");
        assert_eq!(plan(&last, &sequence, ratio), plan(&released, &sequence, ratio), "{what}");
    }
}

/// Otherwise a bridge would show a step that is none.
#[test]
fn every_step_changes_some_plan() {
    let mut options = vec![("tensor", "block_output")];
    let mut before = rule("utrc_steps", &options);
    for option in RELEASED {
        options.push(option);
        let after = rule("utrc_steps", &options);
        let changes =
            cases().any(|(_, sequence, ratio)| plan(&before, &sequence, ratio) != plan(&after, &sequence, ratio));
        assert!(changes, "{option:?}");
        before = after;
    }
}

#[test]
fn the_released_evit_is_the_lowest_block_output_and_one_more() {
    let (lowest, released) = (rule("inverted_top_k", &[("source", "block_output")]), rule("evit_released", &[]));
    for (what, sequence, ratio) in cases() {
        let reducible = sequence.tokens.protected.iter().filter(|protected| !**protected).count();
        let one_more = schedule::n_keep(ratio, reducible) + 1;
        // The ratio that asks for one more token.
        let ratio_of_one_more = if ratio < 1.0 { (one_more as f64 / reducible.max(1) as f64).min(1.0) } else { 1.0 };
        assert_eq!(plan(&lowest, &sequence, ratio_of_one_more), plan(&released, &sequence, ratio), "{what}");
    }
}

/// Up to there the residual is that of another released rule.
#[test]
fn mixed_pairs_are_those_of_pumer_released() {
    let options = [&[("tensor", "block_output")][..], &RELEASED[..3], &RELEASED[5..]].concat();
    let (steps, released) = (rule("utrc_steps", &options), rule("pumer_released", &[]));
    for (what, sequence, ratio) in cases() {
        let (steps, released) = (plan(&steps, &sequence, ratio), plan(&released, &sequence, ratio));
        assert_eq!((steps.keep(), steps.residual()), (released.keep(), released.residual()), "{what}");
    }
}
