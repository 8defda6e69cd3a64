//! What rules computed from one sequence at one site, kept for the rules and ratios that ask for it again.
//!
//! What a rule computes before it cuts (importance, partition, similarity) does not depend on how many tokens are kept, so ratios
//! share it, and so do rules that are built from the same blocks. A memo changes no bit: it returns what was computed from the same
//! values. Each block has a key type of its own, so a memo knows no block.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::PlanError;

/// A key or a value of some block.
type Entry = Arc<dyn Any + Send + Sync>;

/// The memo of one sequence at one site. It must not outlive them: keys do not name values.
#[derive(Debug, Default)]
pub struct Memo(Mutex<Vec<(Entry, Entry)>>);

impl Memo {
    /// What was kept under `key`, or what `compute` returns now.
    fn get<K: PartialEq + Send + Sync + 'static, T: Send + Sync + 'static>(
        &self,
        key: K,
        compute: impl FnOnce() -> Result<T, PlanError>,
    ) -> Result<Arc<T>, PlanError> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_key = |known: &Entry| known.downcast_ref::<K>() == Some(&key);
        let found = kept().iter().find(|(known, _)| is_key(known)).map(|(_, value)| Arc::clone(value));
        if let Some(value) = found.and_then(|value| value.downcast().ok()) {
            return Ok(value);
        }
        // Not computed under the lock: the computation may wait for other threads.
        let value = Arc::new(compute()?);
        kept().push((Arc::new(key), value.clone()));
        Ok(value)
    }
}

/// [`Memo::get`] where there is a memo, else just the computation.
pub(crate) fn remember<K: PartialEq + Send + Sync + 'static, T: Send + Sync + 'static>(
    memo: Option<&Memo>,
    key: impl FnOnce() -> K,
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

    #[derive(PartialEq)]
    struct Scores(&'static str);

    #[derive(PartialEq)]
    struct Edges(&'static str);

    #[test]
    fn a_key_is_computed_once() {
        let memo = Memo::default();
        let first = memo.get(Scores("clip"), || Ok(vec![1.0_f32])).unwrap();
        let again = memo.get(Scores("clip"), || -> Result<Vec<f32>, _> { panic!("computed twice") }).unwrap();
        assert_eq!(first, again);
        assert_eq!(*memo.get(Scores("l1"), || Ok(vec![2.0_f32])).unwrap(), [2.0]);
        assert_eq!(*memo.get(Edges("clip"), || Ok(vec![3.0_f32])).unwrap(), [3.0], "another block");
        assert!(memo.get(Scores("l2"), || -> Result<Vec<f32>, _> { Err(PlanError::KeepRatio(2.0)) }).is_err());
    }
}
