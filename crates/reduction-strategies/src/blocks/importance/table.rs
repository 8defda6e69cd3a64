//! All metrics, and the options by which strategies choose among them.

use super::metric::Metric;
use super::source::Source;
use super::{clip, l_inf, norms, oracle, scan, step_size};
use crate::options::{OptionDefault, OptionInfo, OptionKind};

/// Every metric, in the order of option lists and records.
pub static METRICS: [&Metric; 11] = [
    &clip::CLIP,
    &norms::L1,
    &norms::L2,
    &l_inf::L_INF,
    &norms::SUM,
    &step_size::DT_MEAN,
    &step_size::DT_L2,
    &scan::WRITE_NORM,
    &scan::HIDDEN_ATTENTION,
    &scan::HIDDEN_ATTENTION_NO_DECAY,
    &oracle::ORACLE,
];

/// The metric of that name.
///
/// # Panics
/// On a word that the strategy should not have declared.
#[must_use]
pub fn metric(name: &str) -> &'static Metric {
    let found = METRICS.iter().find(|metric| metric.name == name);
    found.unwrap_or_else(|| panic!("no importance is called `{name}`"))
}

/// Which metrics an option offers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    All,
    /// Those that do not look at later tokens.
    Causal,
    /// Those of the tensor that another option names.
    OfSource,
}

impl Offer {
    const fn takes(self, metric: &Metric) -> bool {
        match self {
            Self::All => true,
            Self::Causal => !metric.looks_ahead(),
            Self::OfSource => metric.reads_chosen_source(),
        }
    }

    const fn count(self) -> usize {
        let (mut count, mut index) = (0, 0);
        while index < METRICS.len() {
            if self.takes(METRICS[index]) {
                count += 1;
            }
            index += 1;
        }
        count
    }

    const fn names<const N: usize>(self) -> [&'static str; N] {
        let mut names = [""; N];
        let (mut count, mut index) = (0, 0);
        while index < METRICS.len() {
            if self.takes(METRICS[index]) {
                names[count] = METRICS[index].name;
                count += 1;
            }
            index += 1;
        }
        names
    }
}

/// The option `importance` of every strategy that ranks by it.
pub const IMPORTANCE_OPTION: OptionInfo = OptionInfo {
    name: "importance",
    kind: OptionKind::Choice(&Offer::All.names::<{ Offer::All.count() }>()),
    default: OptionDefault::Word("clip"),
    help: "what makes a token important; from dt_mean on they read what they need; oracle: leave-one-out, small inputs only",
};

/// [`IMPORTANCE_OPTION`] without the metrics that look at later tokens.
pub const CAUSAL_IMPORTANCE_OPTION: OptionInfo =
    OptionInfo { kind: OptionKind::Choice(&Offer::Causal.names::<{ Offer::Causal.count() }>()), ..IMPORTANCE_OPTION };

/// [`IMPORTANCE_OPTION`] with the metrics of a row of any tensor alone, for an option that says which tensor it is.
pub const ROW_IMPORTANCE_OPTION: OptionInfo = OptionInfo {
    kind: OptionKind::Choice(&Offer::OfSource.names::<{ Offer::OfSource.count() }>()),
    ..IMPORTANCE_OPTION
};

/// The option `source` that goes with [`IMPORTANCE_OPTION`].
pub const SOURCE_OPTION: OptionInfo = OptionInfo {
    name: "source",
    kind: OptionKind::Choice(&[
        Source::BlockOutput.name(),
        Source::SsmOutput.name(),
        Source::ScanOutput.name(),
        Source::GatedOutput.name(),
        Source::Residual.name(),
    ]),
    default: OptionDefault::Word("ssm_output"),
    help: "the tensor whose rows the metrics before dt_mean read; the others ignore it",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_lists_follow_the_table() {
        let words = |option: OptionInfo| match option.kind {
            OptionKind::Choice(words) => words.to_vec(),
            kind => panic!("{kind}"),
        };
        assert_eq!(words(IMPORTANCE_OPTION), METRICS.map(|metric| metric.name));
        let causal = ["clip", "l1", "l2", "l_inf", "sum", "dt_mean", "dt_l2", "write_norm"];
        assert_eq!(words(CAUSAL_IMPORTANCE_OPTION), causal);
        assert_eq!(words(ROW_IMPORTANCE_OPTION), causal[..5]);
        for known in METRICS {
            assert!(std::ptr::eq(metric(known.name), known), "{known:?}: a name of its own");
            assert!(!known.formula.is_empty(), "{known:?}");
        }
    }
}
