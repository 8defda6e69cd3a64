//! `oracle`: leave-one-out influence, which the driver measures.

use ssm_model::{Signal, SignalSet};

use super::metric::{Compute, Metric};
use super::source::Source;

/// Change of the outcome when the token is removed. Each token costs a run of the later layers: for small inputs only.
pub static ORACLE: Metric = Metric {
    name: "oracle",
    formula: "KL(p, p without t) after the last token",
    reference: "",
    compute: Compute::View {
        signals: SignalSet::of(&[Signal::Influence]),
        // Records have always named the step sizes here; a row's identity includes it.
        source: Source::Dt.name(),
        looks_ahead: true,
        scores: |view| Ok(view.signal(Signal::Influence)?.values.to_vec()),
        kernel: None,
    },
};
