//! Scoring protocols: how an item becomes packed sequences, and from which row each target is read.
//!
//! A protocol is one static [`Protocol`] in a file of its own, and a line in the table below. Its two functions are `units`, which turns
//! queries into sequences before anything runs, and `readings`, which says after the reduction which kept row answers for which
//! target. Neither knows a model: the same readings are scored by the model and by an oracle, which is how a protocol that reads
//! wrong rows is found out.

mod aligned;
mod causal;
mod context;
mod declaration;
#[cfg(test)]
mod tests;
mod upstream;

pub use aligned::ALIGNED;
pub use causal::CAUSAL;
pub use context::CONTEXT;
pub use declaration::{Protocol, Refusal, Scope, Scoring};
pub use upstream::{BATCH_SIZE as UPSTREAM_BATCH_SIZE, UPSTREAM};

/// All protocols, in the order in which they are listed; the first is the default.
static PROTOCOLS: &[&Protocol] = &[&CONTEXT, &ALIGNED, &CAUSAL, &UPSTREAM];

/// All protocols, the default first.
#[must_use]
pub fn all() -> &'static [&'static Protocol] {
    PROTOCOLS
}

/// The protocol of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Protocol> {
    PROTOCOLS.iter().copied().find(|protocol| protocol.name == name)
}
