//! Protocol `causal`: as `aligned`, for rules whose fates follow from earlier tokens alone.

use super::aligned::{readings, units};
use super::declaration::{Protocol, Scope};

/// [`ALIGNED`](super::ALIGNED) for causal rules ([`Causality`](reduction_strategies::Causality)); every other rule is refused. The
/// only protocol under which the perplexity of every token of a reduced text means what it says.
pub static CAUSAL: Protocol = Protocol {
    name: "causal",
    help: "`aligned`, for strategies that decide each token from tokens up to it",
    scope: Scope::Input,
    leaks_running_text: false,
    demands_causality: true,
    reports_coverage: true,
    batch_size: None,
    units,
    readings,
};
