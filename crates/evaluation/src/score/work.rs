//! What an evaluation executed, counted from the shapes that ran.

use serde::{Deserialize, Serialize};

use super::bits;

/// What an evaluation executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Tokens that entered the model.
    pub tokens_in: u64,
    /// Tokens alive in each layer, summed over layers.
    pub token_layers: u64,
    /// Pairs of a token and a token that it sees (itself included), summed over layers: what attention computes, where a model
    /// has some.
    pub token_pairs: u64,
    /// FLOPs of all blocks: of every layer its own, for the tokens and pairs that it had.
    pub block_flops: u64,
    /// Rows that passed through the head.
    pub head_rows: u64,
    /// FLOPs of similarity matching.
    #[serde(with = "bits")]
    pub matching_flops: f64,
}

impl std::ops::Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens_in: self.tokens_in + other.tokens_in,
            token_layers: self.token_layers + other.token_layers,
            token_pairs: self.token_pairs + other.token_pairs,
            block_flops: self.block_flops + other.block_flops,
            head_rows: self.head_rows + other.head_rows,
            matching_flops: self.matching_flops + other.matching_flops,
        }
    }
}

impl Work {
    /// FLOPs counted from the shapes that ran: blocks, attention over real lengths, matching and head rows (an embedding look-up
    /// costs none), from those of a row in the head (`ModelConfig::head_flops_per_row`).
    #[must_use]
    pub fn flops(&self, per_head_row: f64) -> f64 {
        self.block_flops as f64 + self.head_rows as f64 * per_head_row + self.matching_flops
    }

    /// What of it follows from counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { tokens_in: self.tokens_in, token_layers: self.token_layers, token_pairs: self.token_pairs }
    }

    /// Achieved reduction ([`Counts::flops_reduction`]).
    #[must_use]
    pub fn flops_reduction(&self, n_layer: usize) -> f64 {
        self.counts().flops_reduction(n_layer)
    }
}

/// The part of the work that follows from counts alone: known before anything runs ([`Shapes::counts`](crate::Shapes::counts)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens that enter the model.
    pub tokens_in: u64,
    /// Tokens alive in each layer, summed over layers.
    pub token_layers: u64,
    /// Pairs of a token and a token that it sees (itself included), summed over layers.
    pub token_pairs: u64,
}

impl Counts {
    /// Achieved reduction in the nominal convention: 1 - tokens alive per layer / tokens that entered.
    #[must_use]
    pub fn flops_reduction(&self, n_layer: usize) -> f64 {
        if self.tokens_in == 0 {
            0.0
        } else {
            1.0 - self.token_layers as f64 / (self.tokens_in * n_layer as u64) as f64
        }
    }
}
