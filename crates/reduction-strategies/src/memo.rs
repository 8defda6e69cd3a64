//! Scores and edges of one sequence at one site, kept for the rules and ratios that ask for them again.
//!
//! What a rule computes before it cuts (importance, partition, similarity) does not depend on how many tokens shall
//! leave, so ratios share it, and so do rules that are built from the same blocks. A memo changes no bit: it returns what
//! was computed from the same values.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use ssm_model::SignalSet;

use crate::error::PlanError;
use crate::importance::Importance;
use crate::rule::{Features, Partition};
use crate::stream::Reads;

/// What was computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemoKey {
    /// That these tensors hold no value that is NaN or infinite.
    Finite(SignalSet, Reads),
    /// One score per token.
    Scores(Importance),
    /// One edge per source among these candidates.
    Edges(Partition, Features, Vec<u32>),
    /// The released edges between even and odd candidates, with clipping or without.
    TokenEdges(bool, Vec<u32>),
    /// The released edges between ranks.
    RankEdges(bool, Vec<u32>),
}

/// The memo of one sequence at one site. It must not outlive them: keys do not name values.
#[derive(Debug, Default)]
pub struct Memo(Mutex<Vec<(MemoKey, Arc<dyn Any + Send + Sync>)>>);

impl Memo {
    /// What was kept under `key`, or what `compute` returns now.
    fn get<T: Send + Sync + 'static>(
        &self,
        key: MemoKey,
        compute: impl FnOnce() -> Result<T, PlanError>,
    ) -> Result<Arc<T>, PlanError> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept().iter().find(|(known, _)| *known == key).map(|(_, value)| Arc::clone(value));
        if let Some(value) = found.and_then(|value| value.downcast().ok()) {
            return Ok(value);
        }
        // Not computed under the lock: the computation may wait for other threads.
        let value = Arc::new(compute()?);
        kept().push((key, value.clone()));
        Ok(value)
    }
}

/// [`Memo::get`] where there is a memo, else just the computation.
pub(crate) fn remember<T: Send + Sync + 'static>(
    memo: Option<&Memo>,
    key: impl FnOnce() -> MemoKey,
    compute: impl FnOnce() -> Result<T, PlanError>,
) -> Result<Arc<T>, PlanError> {
    match memo {
        Some(memo) => memo.get(key(), compute),
        None => compute().map(Arc::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::importance::{Metric, Source};

    #[test]
    fn a_key_is_computed_once() {
        let memo = Memo::default();
        let key = |metric| MemoKey::Scores(Importance::new(metric, Source::BlockOutput));
        let first = memo.get(key(Metric::Clip), || Ok(vec![1.0_f32])).unwrap();
        let again = memo.get(key(Metric::Clip), || -> Result<Vec<f32>, _> { panic!("computed twice") }).unwrap();
        assert_eq!(first, again);
        assert_eq!(*memo.get(key(Metric::L1), || Ok(vec![2.0_f32])).unwrap(), [2.0]);
        assert!(memo.get(key(Metric::L2), || -> Result<Vec<f32>, _> { Err(PlanError::KeepRatio(2.0)) }).is_err());
    }
}
