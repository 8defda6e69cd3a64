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
}
