//! The strategy that `docs/adding-a-strategy.md` shows: compiled as its file stands, registered, and right on a case computed by hand.
//! The laws hold for it too: `laws.rs` registers the same file.

#[path = "example/small_steps.rs"]
mod small_steps;

use std::collections::BTreeMap;

use reduction_strategies::laws::cases::{Kind, Sequence};
use reduction_strategies::options::OptionValue;
use reduction_strategies::plan_sequence;
use reduction_strategies::registry::Strategy;
// A strategy file names the crate that it stands in.
use reduction_strategies::{blocks, options, registry, rule};

fn strategy(invert: &str) -> Strategy {
    let options = BTreeMap::from([("invert".to_owned(), OptionValue::Word(invert.to_owned()))]);
    Strategy::new("small_steps", &options).unwrap()
}

#[test]
fn the_smallest_steps_leave() {
    let mut sequence = Sequence::new(0, 4, Kind::Plain);
    let steps = [0.5_f32, 0.1, 0.9, 0.2];
    let heads = sequence.dt.len() / steps.len();
    for (token, step) in steps.into_iter().enumerate() {
        sequence.dt[token * heads..][..heads].fill(step);
    }
    let keep = |invert| plan_sequence(&strategy(invert).rule(), &sequence.view(0), 0.5).unwrap().keep().to_vec();
    assert_eq!(keep("no"), [0, 2]);
    assert_eq!(keep("yes"), [1, 3]);
}

#[test]
fn the_page_shows_exactly_this_file() {
    let page = include_str!("../../../docs/adding-a-strategy.md");
    let file = include_str!("example/small_steps.rs");
    assert!(page.contains(&format!("```rust\n{file}```\n")), "docs/adding-a-strategy.md shows another small_steps.rs");
}
