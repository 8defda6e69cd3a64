//! Rows of a probe: keys, a measure, and what each item adds to it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use records::probes::{Contribution, Key, ProbeRow};

/// All rows of a probe on one model and task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeTable {
    /// In order of their first observation.
    pub rows: Vec<ProbeRow>,
}

impl ProbeTable {
    /// The row of these keys and this measure.
    #[must_use]
    pub fn find(&self, keys: &[Key], measure: &str) -> Option<&ProbeRow> {
        self.rows.iter().find(|row| row.measure == measure && row.keys == keys)
    }
}

/// Gathers observations into rows.
#[derive(Default)]
pub(super) struct Gather {
    table: ProbeTable,
    known: HashMap<String, usize>,
}

impl Gather {
    /// Adds one observation of `item`. Items come in ascending order for each row. A value that is not a finite number (the
    /// correlation of a constant, say) is no observation.
    pub(super) fn add(&mut self, item: usize, measure: &'static str, value: f64, keys: &[Key]) {
        if !value.is_finite() {
            return;
        }
        let name = format!("{measure} {keys:?}");
        let rows = &mut self.table.rows;
        let index = *self.known.entry(name).or_insert_with(|| {
            rows.push(ProbeRow { keys: keys.to_vec(), measure: measure.to_owned(), contributions: Vec::new() });
            rows.len() - 1
        });
        let contributions = &mut rows[index].contributions;
        match contributions.last_mut() {
            Some((last, sum, n)) if *last == item as u32 => {
                *sum += value;
                *n += 1.0;
            }
            _ => contributions.push((item as u32, value, 1.0)),
        }
    }

    /// The rows.
    pub(super) fn finish(self) -> ProbeTable {
        self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_of_an_item_are_summed_and_nonsense_is_none() {
        let mut gather = Gather::default();
        let key = [Key::from(3), Key::from("a")];
        gather.add(0, "loss", 1.0, &key);
        gather.add(0, "loss", 2.0, &key);
        gather.add(2, "loss", 6.0, &key);
        gather.add(2, "loss", f64::NAN, &key);
        gather.add(2, "other", 1.0, &key);
        let table = gather.finish();
        assert_eq!(table.rows.len(), 2);
        let row = table.find(&key, "loss").unwrap();
        assert_eq!(row.contributions, [(0, 3.0, 2.0), (2, 6.0, 1.0)]);
        assert_eq!(row.value(), Some(3.0));
    }
}
