use rayon::prelude::*;

use super::super::parallel::ROWS_PER_TASK;
use crate::math::{silu, vectorised};
use crate::segments::Segments;

/// The checked arguments as slices.
pub(super) struct Conv<'a> {
    pub(super) x: &'a [f32],
    pub(super) stride: usize,
    pub(super) start: usize,
    pub(super) channels: usize,
    pub(super) taps: usize,
    /// `[d_conv, channels]`
    pub(super) weight: &'a [f32],
    pub(super) bias: &'a [f32],
    /// Whether SiLU follows.
    pub(super) silu: bool,
    pub(super) segments: &'a Segments,
}

impl Conv<'_> {
    /// Inputs of one row.
    fn row(&self, row: usize) -> &[f32] {
        let at = row * self.stride + self.start;
        &self.x[at..at + self.channels]
    }

    /// The `d_conv` inputs before each segment, `[d_conv, channels]` per segment, oldest first.
    pub(super) fn histories(&self, initial: Option<&[f32]>) -> Vec<Vec<f32>> {
        let mut histories: Vec<Vec<f32>> = Vec::with_capacity(self.segments.len());
        for segment in 0..self.segments.len() {
            let mut history = vec![0.0; self.taps * self.channels];
            match (self.segments.parent(segment), initial) {
                (Some(parent), _) => {
                    for age in 0..self.taps {
                        let source = self.seen(parent, &histories[parent], age);
                        let row = self.taps - 1 - age;
                        history[row * self.channels..(row + 1) * self.channels].copy_from_slice(source);
                    }
                }
                (None, Some(initial)) => {
                    let state =
                        &initial[segment * self.channels * self.taps..(segment + 1) * self.channels * self.taps];
                    for (channel, taps) in state.chunks_exact(self.taps).enumerate() {
                        for (k, tap) in taps.iter().enumerate() {
                            history[k * self.channels + channel] = *tap;
                        }
                    }
                }
                (None, None) => {}
            }
            histories.push(history);
        }
        histories
    }

    /// The input `age` tokens before the end of `segment`.
    fn seen<'a>(&'a self, segment: usize, history: &'a [f32], age: usize) -> &'a [f32] {
        let rows = self.segments.rows(segment);
        if age < rows.len() {
            self.row(rows.end - 1 - age)
        } else {
            let row = self.taps - 1 - (age - rows.len());
            &history[row * self.channels..(row + 1) * self.channels]
        }
    }

    /// The last `d_conv` inputs of each segment, `[channels, d_conv]` per segment.
    pub(super) fn states(&self, histories: &[Vec<f32>]) -> Vec<f32> {
        let mut states = vec![0.0; self.segments.len() * self.channels * self.taps];
        for (segment, state) in states.chunks_exact_mut(self.channels * self.taps).enumerate() {
            for age in 0..self.taps {
                let source = self.seen(segment, &histories[segment], age);
                for (channel, value) in source.iter().enumerate() {
                    state[channel * self.taps + self.taps - 1 - age] = *value;
                }
            }
        }
        states
    }

    /// `[tokens, channels]`.
    pub(super) fn run(&self, histories: &[Vec<f32>]) -> Vec<f32> {
        let mut y = vec![0.0; self.segments.n_tokens() * self.channels];
        let mut tasks: Vec<(usize, usize, &mut [f32])> = Vec::new();
        let mut rest = y.as_mut_slice();
        for segment in 0..self.segments.len() {
            let (own, others) = rest.split_at_mut(self.segments.length(segment) * self.channels);
            rest = others;
            for (block, out) in own.chunks_mut(ROWS_PER_TASK * self.channels).enumerate() {
                tasks.push((segment, block * ROWS_PER_TASK, out));
            }
        }
        tasks.into_par_iter().for_each(|(segment, first, out)| {
            tokens((self, segment, first, histories[segment].as_slice(), out));
        });
        y
    }

    /// One output row: token `index` of `segment`.
    #[inline(always)]
    fn token(&self, segment: usize, index: usize, history: &[f32], out: &mut [f32]) {
        let first = self.segments.rows(segment).start;
        out.copy_from_slice(self.bias);
        for k in 0..self.taps {
            let age = self.taps - 1 - k;
            let input = if age <= index {
                self.row(first + index - age)
            } else {
                // `age - index` tokens before the segment; the history's last row is one token before it.
                let row = self.taps - (age - index);
                &history[row * self.channels..(row + 1) * self.channels]
            };
            let weight = &self.weight[k * self.channels..(k + 1) * self.channels];
            for ((out, weight), input) in out.iter_mut().zip(weight).zip(input) {
                *out = weight.mul_add(*input, *out);
            }
        }
        if self.silu {
            for out in out {
                *out = silu(*out);
            }
        }
    }
}

vectorised! {
    /// Output rows of `segment` from token `first` on.
    fn tokens(task: (&Conv<'_>, usize, usize, &[f32], &mut [f32])) {
        let (conv, segment, first, history, out) = task;
        for (index, out) in out.chunks_exact_mut(conv.channels).enumerate() {
            conv.token(segment, first + index, history, out);
        }
    }
}
