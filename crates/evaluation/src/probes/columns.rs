//! Columns of the rows of a probe, and which values they can hold: as far as that is known before a run.

use ssm_model::{Signal, SignalSet};

use super::layers;
use super::table::Key;
use reduction_strategies::options::ResolvedOptions;

/// A column of the rows of a probe.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Name in frames.
    pub name: &'static str,
    /// What it holds, with its unit.
    pub help: &'static str,
    /// What it can hold.
    pub values: Values,
}

/// Which values a column can hold.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// What a run finds.
    Open,
    /// These words.
    Words(&'static [&'static str]),
    /// 1, 2, 4 and so on, as far as the items reach.
    PowersOfTwo,
    /// What follows from model, task and options.
    Follow(fn(&Facts<'_>) -> Vec<Key>),
}

/// What decides which rows there are.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What each layer of the model shows.
    pub layers: &'a [SignalSet],
    /// Whether items may mark the tokens that their answer needs: running text has no answer.
    pub marks: bool,
    /// Options of the probe, defaults filled in.
    pub options: &'a ResolvedOptions,
    /// What the rows measure.
    pub measure: &'a str,
}

impl Column {
    /// The key of a row as the probe writes it, for `key` as a person does: 1 may be written for 1.0.
    ///
    /// # Errors
    /// In words, what the column can hold, where no row has this key.
    pub fn find(&self, key: &Key, facts: &Facts<'_>) -> Result<Key, String> {
        let known: Vec<Key> = match self.values {
            Values::Open => return Ok(key.clone()),
            Values::PowersOfTwo => {
                let is_one = number(key).is_some_and(|value| value >= 1.0 && value.log2().fract() == 0.0);
                return if is_one { Ok(key.clone()) } else { Err("1, 2, 4, 8 and so on".to_owned()) };
            }
            Values::Words(words) => words.iter().map(|word| Key::from(*word)).collect(),
            Values::Follow(values) => values(facts),
        };
        let found =
            known.iter().find(|known| *known == key || (number(known).is_some() && number(known) == number(key)));
        found.cloned().ok_or_else(|| {
            let words = |key: &Key| if *key == Key::None { "none".to_owned() } else { key.to_string() };
            known.iter().map(words).collect::<Vec<_>>().join(", ")
        })
    }
}

fn number(key: &Key) -> Option<f64> {
    match key {
        Key::Whole(value) => Some(*value as f64),
        Key::Number(value) => Some(*value),
        Key::None | Key::Text(_) => None,
    }
}

impl Facts<'_> {
    /// The layer after which the probe removes tokens.
    pub(super) fn site(&self) -> usize {
        site(self.options, self.layers.len())
    }

    /// The layers behind the site that have a scan.
    pub(super) fn scans(&self) -> Vec<usize> {
        let all = self.layers.iter().enumerate().skip(self.site() + 1);
        all.filter(|(_, shown)| shown.contains(Signal::Scan)).map(|(layer, _)| layer).collect()
    }

    /// Every `every`-th layer and the last.
    pub(super) fn every(&self) -> Vec<usize> {
        layers(0, self.layers.len(), self.options.integer("every") as usize)
    }

    /// What all of these layers show.
    pub(super) fn shown(&self, layers: &[usize]) -> SignalSet {
        let both = |a: SignalSet, b: SignalSet| a.without(a.without(b));
        layers.iter().filter_map(|layer| self.layers.get(*layer).copied()).reduce(both).unwrap_or_default()
    }
}

/// The layer of `n_layer` after which a probe with the option `site_depth` removes tokens.
pub(super) fn site(options: &ResolvedOptions, n_layer: usize) -> usize {
    let last = n_layer - 1;
    // Something must be left to look at behind it.
    ((options.number("site_depth") * last as f64).round() as usize).min(last.saturating_sub(1))
}

/// Every `every`-th of these layers, and the last.
pub(super) fn thinned(all: &[usize], every: usize) -> Vec<usize> {
    layers(0, all.len(), every).into_iter().map(|index| all[index]).collect()
}

/// Layers as keys.
pub(super) fn keys(layers: &[usize]) -> Vec<Key> {
    layers.iter().map(|layer| Key::from(*layer)).collect()
}

/// `removed`: whether a token is one that the answer needs.
pub(super) const REMOVED: Values = Values::Follow(|facts| {
    let words: &[&str] = if facts.marks { &["necessary", "other"] } else { &["other"] };
    words.iter().map(|word| Key::from(*word)).collect()
});
