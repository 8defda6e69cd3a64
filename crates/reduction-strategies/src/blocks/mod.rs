//! What rules are composed of: score, partition, match, select, combine, and the order in which tokens are decided.

pub mod combine;
pub mod importance;
pub mod matching;
pub mod online;
pub(crate) mod pairing;
pub mod partition;
pub mod random;
pub mod rank;
pub mod rank_sum;
pub mod released;
pub mod select;

pub(crate) use pairing::merges_of;
