//! What the loop hands over: a batch after the last layer, and what was decided at its sites.

use reduction_strategies::{SitePlan, TokenTable, positions_of};
use ssm_kernels::Segments;
use ssm_model::LanguageModel;

#[cfg(feature = "cuda")]
use super::on_gpu;
use super::reduction::Reduction;
use crate::batch::Batch;
use crate::error::EvaluationError;

/// What happened at one site of one batch.
pub(crate) struct SiteTrace {
    pub(crate) site: usize,
    pub(crate) plan: SitePlan,
    /// Tokens as they arrived.
    pub(crate) arriving: TokenTable,
    /// Mean cosine similarity of merged pairs, per segment; none where nothing was merged.
    pub(crate) merged_similarity: Vec<Option<f64>>,
}

/// A batch after the last layer, without its activations.
pub(crate) struct Driven {
    pub(crate) segments: Segments,
    pub(crate) table: TokenTable,
    pub(crate) sites: Vec<SiteTrace>,
    /// Tokens alive in each layer, summed over layers.
    pub(crate) token_layers: u64,
    /// Pairs of a token and one that it sees, summed over layers.
    pub(crate) token_pairs: u64,
    /// FLOPs of all blocks.
    pub(crate) block_flops: u64,
    /// FLOPs of similarity matching.
    pub(crate) matching_flops: f64,
}

/// A batch that passed all layers: what scores ask for is there, what only a record asks for may still have to be made.
pub(crate) enum Passed {
    /// Everything is there.
    Driven(Driven),
    /// Plans were made on a GPU, and lie here as they were read.
    #[cfg(feature = "cuda")]
    Read(Box<on_gpu::ReadBatch>),
}

impl Passed {
    /// Segments after the last layer.
    pub(crate) fn segments(&self) -> &Segments {
        match self {
            Self::Driven(driven) => &driven.segments,
            #[cfg(feature = "cuda")]
            Self::Read(read) => &read.segments,
        }
    }

    /// Original positions of the kept tokens of each segment.
    pub(crate) fn positions(&self) -> Vec<&[u32]> {
        match self {
            Self::Driven(driven) => positions_of(&driven.table.segments),
            #[cfg(feature = "cuda")]
            Self::Read(read) => read.positions.iter().map(Vec::as_slice).collect(),
        }
    }

    /// With plans, tokens at every site and counts.
    #[cfg_attr(
        not(feature = "cuda"),
        expect(clippy::unnecessary_wraps, reason = "only plans of a GPU can be wrong here")
    )]
    pub(crate) fn driven(
        self,
        model: &LanguageModel,
        batch: &Batch,
        reduction: &Reduction,
    ) -> Result<Driven, EvaluationError> {
        let _ = (model, batch, reduction);
        match self {
            Self::Driven(driven) => Ok(driven),
            #[cfg(feature = "cuda")]
            Self::Read(read) => read.driven(model, batch, reduction),
        }
    }
}
