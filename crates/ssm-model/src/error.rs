use hint::Hint;
use ssm_kernels::KernelError;
use thiserror::Error;

use crate::checkpoint::error::CheckpointError;

/// Why a model could not be built or run.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A weight that is missing, misshapen or surplus, or a file that cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// An operation refused its arguments.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// An error of the tensor library.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A token id outside the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocab_size}")]
    Token {
        /// The id.
        token: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// The work was asked to end ([`LanguageModel::stopping_when`](crate::LanguageModel::stopping_when)).
    #[error("stopped before its end")]
    Stopped,
    /// Factors of step sizes that do not fit the stream.
    #[error("{got} factors of step sizes for {rows} rows, each finite and positive")]
    Time {
        /// Factors given.
        got: usize,
        /// Rows of the stream.
        rows: usize,
    },
    /// Factors of step sizes for a layer without a recurrence.
    #[error("a Transformer has no scan whose steps could last longer")]
    NoScan,
    /// Activations without the embeddings of their rows, for a layer that reads them.
    #[error("the layer reads the embeddings of the tokens, and the activations hold none")]
    NoEmbeddings,
    /// A layer that the model does not have.
    #[error("layer {layer} is beyond the model: it has {n_layer} layers")]
    Layer {
        /// What was asked.
        layer: usize,
        /// Depth of the model.
        n_layer: usize,
    },
    /// A state of another kind of layer.
    #[error("the layer's initial state should be {expected}, got {got}")]
    State {
        /// What the layer continues from.
        expected: &'static str,
        /// What came.
        got: &'static str,
    },
    /// A segment that a state does not have.
    #[error("segment {segment} is beyond the state: it has {n_segments} segments")]
    Segment {
        /// What was asked.
        segment: usize,
        /// Segments of the state.
        n_segments: usize,
    },
}

impl Hint for ModelError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Token { .. } => Some("the tokenizer does not fit this checkpoint".to_owned()),
            Self::Layer { .. } => Some("layers are 0-based".to_owned()),
            Self::State { .. } => Some("a state continues in the model that it was taken from".to_owned()),
            Self::Segment { .. } => Some("segments are 0-based".to_owned()),
            Self::NoEmbeddings => {
                Some("begin with `LanguageModel::embed`, and treat all tensors of `Activations` alike".to_owned())
            }
            Self::NoScan => Some("leave rules that set times, such as state_merge, to the Mambas".to_owned()),
            Self::Time { .. } => Some("one `RowTime` per row of the stream; `RowTime::ONE` changes nothing".to_owned()),
            Self::Stopped | Self::Kernel(_) | Self::Candle(_) => None,
        }
    }
}
