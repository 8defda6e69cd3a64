use reduction_strategies::PlanError;
use ssm_kernels::KernelError;
use ssm_model::ModelError;
use thiserror::Error;

/// Why an evaluation stopped.
#[derive(Debug, Error)]
pub enum EvaluationError {
    /// The model refused its input.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An operation refused its arguments.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A strategy made no valid plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A strategy removed the protected last context token.
    #[error("item {item}: the protected last context token did not survive")]
    LostProtected {
        /// Index of the item.
        item: u64,
    },
    /// Scores that are not numbers.
    #[error("item {item}: log-likelihood is {value}")]
    NotFinite {
        /// Index of the item.
        item: u64,
        /// What came out.
        value: f64,
    },
    /// A document that does not fit into the memory that activations may use.
    #[error(
        "a document of {rows} tokens does not fit: {bytes} bytes for activations hold {most_rows} tokens per worker"
    )]
    Memory {
        /// Its tokens.
        rows: usize,
        /// Tokens that fit.
        most_rows: usize,
        /// What was granted.
        bytes: u64,
    },
    /// No worker could be started.
    #[error("cannot start a worker: {0}")]
    Threads(String),
}

impl EvaluationError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Memory { .. } => Some("grant more with --memory"),
            _ => None,
        }
    }
}
