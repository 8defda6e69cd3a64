//! The sharing executor: many cells of one model at once, each piece of work done once.
//!
//! ```text
//! jobs of cells -> catalogue of a job: distinct documents, each with its lanes (cell, unit)
//!            |  micro-batches of documents; a worker that finds none left asks for the next job
//!          walk: all layers, every live branch of the micro-batch in one packed call
//!            |  at a site: fork (plan once per rule and ratio, one branch per distinct plan)
//!          answer: rows that are read -> answers of every lane
//!            |
//!          assemble: units of a cell in layout order -> Partial
//! ```
//!
//! [`crate::evaluate()`] is the readable reference: one cell after the other, item by item. The two give the same bits,
//! because a row of a packed call depends on its own sequence alone and a plan on its own segment alone
//! (`tests/executor.rs` compares them).

mod answer;
mod assemble;
mod budget;
mod calls;
mod catalogue;
mod fork;
mod horizon;
mod queue;
mod site;
mod walk;

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use ssm_model::LanguageModel;

use crate::batch::Layout;
use crate::error::EvaluationError;
use crate::run::Reduction;
use crate::score::Partial;
use assemble::Assembly;
use budget::{Budget, RowLimit};
use catalogue::Catalogue;
use queue::Queue;
use walk::{LaneResult, Walk};

pub use queue::NextJob;

/// Some units of one cell. Requests that name the very same layout and units share their documents at once; equal documents of
/// different layouts in one job are found by their tokens.
#[derive(Clone, Debug)]
pub struct CellRequest<'a> {
    /// Items and protocol.
    pub layout: &'a Layout,
    /// Which units of the layout.
    pub span: Range<usize>,
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
    /// Its outcome, or the error of its first unit (in layout order) that has one.
    pub result: Result<Partial, Arc<EvaluationError>>,
    /// Its share of the time: each executed row counts in equal parts for the cells that it was executed for.
    pub seconds: f64,
}

/// What the executor tells while it works.
#[derive(Debug)]
pub enum Event {
    /// A part of a job has ended.
    Progress {
        /// Number of the job, in the order in which jobs were asked for.
        job: usize,
        /// Share of its work that is done.
        share: f64,
    },
    /// A job has ended.
    Done {
        /// Number of the job.
        job: usize,
        /// Its cells, in the order of the requests.
        cells: Vec<CellOutcome>,
        /// What sharing saved in it.
        sharing: Sharing,
    },
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

/// Cells that are evaluated together, with everything that is known before they run.
struct Job<'a> {
    number: usize,
    cells: Vec<CellRequest<'a>>,
    catalogue: Catalogue<'a>,
    /// Indices of documents that run together.
    batches: Vec<Vec<usize>>,
    budget: Budget,
}

/// Results of one micro-batch.
struct Message<'a> {
    job: Arc<Job<'a>>,
    ended: Ended,
}

/// Whether the run was asked to end.
type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Lanes that ended, and what they shared.
type Ended = (Vec<(catalogue::Lane, LaneResult)>, Sharing);

/// Evaluates jobs, one after the other: a worker that finds no micro-batch left calls `next`, which hands out the cells of the next
/// job, or none to end. So all workers stay busy from the first job to the last, and as many jobs as there are workers are begun at
/// any time, most often one. `observe` hears of progress and of each job as soon as it has ended, and drops what has not with
/// [`ControlFlow::Break`]; so does `stop` when it returns true, which is asked before each layer.
///
/// # Errors
/// No worker could be started. What goes wrong in a cell is that cell's result and hurts no other.
pub fn evaluate_jobs(
    model: &LanguageModel,
    settings: ExecutorSettings,
    next: &mut NextJob<'_, '_>,
    stop: Stop<'_>,
    observe: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<(), EvaluationError> {
    let queue = Queue::new(model, settings, next);
    let pools = pools(settings.workers)?;
    let limit = RowLimit::default();
    let mut open: HashMap<usize, (Assembly, Sharing)> = HashMap::new();
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for pool in &pools {
            let (sender, queue, limit) = (sender.clone(), &queue, &limit);
            scope.spawn(move || {
                let work = || {
                    while !stop()
                        && let Some((job, batch)) = queue.take()
                    {
                        let Some(ended) = run_batch(model, &job, &job.batches[batch], limit, settings, stop) else {
                            return;
                        };
                        // A receiver that is gone has been stopped.
                        if sender.send(Message { job, ended }).is_err() {
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
        for Message { job, ended: (lanes, sharing) } in receiver {
            let (assembly, shared) = open
                .entry(job.number)
                .or_insert_with(|| (Assembly::new(&job, settings.recorded_plans), Sharing::default()));
            *shared = shared.and(sharing);
            for (lane, result) in lanes {
                assembly.add(&job, lane, result);
            }
            let mut told = observe(Event::Progress { job: job.number, share: assembly.share() });
            if told.is_continue()
                && assembly.is_complete()
                && let Some((assembly, sharing)) = open.remove(&job.number)
            {
                told = observe(Event::Done { job: job.number, cells: assembly.finish(model, &job), sharing });
            }
            if told.is_break() {
                queue.close();
                return;
            }
        }
    });
    Ok(())
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

/// Runs some documents together, as many as a call may hold. Where a GPU runs out of memory, again with half the rows a call;
/// where something else fails, each document by itself, so that an error stays with its own. None where it was stopped.
fn run_batch(
    model: &LanguageModel,
    job: &Job<'_>,
    batch: &[usize],
    limit: &RowLimit,
    settings: ExecutorSettings,
    stop: Stop<'_>,
) -> Option<Ended> {
    let all = |parts: Vec<Vec<usize>>| {
        let mut ended = parts.iter().map(|part| run_batch(model, job, part, limit, settings, stop));
        ended.try_fold((Vec::new(), Sharing::default()), |(mut lanes, sharing), ended| {
            let (others, shared) = ended?;
            lanes.extend(others);
            Some((lanes, sharing.and(shared)))
        })
    };
    let rows = limit.get().min(job.budget.rows_per_call);
    let parts = job.catalogue.micro_batches(batch, rows);
    if parts.len() > 1 {
        return all(parts);
    }
    let started = Instant::now();
    let budget = job.budget.with_rows(rows);
    let walked = Walk::run(model, &job.cells, &job.catalogue, batch, budget, settings.recorded_plans, stop);
    let (mut lanes, sharing) = match walked {
        Err(error) if error.is_stop() => return None,
        // A lane whose rule was stopped has ended with an error that is none.
        _ if stop() => return None,
        Ok(ended) => ended,
        Err(error) if error.is_out_of_memory() && limit.lower(rows) => return all(vec![batch.to_vec()]),
        Err(_) if batch.len() > 1 => return all(batch.iter().map(|document| vec![*document]).collect()),
        Err(error) => {
            let error = Arc::new(error);
            let lanes = batch.iter().flat_map(|document| &job.catalogue.documents[*document].lanes);
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
    Some((lanes, sharing))
}
