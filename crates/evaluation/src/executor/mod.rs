//! The sharing executor: many cells of one model at once, each piece of work done once.
//!
//! ```text
//! cells -> catalogue: distinct documents, each with its lanes (cell, unit)
//!            |  micro-batches of documents, one worker each
//!          walk: all layers, every live branch of the micro-batch in one packed call
//!            |  at a site: fork (plan once per rule and ratio, one branch per distinct plan)
//!          answer: rows that are read -> choices of every lane
//!            |
//!          assemble: units of a cell in layout order -> Evaluation
//! ```
//!
//! [`crate::evaluate()`] is the readable reference: one cell after the other, item by item. The two give the same bits,
//! because a row of a packed call depends on its own sequence alone and a plan on its own segment alone
//! (`tests/executor.rs` compares them).

mod answer;
mod assemble;
mod budget;
mod catalogue;
mod fork;
mod horizon;
mod walk;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use ssm_model::LanguageModel;

use crate::drive::Reduction;
use crate::error::EvaluationError;
use crate::evaluate::Evaluation;
use crate::protocol::Protocol;
use crate::tasks::{Item, TaskKind};
use assemble::Assembly;
use budget::Budget;
use catalogue::Catalogue;
use walk::{LaneResult, Walk};

/// One cell to evaluate. Cells that name the very same slice of items share its documents at once; equal documents of
/// different tasks are found by their tokens.
#[derive(Clone, Debug)]
pub struct CellRequest<'a> {
    /// How the items are scored.
    pub kind: TaskKind,
    /// The items.
    pub items: &'a [Item],
    /// The scoring protocol.
    pub protocol: Protocol,
    /// The reduction.
    pub reduction: Reduction,
}

/// How cells are executed; none of it changes a score.
#[derive(Clone, Copy, Debug)]
pub struct ExecutorSettings {
    /// Rows of a packed call, about.
    pub max_tokens: usize,
    /// Items per cell whose plans are recorded.
    pub recorded_plans: usize,
    /// Most bytes of activations in flight, all workers together.
    pub memory_bytes: u64,
    /// Micro-batches that run beside each other; each has its share of the threads and of the memory.
    pub workers: usize,
}

/// A cell that has ended.
#[derive(Debug)]
pub struct CellOutcome {
    /// Index of the request.
    pub cell: usize,
    /// Its scores, or the error of its first unit (in layout order) that has one.
    pub result: Result<Evaluation, Arc<EvaluationError>>,
    /// Its share of the time: each executed row counts in equal parts for the cells that it was executed for.
    pub seconds: f64,
}

/// What the executor tells while it works.
#[derive(Debug)]
pub enum Event {
    /// `done` of `total` lanes (a unit of a cell: a context with its continuations) have ended.
    Progress {
        /// Lanes that ended.
        done: usize,
        /// All lanes.
        total: usize,
    },
    /// A cell has ended. Cells end in groups: those of one task and protocol together.
    Done(Box<CellOutcome>),
}

/// What sharing saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// Tokens alive in each layer, summed over layers and cells, where every choice is run by itself with a context of its
    /// own: what request-by-request evaluation executes.
    pub token_layers_by_request: u64,
    /// Tokens alive in each layer, summed over layers and cells: what cell-by-cell runs execute.
    pub token_layers_asked: u64,
    /// Of them, those that were executed.
    pub token_layers_executed: u64,
    /// Rows that the head was asked for.
    pub head_rows_asked: u64,
    /// Of them, those that it saw.
    pub head_rows_executed: u64,
    /// Most rows in flight in one worker: those of a packed call and those that wait for their other children.
    pub peak_rows: usize,
}

impl Sharing {
    /// Both together, as of two runs after each other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            token_layers_by_request: self.token_layers_by_request + other.token_layers_by_request,
            token_layers_asked: self.token_layers_asked + other.token_layers_asked,
            token_layers_executed: self.token_layers_executed + other.token_layers_executed,
            head_rows_asked: self.head_rows_asked + other.head_rows_asked,
            head_rows_executed: self.head_rows_executed + other.head_rows_executed,
            peak_rows: self.peak_rows.max(other.peak_rows),
        }
    }
}

/// Results of one micro-batch.
struct Message {
    lanes: Vec<(catalogue::Lane, LaneResult)>,
    sharing: Sharing,
}

/// Evaluates all `cells` together. `observe` hears of progress and of each cell as soon as it has ended, and stops the
/// work with [`ControlFlow::Break`]: cells that have not ended by then are not heard of.
///
/// # Errors
/// No worker could be started. What goes wrong in a cell is that cell's result and hurts no other.
pub fn evaluate_cells(
    model: &LanguageModel,
    cells: &[CellRequest<'_>],
    settings: ExecutorSettings,
    observe: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Sharing, EvaluationError> {
    let catalogue = Catalogue::new(cells);
    let budget = Budget::new(model.config(), cells, &settings);
    let batches = catalogue.micro_batches(budget.rows_per_call);
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let pools = pools(settings.workers)?;
    let mut assembly = Assembly::new(cells, &catalogue, settings.recorded_plans);
    let mut sharing = Sharing::default();
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for pool in &pools {
            let (sender, catalogue, batches) = (sender.clone(), &catalogue, &batches);
            let (next, stopped) = (&next, &stopped);
            scope.spawn(move || {
                let work = || {
                    while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let message = run_batch(model, cells, catalogue, batch, budget, settings);
                        // A receiver that is gone has been stopped.
                        if stopped.load(Ordering::Relaxed) || sender.send(message).is_err() {
                            return;
                        }
                    }
                };
                match pool {
                    Some(pool) => pool.install(work),
                    None => work(),
                }
            });
        }
        drop(sender);
        for message in receiver {
            sharing = sharing.and(message.sharing);
            for (lane, result) in message.lanes {
                if let Some(outcome) = assembly.add(lane, result)
                    && observe(Event::Done(Box::new(outcome))).is_break()
                {
                    stopped.store(true, Ordering::Relaxed);
                    return;
                }
            }
            if observe(Event::Progress { done: assembly.done(), total: assembly.total() }).is_break() {
                stopped.store(true, Ordering::Relaxed);
                return;
            }
        }
    });
    Ok(sharing)
}

/// One pool per worker with its part of the threads, so that a worker never waits for (or starts) another one's work; none
/// where one worker uses them all.
fn pools(workers: usize) -> Result<Vec<Option<rayon::ThreadPool>>, EvaluationError> {
    if workers <= 1 {
        return Ok(vec![None]);
    }
    let threads = (rayon::current_num_threads() / workers).max(1);
    let pool = |_| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map(Some).map_err(|error| EvaluationError::Threads(error.to_string()))
    };
    (0..workers).map(pool).collect()
}

/// Runs some documents together; where that fails, each by itself, so that an error stays with its own document.
fn run_batch(
    model: &LanguageModel,
    cells: &[CellRequest<'_>],
    catalogue: &Catalogue,
    batch: &[usize],
    budget: Budget,
    settings: ExecutorSettings,
) -> Message {
    let started = Instant::now();
    let walk = |documents: &[usize]| Walk::run(model, cells, catalogue, documents, budget, settings.recorded_plans);
    let (mut lanes, sharing) = match walk(batch) {
        Ok(ended) => ended,
        Err(_) if batch.len() > 1 => {
            let mut all = (Vec::new(), Sharing::default());
            for document in batch {
                let message = run_batch(model, cells, catalogue, &[*document], budget, settings);
                all.0.extend(message.lanes);
                all.1 = all.1.and(message.sharing);
            }
            let (lanes, sharing) = all;
            return Message { lanes, sharing };
        }
        Err(error) => {
            let error = Arc::new(error);
            let lanes = batch.iter().flat_map(|document| &catalogue.documents[*document].lanes);
            let failed = |lane: &catalogue::Lane| (*lane, LaneResult { share: 1.0, result: Err(Arc::clone(&error)) });
            (lanes.map(failed).collect(), Sharing::default())
        }
    };
    // From rows to seconds: the workers run beside each other, so that all shares sum to the time of the whole run.
    let total: f64 = lanes.iter().map(|(_, lane)| lane.share).sum();
    let seconds = started.elapsed().as_secs_f64() / settings.workers.max(1) as f64;
    for (_, lane) in &mut lanes {
        lane.share *= seconds / total.max(f64::MIN_POSITIVE);
    }
    Message { lanes, sharing }
}
