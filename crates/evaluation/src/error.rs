use hint::Hint;
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
    /// The tensor library refused its input.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// A strategy made no valid plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A strategy removed the protected last context token.
    #[error("item {item}: the protected last context token did not survive")]
    LostProtected {
        /// Index of the item.
        item: u64,
    },
    /// A rule that looks at later tokens, under the protocol that forbids it.
    #[error(
        "protocol `causal` scores rules that decide each token from tokens up to it; this one looks at later tokens"
    )]
    NotCausal,
    /// Running text under a protocol that would let later tokens tell on themselves.
    #[error(
        "running text scored per token after a reduction leaks the future: later tokens decide which earlier ones stay"
    )]
    LeaksFuture,
    /// A reduction that does more than remove tokens, where a probe asks what of removed tokens is missed.
    #[error("the probe `removed_split` looks at rules that remove tokens and change nothing else: {0}")]
    NotSplit(String),
    /// A sequence that is too long to leave out one token after the other.
    #[error("importance `oracle` runs the model once per token; a sequence of {tokens} tokens exceeds {most}")]
    OracleLength {
        /// Its tokens.
        tokens: usize,
        /// Most that are measured.
        most: usize,
    },
    /// Scores that are not numbers.
    #[error("item {item}: log-likelihood is {value}")]
    NotFinite {
        /// Index of the item.
        item: u64,
        /// What came out.
        value: f64,
    },
    /// A tensor of a layer that holds something else than numbers.
    #[error("{whose}: layer {layer}: {tensor} is NaN or infinite at token {token}")]
    NotFiniteIn {
        /// The item or sequence.
        whose: String,
        /// 0-based layer.
        layer: usize,
        /// The first tensor of the layer that does.
        tensor: &'static str,
        /// Position of the first such token in its sequence.
        token: u32,
    },
    /// Scores that are not numbers, of layers that are all in order.
    #[error(
        "item {item}: log-likelihood is {value}, although all layers are finite: the final norm or the head overflows"
    )]
    NotFiniteHead {
        /// Index of the item.
        item: u64,
        /// What came out.
        value: f64,
    },
    /// Logits or other values that are not numbers.
    #[error("{what} are not finite numbers")]
    NotFiniteAt {
        /// What was looked at.
        what: String,
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
    /// The run was asked to end; no result of a cell ([`EvaluationError::is_stop`]).
    #[error("stopped before its end")]
    Stopped,
}

impl EvaluationError {
    /// Whether nothing went wrong: the work was asked to end.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped | Self::Model(ModelError::Stopped) | Self::Plan(PlanError::Stopped))
    }

    /// Whether a GPU had no memory left; with fewer rows the same call may succeed.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        // The tensor library hands the driver's code on as text only.
        self.to_string().contains("OUT_OF_MEMORY")
    }
}

impl Hint for EvaluationError {
    fn hint(&self) -> Option<String> {
        let own = match self {
            Self::Model(error) => return error.hint(),
            Self::Plan(error) => return error.hint(),
            Self::Memory { .. } => "grant more with --memory",
            Self::OracleLength { .. } => "exclude the task for `oracle`, or choose one of shorter contexts",
            Self::NotSplit(_) => "run it in an experiment without this probe, with original positions",
            Self::NotCausal => "use `aligned` and read its coverage, or `context`",
            Self::LostProtected { .. } => "the rule must keep protected tokens: work on `view.reducible()` only",
            Self::NotFinite { .. }
            | Self::NotFiniteIn { .. }
            | Self::NotFiniteHead { .. }
            | Self::NotFiniteAt { .. } => {
                "all weights were finite when they were loaded, so the arithmetic overflowed: run in float32, or look for very \
                 large weights in this layer and those before"
            }
            Self::LeaksFuture => {
                "use protocol `context`, which scores the second half of a text after its reduced first half, or `causal` with a \
                 causal strategy"
            }
            Self::Threads(_) => {
                "ask for fewer threads with RAYON_NUM_THREADS, or raise the limit of processes (`ulimit -u`)"
            }
            Self::Kernel(_) | Self::Tensor(_) => {
                return self
                    .is_out_of_memory()
                    .then(|| "grant less with --memory, or use a device with more".to_owned());
            }
            Self::Stopped => return None,
        };
        Some(own.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_come_from_wherever_an_error_arose() {
        let hint = |error: EvaluationError| error.hint().unwrap_or_default();
        let plan = PlanError::KeepRatio(2.0);
        let own = plan.hint().unwrap();
        assert_eq!(hint(EvaluationError::Plan(plan)), own);
        let model = ModelError::Token { token: 9, vocab_size: 4 };
        let own = model.hint().unwrap();
        assert_eq!(hint(EvaluationError::Model(model)), own);
        assert!(hint(EvaluationError::NotFinite { item: 0, value: f64::NAN }).contains("weights"));
    }

    #[test]
    fn running_out_of_memory_is_told_from_other_failures() {
        let driver = |text: &str| EvaluationError::Kernel(candle_core::Error::Msg(text.to_owned()).into());
        assert!(driver("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")").is_out_of_memory());
        assert!(!driver("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access\")").is_out_of_memory());
    }
}
