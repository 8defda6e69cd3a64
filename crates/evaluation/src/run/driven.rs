//! What the loop hands over: a batch after the last layer, and what was decided at its sites.

use reduction_strategies::{SitePlan, TokenTable};
use ssm_kernels::Segments;

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
