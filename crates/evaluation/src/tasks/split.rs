//! Two halves of the items of a task: one to choose a rule on, one to judge it on.

pub use records::{SPLITS, Split};

/// Context of the key derivation under which item ids are hashed. Fixed for good: another text is another division.
const CONTEXT: &str = "ssm-reduce 2026-11-24 items held out from tuning";

/// Whether an experiment on `split` sees the item of this id.
///
/// The id alone decides, by the lowest bit of its BLAKE3 hash under a fixed derived key: an item is in `held_out` where that
/// bit is 1, in `tune` where it is 0. Content, order, other items and the model have no part in it, and items that are
/// added later move none.
#[must_use]
pub fn in_split(split: Split, item_id: &str) -> bool {
    let held_out = || blake3::derive_key(CONTEXT, item_id.as_bytes())[0] & 1 == 1;
    match split {
        Split::All => true,
        Split::Tune => !held_out(),
        Split::HeldOut => held_out(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{Source, builtin_tasks, facts};

    /// A change of the division would pass off items that were tuned on as held out.
    #[test]
    fn the_division_never_changes() {
        let held_out: String = (0..32)
            .map(|item| if in_split(Split::HeldOut, &format!("world_lambada-{item:04}")) { '1' } else { '0' })
            .collect();
        insta::assert_snapshot!(held_out, @"01000011100011101101010100100011");
    }

    #[test]
    fn the_halves_are_disjoint_complete_and_about_equal() {
        for task in builtin_tasks() {
            let facts = facts(task.name, &Source::default()).unwrap();
            let [all, tune, held_out] = SPLITS.map(|(_, split)| facts.items_in(split));
            assert_eq!(tune + held_out, all, "{}", task.name);
            // Three standard deviations of a fair coin.
            let allowed = 1.5 * (all as f64).sqrt();
            assert!((tune as f64 - held_out as f64).abs() < 2.0 * allowed, "{}: {tune} and {held_out}", task.name);
        }
    }
}
