//! Which algorithm a product runs with: the reference of its weight, and by class of row counts the fastest that agrees with it.
//!
//! The two are kept apart. A reference is asked for once and never replaced, so the bits of a product do not depend on which row
//! counts came first or on what a clock said; a tuned choice only decides how long they take.

use std::collections::HashMap;
use std::hash::Hash;

/// Numbers of rows for which an algorithm is chosen; a product takes the first that is not smaller, or the last.
pub(super) const CLASSES: [usize; 5] = [128, 512, 1024, 2048, 8192];

/// The class of a number of rows.
fn class_of(rows: usize) -> usize {
    CLASSES.iter().position(|most| rows <= *most).unwrap_or(CLASSES.len() - 1)
}

/// What is known so far: references by `W`, all that the bits of a product may depend on, and tuned choices by `S`, all that its
/// speed depends on besides the number of rows.
pub(super) struct Choices<W, S, A> {
    references: HashMap<W, A>,
    tuned: HashMap<(S, usize), A>,
}

impl<W, S, A> Default for Choices<W, S, A> {
    fn default() -> Self {
        Self { references: HashMap::new(), tuned: HashMap::new() }
    }
}

impl<W: Eq + Hash, S: Eq + Hash, A: Copy> Choices<W, S, A> {
    /// The algorithm for `rows` rows. `reference` proposes that of the weight, from a number of rows that is always the same; `tune`
    /// finds the fastest for a number of rows among those that agree with it. Each is called where nothing is known yet.
    pub(super) fn of<E>(
        &mut self,
        weight: W,
        shape: S,
        rows: usize,
        reference: impl FnOnce(usize) -> Result<A, E>,
        tune: impl FnOnce(A, usize) -> Result<A, E>,
    ) -> Result<A, E> {
        let class = class_of(rows);
        let key = (shape, class);
        if let Some(tuned) = self.tuned.get(&key) {
            return Ok(*tuned);
        }
        let known = self.references.get(&weight).copied();
        let reference = match known {
            Some(reference) => reference,
            None => *self.references.entry(weight).or_insert(reference(CLASSES[CLASSES.len() - 1])?),
        };
        let tuned = tune(reference, CLASSES[class])?;
        self.tuned.insert(key, tuned);
        Ok(tuned)
    }
}

/// The fastest of `proposals` that agree with the reference, or the reference itself.
pub(super) fn fastest<A: Copy, E>(
    reference: A,
    proposals: impl IntoIterator<Item = A>,
    mut agrees: impl FnMut(&A) -> Result<bool, E>,
    mut seconds: impl FnMut(&A) -> Result<f64, E>,
) -> Result<A, E> {
    let mut best = (seconds(&reference)?, reference);
    for proposal in proposals {
        if agrees(&proposal)? {
            let seconds = seconds(&proposal)?;
            if seconds < best.0 {
                best = (seconds, proposal);
            }
        }
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// An algorithm: the order in which it sums, and the seconds that it takes for a class of row counts.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Algorithm {
        order: u8,
        seconds: [f64; CLASSES.len()],
    }

    /// What a library might propose, its favourite first: it depends on the number of rows, and so does what is fast.
    fn proposals(rows: usize) -> Vec<Algorithm> {
        let steady = Algorithm { order: 1, seconds: [5.0; CLASSES.len()] };
        let small = Algorithm { order: 1, seconds: [1.0, 2.0, 6.0, 9.0, 9.0] };
        let other = Algorithm { order: 2, seconds: [0.5; CLASSES.len()] };
        if rows > 512 { vec![steady, other, small] } else { vec![other, small, steady] }
    }

    fn tune(reference: Algorithm, rows: usize) -> Result<Algorithm, Infallible> {
        let class = class_of(rows);
        fastest(
            reference,
            proposals(rows),
            |proposal| Ok(proposal.order == reference.order),
            |proposal| Ok(proposal.seconds[class]),
        )
    }

    fn ask(choices: &mut Choices<u8, (u8, u8), Algorithm>, stride: u8, rows: usize) -> Algorithm {
        choices.of(7, (7, stride), rows, |rows| Ok(proposals(rows)[0]), tune).unwrap()
    }

    #[test]
    fn classes_are_those_of_the_first_bound_that_is_not_smaller() {
        assert_eq!([1, 128, 129, 2048, 2049, 8192, 8193, 1 << 20].map(class_of), [0, 0, 1, 3, 4, 4, 4, 4]);
    }

    #[test]
    fn whichever_rows_come_first_every_choice_sums_in_the_order_of_the_reference() {
        let counts = [1, 300, 1000, 2000, 5000];
        for first in 0..counts.len() {
            let mut choices = Choices::default();
            let mut chosen = counts;
            chosen.rotate_left(first);
            let chosen = chosen.map(|rows| (rows, ask(&mut choices, 0, rows)));
            for (rows, algorithm) in chosen {
                assert_eq!(algorithm.order, 1, "{rows} rows, {} first", counts[first]);
                let fast = if rows <= 512 { 1.0 } else { 5.0 };
                assert!((algorithm.seconds[0] - fast).abs() < 1e-9, "{rows} rows, {} first", counts[first]);
            }
            assert_eq!(choices.references[&7], proposals(8192)[0], "what is fast replaces no reference");
        }
    }

    #[test]
    fn a_weight_has_one_reference_however_its_rows_are_stored() {
        let mut choices = Choices::default();
        ask(&mut choices, 0, 100);
        let view = choices.of(7, (7, 1), 100, |_| panic!("the reference is known"), tune).unwrap();
        assert_eq!((view, choices.references.len(), choices.tuned.len()), (ask(&mut choices, 0, 100), 1, 2));
    }

    #[test]
    fn what_failed_is_not_kept() {
        let mut choices = Choices::<u8, (u8, u8), Algorithm>::default();
        assert_eq!(choices.of(7, (7, 0), 1, |_| Err("full"), |_, _| panic!("no reference")), Err("full"));
        assert_eq!(choices.of(7, (7, 0), 1, |rows| Ok(proposals(rows)[0]), |_, _| Err("full")), Err("full"));
        assert_eq!(ask(&mut choices, 0, 1).order, 1);
    }
}
