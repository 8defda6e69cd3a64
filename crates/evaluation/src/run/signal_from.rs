//! From which layer a rule reads at a site: from the site's own, or where that lacks what the rule reads, from the nearest one before
//! it that has it.

use candle_core::Tensor;
use reduction_strategies::SitePlan;
use ssm_kernels::{KernelError, Segments};
use ssm_model::{ModelConfig, SignalSet, Signals};

use super::reduction::Reduction;
use crate::error::EvaluationError;

/// Which layer shows a rule what it reads at a site. It concerns hybrids: an attention layer has no scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SignalFrom {
    /// The layer of the site.
    #[default]
    Site,
    /// The layer of the site where it shows everything that the rule reads, else the nearest layer before it that does. All signals of
    /// a rule come from one layer.
    NearestSsm,
}

/// Names of [`SignalFrom`] in experiment files, the default first.
pub const SIGNAL_FROM: [(&str, SignalFrom); 2] = [("site", SignalFrom::Site), ("nearest_ssm", SignalFrom::NearestSsm)];

impl SignalFrom {
    /// Name in experiment files and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        SIGNAL_FROM[self as usize].0
    }

    /// The layer that shows `read` at a site, by what each layer of the model shows; none where no layer does.
    #[must_use]
    pub fn layer(self, read: SignalSet, shown: &[SignalSet], site: usize) -> Option<usize> {
        let shows = |layer: &usize| shown.get(*layer).is_some_and(|shown| read.without(*shown).is_empty());
        match self {
            Self::Site => Some(site).filter(shows),
            Self::NearestSsm => (0..=site).rev().find(shows),
        }
    }
}

impl Reduction {
    /// The layer that shows the rule what it reads at a site.
    pub(crate) fn source(&self, config: &ModelConfig, site: usize) -> usize {
        let shown: Vec<SignalSet> = config.layers.iter().map(ssm_model::LayerConfig::signals).collect();
        // Where no layer does, the rule says what it misses.
        self.signal_from.layer(self.rule.signals(), &shown, site).unwrap_or(site)
    }

    /// What the rule reads of a layer, at its own site or at a later one.
    pub(crate) fn wanted(&self, config: &ModelConfig, layer: usize) -> SignalSet {
        let reads = self.sites.contains(&layer) || self.carries(config, layer, layer);
        if reads { self.rule.signals() } else { SignalSet::default() }
    }

    /// Whether a site after layer `now` reads what layer `source` showed.
    pub(crate) fn carries(&self, config: &ModelConfig, source: usize, now: usize) -> bool {
        self.signal_from == SignalFrom::NearestSsm
            && self.sites.iter().any(|site| *site > now && self.source(config, *site) == source)
    }
}

/// What an earlier layer showed, for the rows that are still there.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// The layer.
    pub(crate) layer: usize,
    pub(crate) signals: Signals,
}

impl Carried {
    /// The rows at these places; a merged row has the signals of the kept one.
    pub(crate) fn rows(&self, rows: &[u32]) -> Result<Self, EvaluationError> {
        let take = |signal: ssm_model::Signal, tensor: &Tensor| -> Result<Tensor, KernelError> {
            if !signal.info().per_token {
                return Ok(tensor.clone());
            }
            Ok(tensor.index_select(&Tensor::new(rows, tensor.device())?, 0)?)
        };
        Ok(Self { layer: self.layer, signals: self.signals.select(SignalSet::ALL, take)? })
    }
}

/// Places of the rows that a site keeps.
pub(crate) fn kept_rows(plan: &SitePlan, segments: &Segments) -> Vec<u32> {
    let mut rows = Vec::new();
    for (segment, plan) in plan.plans.iter().enumerate() {
        let own = segments.rows(segment);
        match plan {
            Some(plan) => rows.extend(plan.keep().iter().map(|row| own.start as u32 + row)),
            None => rows.extend(own.start as u32..own.end as u32),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use ssm_model::Signal;

    use super::*;

    #[test]
    fn all_signals_come_from_one_layer_at_or_before_the_site() {
        let (scan, attention) = (SignalSet::ALL, SignalSet::of(&[Signal::SsmOutput, Signal::Influence]));
        let shown = [scan, scan, attention, attention, scan];
        let both = SignalSet::of(&[Signal::SsmOutput, Signal::Dt]);
        let from = |of: SignalFrom, read, site| of.layer(read, &shown, site);
        assert_eq!(from(SignalFrom::Site, both, 1), Some(1));
        assert_eq!(from(SignalFrom::Site, both, 2), None);
        assert_eq!(from(SignalFrom::NearestSsm, both, 3), Some(1));
        assert_eq!(from(SignalFrom::NearestSsm, both, 4), Some(4));
        assert_eq!(from(SignalFrom::NearestSsm, attention, 3), Some(3), "attention shows it itself");
        assert_eq!(SignalFrom::NearestSsm.layer(both, &[attention; 2], 1), None);
    }
}
