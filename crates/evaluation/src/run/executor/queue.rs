//! What is to be run next: the micro-batches of the jobs, in order.

use std::sync::{Arc, Mutex, PoisonError};

use ssm_model::LanguageModel;

use super::budget::Budget;
use super::catalogue::Catalogue;
use super::{CellRequest, ExecutorSettings, Job};

/// Hands out the cells of the next job; none where there are no more. A job without cells or units is passed over.
pub type NextJob<'f, 'a> = dyn FnMut() -> Option<Vec<CellRequest<'a>>> + Send + 'f;

/// Micro-batches for all workers.
pub(super) struct Queue<'q, 'f, 'a> {
    model: &'q LanguageModel,
    settings: ExecutorSettings,
    state: Mutex<State<'q, 'f, 'a>>,
}

struct State<'q, 'f, 'a> {
    /// None once there are no more.
    next: Option<&'q mut NextJob<'f, 'a>>,
    /// The job in hand and its next micro-batch.
    current: Option<(Arc<Job<'a>>, usize)>,
    begun: usize,
}

impl<'q, 'f, 'a> Queue<'q, 'f, 'a> {
    pub(super) fn new(model: &'q LanguageModel, settings: ExecutorSettings, next: &'q mut NextJob<'f, 'a>) -> Self {
        Self { model, settings, state: Mutex::new(State { next: Some(next), current: None, begun: 0 }) }
    }

    /// The next micro-batch and its job.
    pub(super) fn take(&self) -> Option<(Arc<Job<'a>>, usize)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some((job, batch)) = &mut state.current
                && *batch < job.batches.len()
            {
                *batch += 1;
                return Some((Arc::clone(job), *batch - 1));
            }
            state.current = None;
            let Some(cells) = state.next.as_mut()?() else {
                state.next = None;
                return None;
            };
            let catalogue = Catalogue::new(&cells);
            let budget = Budget::new(self.model.config(), &cells, &self.settings);
            let documents: Vec<usize> = (0..catalogue.documents.len()).collect();
            let batches = catalogue.micro_batches(&documents, budget.rows_per_call);
            state.current = Some((Arc::new(Job { number: state.begun, cells, catalogue, batches, budget }), 0));
            state.begun += 1;
        }
    }

    /// Hands nothing out any more.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.next, state.current) = (None, None);
    }
}
