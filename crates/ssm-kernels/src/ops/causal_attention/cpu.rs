//! Blocks of a few query rows against all their keys, one task per segment and head.
//!
//! Scores of a block stay in the cache. Every sum runs in an order that follows from the place of the row in its chain
//! alone: keys are taken in lanes from the first on, up to the end of the row's block, and what lies beyond the row itself
//! counts zero.

use rayon::prelude::*;

use super::super::parallel::Columns;
use crate::math::{exp, vectorised};
use crate::segments::Segments;

/// Query rows of a block.
const BLOCK: usize = 4;

/// Keys (or channels of a value) that are computed side by side.
const LANES: usize = 16;

/// The checked arguments as slices.
pub(super) struct Attention<'a> {
    pub(super) queries: &'a [f32],
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    /// Heads times channels of a head.
    pub(super) width: usize,
    /// Heads of keys and values times channels of a head.
    pub(super) kv_width: usize,
    pub(super) head_dim: usize,
    pub(super) segments: &'a Segments,
    /// Keys and values before each segment; empty where there are none.
    pub(super) initial: Vec<(&'a [f32], &'a [f32])>,
}

/// What a segment sees of one head, and where its rows begin in it.
struct Head {
    /// `[head_dim, keys]`, `keys` padded with zeros to whole lanes.
    keys: Vec<f32>,
    /// `[keys, channels]`, both padded with zeros to whole lanes.
    values: Vec<f32>,
    padded_keys: usize,
    padded_dim: usize,
    /// Keys before the segment's first row.
    before: usize,
}

impl Attention<'_> {
    /// `[tokens, width]`.
    pub(super) fn run(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.queries.len()];
        let columns = Columns::new(&mut out, self.width);
        let heads = self.width / self.head_dim;
        let tasks: Vec<(usize, usize)> = (0..self.segments.len())
            .filter(|segment| self.segments.length(*segment) > 0)
            .flat_map(|segment| (0..heads).map(move |head| (segment, head)))
            .collect();
        tasks.into_par_iter().for_each(|(segment, head)| {
            let seen = self.head(segment, head);
            rows((self, &seen, segment, head, columns));
        });
        out
    }

    /// Keys and values that a segment sees, oldest first, as runs of whole rows.
    fn chain(&self, segment: usize) -> Vec<(&[f32], &[f32])> {
        let mut chain = Vec::new();
        let mut next = Some(segment);
        while let Some(segment) = next {
            let rows = self.segments.rows(segment);
            let rows = rows.start * self.kv_width..rows.end * self.kv_width;
            chain.push((&self.keys[rows.clone()], &self.values[rows]));
            next = self.segments.parent(segment);
            if next.is_none() {
                chain.extend(self.initial.get(segment).copied());
            }
        }
        chain.reverse();
        chain
    }

    /// Gathers what one head of the queries reads of what a segment sees.
    fn head(&self, segment: usize, head: usize) -> Head {
        let head = head * self.kv_width / self.width;
        let chain = self.chain(segment);
        let n_keys: usize = chain.iter().map(|(keys, _)| keys.len() / self.kv_width).sum();
        let before = n_keys - self.segments.length(segment);
        // Room for the last block even where it is not full.
        let padded_keys = (n_keys + BLOCK).next_multiple_of(LANES);
        let padded_dim = self.head_dim.next_multiple_of(LANES);
        let mut keys = vec![0.0; self.head_dim * padded_keys];
        let mut values = vec![0.0; padded_keys * padded_dim];
        let columns = head * self.head_dim..(head + 1) * self.head_dim;
        let all_keys = chain.iter().flat_map(|(keys, _)| keys.chunks_exact(self.kv_width));
        let all_values = chain.iter().flat_map(|(_, values)| values.chunks_exact(self.kv_width));
        for (index, (key, value)) in all_keys.zip(all_values).enumerate() {
            for (channel, key) in key[columns.clone()].iter().enumerate() {
                keys[channel * padded_keys + index] = *key;
            }
            values[index * padded_dim..][..self.head_dim].copy_from_slice(&value[columns.clone()]);
        }
        Head { keys, values, padded_keys, padded_dim, before }
    }
}

/// The arguments, what is seen, segment and head, and where results go.
type Task<'a> = (&'a Attention<'a>, &'a Head, usize, usize, Columns);

vectorised! {
    /// All rows of one segment and head.
    fn rows(task: Task<'_>) {
        let (attention, seen, segment, head, out) = task;
        let rows = attention.segments.rows(segment);
        let column = head * attention.head_dim;
        let scale = 1.0 / (attention.head_dim as f32).sqrt();
        let mut queries = vec![0.0; BLOCK * attention.head_dim];
        let mut weights = vec![0.0; BLOCK * seen.padded_keys];
        let mut means = vec![0.0; BLOCK * seen.padded_dim];
        for first in rows.clone().step_by(BLOCK) {
            let block = first..(first + BLOCK).min(rows.end);
            queries.fill(0.0);
            for (row, query) in block.clone().zip(queries.chunks_exact_mut(attention.head_dim)) {
                let from = &attention.queries[row * attention.width + column..][..attention.head_dim];
                for (query, value) in query.iter_mut().zip(from) {
                    *query = value * scale;
                }
            }
            let index = seen.before + first - rows.start;
            let n_keys = (index + BLOCK).next_multiple_of(LANES);
            scores(seen, &queries, n_keys, &mut weights);
            let mut sums = [0.0; BLOCK];
            for (place, sum) in sums.iter_mut().enumerate() {
                *sum = softmax(&mut weights[place * seen.padded_keys..][..n_keys], index + place + 1);
            }
            weighted_values(seen, &weights, n_keys, &mut means);
            for (place, row) in block.enumerate() {
                // SAFETY: this task alone writes to these columns of these rows, one row at a time.
                let out = unsafe { out.row(row, column, attention.head_dim) };
                let inverse = 1.0 / sums[place];
                for (out, mean) in out.iter_mut().zip(&means[place * seen.padded_dim..]) {
                    *out = mean * inverse;
                }
            }
        }
    }
}

/// `weights[block, ..n_keys] = queries keys`.
#[inline(always)]
fn scores(seen: &Head, queries: &[f32], n_keys: usize, weights: &mut [f32]) {
    let head_dim = queries.len() / BLOCK;
    for first in (0..n_keys).step_by(LANES) {
        let mut sums = [[0.0_f32; LANES]; BLOCK];
        for channel in 0..head_dim {
            let keys = &seen.keys[channel * seen.padded_keys + first..][..LANES];
            for (place, sums) in sums.iter_mut().enumerate() {
                let query = queries[place * head_dim + channel];
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum = query.mul_add(*key, *sum);
                }
            }
        }
        for (place, sums) in sums.iter().enumerate() {
            weights[place * seen.padded_keys + first..][..LANES].copy_from_slice(sums);
        }
    }
}

/// Replaces the first `visible` scores by their exponentials relative to the largest and the others by 0; returns the sum.
#[inline(always)]
fn softmax(scores: &mut [f32], visible: usize) -> f32 {
    scores[visible..].fill(f32::NEG_INFINITY);
    let mut largest = [f32::NEG_INFINITY; LANES];
    for lanes in scores.chunks_exact(LANES) {
        for (largest, score) in largest.iter_mut().zip(lanes) {
            *largest = largest.max(*score);
        }
    }
    let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0_f32; LANES];
    for (index, lanes) in scores.chunks_exact_mut(LANES).enumerate() {
        for (lane, (score, sum)) in lanes.iter_mut().zip(&mut sums).enumerate() {
            let weight = exp(*score - largest);
            *score = if index * LANES + lane < visible { weight } else { 0.0 };
            *sum += *score;
        }
    }
    sums.iter().sum()
}

/// `means[block, padded_dim] = weights[block, ..n_keys] values`.
#[inline(always)]
fn weighted_values(seen: &Head, weights: &[f32], n_keys: usize, means: &mut [f32]) {
    for first in (0..seen.padded_dim).step_by(LANES) {
        let mut sums = [[0.0_f32; LANES]; BLOCK];
        for key in 0..n_keys {
            let values = &seen.values[key * seen.padded_dim + first..][..LANES];
            for (place, sums) in sums.iter_mut().enumerate() {
                let weight = weights[place * seen.padded_keys + key];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = weight.mul_add(*value, *sum);
                }
            }
        }
        for (place, sums) in sums.iter().enumerate() {
            means[place * seen.padded_dim + first..][..LANES].copy_from_slice(sums);
        }
    }
}
