//! The strategies that `docs/adding-a-strategy.md` shows: compiled as their files stand, registered, and right on cases computed by
//! hand. The laws hold for them too: `laws.rs` registers the same files.

#[path = "example/little_changed.rs"]
mod little_changed;
#[path = "example/small_steps.rs"]
mod small_steps;

use std::collections::BTreeMap;

use reduction_strategies::laws::cases::{D_MODEL, Kind, Sequence};
use reduction_strategies::options::OptionValue;
use reduction_strategies::plan_sequence;
use reduction_strategies::registry::Strategy;
// A strategy file names the crate that it stands in.
use reduction_strategies::{Plan, PlanError, SequenceView, blocks, options, registry, rule, vectors};

fn strategy(name: &str, option: &str, value: OptionValue) -> Strategy {
    Strategy::new(name, &BTreeMap::from([(option.to_owned(), value)])).unwrap()
}

#[test]
fn the_smallest_steps_leave() {
    let mut sequence = Sequence::new(0, 4, Kind::Plain);
    let steps = [0.5_f32, 0.1, 0.9, 0.2];
    let heads = sequence.dt.len() / steps.len();
    for (token, step) in steps.into_iter().enumerate() {
        sequence.dt[token * heads..][..heads].fill(step);
    }
    let strategy = |invert: &str| strategy("small_steps", "invert", OptionValue::Word(invert.to_owned()));
    let keep = |invert| plan_sequence(&strategy(invert).rule(), &sequence.view(0), 0.5).unwrap().keep().to_vec();
    assert_eq!(keep("no"), [0, 2]);
    assert_eq!(keep("yes"), [1, 3]);
}

#[test]
fn tokens_that_the_block_hardly_changed_are_dropped() {
    let mut sequence = Sequence::new(0, 4, Kind::Zero);
    // Residuals point along the first axis; the block adds this much along the second: a larger angle is a larger change.
    for (token, turn) in [0.0_f32, 3.0, 0.1, 1.0].into_iter().enumerate() {
        sequence.residual[token * D_MODEL] = 1.0;
        sequence.hidden[token * D_MODEL + 1] = turn;
    }
    let strategy = |sinks| strategy("little_changed", "sinks", OptionValue::Integer(sinks));
    let keep = |sinks| plan_sequence(&strategy(sinks).rule(), &sequence.view(0), 0.5).unwrap().keep().to_vec();
    assert_eq!(keep(0), [1, 3]);
    assert_eq!(keep(1), [0, 1], "the first token ranks first");
}

#[test]
fn the_page_shows_exactly_these_files() {
    let page = include_str!("../../../docs/adding-a-strategy.md");
    let files = [
        ("small_steps", include_str!("example/small_steps.rs")),
        ("little_changed", include_str!("example/little_changed.rs")),
    ];
    for (name, file) in files {
        assert!(page.contains(&format!("```rust\n{file}```\n")), "docs/adding-a-strategy.md shows another {name}.rs");
    }
}
