//! What every kind of attention layer does with its projected queries, keys and values: turn them by their positions, let every
//! row read the rows that it sees, and hand the keys and values on as a cache.

use candle_core::Tensor;
use ssm_kernels::Segments;
use ssm_kernels::ops::{self, AttentionInput, Rotary};

use super::kind::MixerCall;
use crate::error::ModelError;
use crate::state::KeyValueCache;

/// Heads and how their queries and keys turn.
#[derive(Debug)]
pub(super) struct AttentionHeads {
    pub(super) heads: usize,
    /// Heads of keys and values.
    pub(super) kv_heads: usize,
    pub(super) rotary: Rotary,
}

/// What the heads of a layer gathered.
pub(super) struct Attended {
    /// `[tokens, heads * head_dim]`
    pub(super) output: Tensor,
    /// Keys and values after the call, where states were asked for.
    pub(super) cache: Option<KeyValueCache>,
}

impl AttentionHeads {
    /// `fused` holds queries, keys and values in the layout of the rotary embedding.
    pub(super) fn attend(
        &self,
        fused: &Tensor,
        initial: Option<&KeyValueCache>,
        call: &MixerCall<'_>,
    ) -> Result<Attended, ModelError> {
        if call.time.is_some() {
            return Err(ModelError::NoScan);
        }
        let segments = call.segments;
        let positions = match call.positions {
            Some(positions) => positions.to_vec(),
            None => consecutive(segments, initial),
        };
        let turned = ops::rotary(fused, &positions, &self.rotary)?;
        let output = ops::causal_attention(&AttentionInput {
            queries: &turned.queries,
            keys: &turned.keys,
            values: &turned.values,
            heads: self.heads,
            kv_heads: self.kv_heads,
            segments,
            initial: initial.map(|cache| cache.segments.as_slice()),
        })?;
        let cache = || KeyValueCache::after(&turned.keys, &turned.values, &positions, segments, initial);
        Ok(Attended { output, cache: call.want_states.then(cache).transpose()? })
    }
}

/// Rows of every chain of segments numbered one after the other.
fn consecutive(segments: &Segments, initial: Option<&KeyValueCache>) -> Vec<u32> {
    let mut positions = Vec::with_capacity(segments.n_tokens());
    let mut ends: Vec<u32> = Vec::with_capacity(segments.len());
    for segment in 0..segments.len() {
        let first = match segments.parent(segment) {
            Some(parent) => ends[parent],
            None => initial.and_then(|cache| cache.next_positions.get(segment).copied()).unwrap_or(0),
        };
        ends.push(first + segments.length(segment) as u32);
        positions.extend(first..ends[segment]);
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_along_their_chain() {
        let segments = Segments::new(&[3, 2, 1, 2], &[None, Some(0), Some(1), Some(0)]).unwrap();
        assert_eq!(consecutive(&segments, None), [0, 1, 2, 3, 4, 5, 3, 4]);
        let initial = KeyValueCache { segments: Vec::new(), next_positions: vec![7, 0, 0, 0], conv: None };
        assert_eq!(consecutive(&segments, Some(&initial)), [7, 8, 9, 10, 11, 12, 10, 11]);
    }
}
