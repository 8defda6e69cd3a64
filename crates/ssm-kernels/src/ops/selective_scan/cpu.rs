use std::ops::Range;

use rayon::prelude::*;

use super::super::parallel::Columns;
use crate::math::{exp, vectorised};
use crate::segments::Segments;

/// Channels that one task scans side by side: one vector of the widest units.
const LANES: usize = 16;

/// The checked arguments as slices.
pub(super) struct Scan<'a> {
    pub(super) x: &'a [f32],
    pub(super) dt: &'a [f32],
    /// `[d_state, d_inner]`
    pub(super) a: &'a [f32],
    pub(super) projected: &'a [f32],
    pub(super) stride: usize,
    pub(super) b_start: usize,
    pub(super) c_start: usize,
    pub(super) d: &'a [f32],
    pub(super) d_inner: usize,
    pub(super) d_state: usize,
    pub(super) segments: &'a Segments,
    pub(super) initial: Option<&'a [f32]>,
}

/// A scan, a tree, its first channel, and where outputs and states go.
type Task<'a> = (&'a Scan<'a>, Range<usize>, usize, Columns, Option<Columns>);

impl Scan<'_> {
    /// `(y, states)`; states are collected only if wanted.
    pub(super) fn run(&self, want_states: bool) -> (Vec<f32>, Option<Vec<f32>>) {
        let mut y = vec![0.0; self.x.len()];
        let mut states = want_states.then(|| vec![0.0; self.segments.len() * self.d_inner * self.d_state]);
        let out = Columns::new(&mut y, self.d_inner);
        let state_out = states.as_mut().map(|states| Columns::new(states, self.d_state));
        let tasks: Vec<(Range<usize>, usize)> = self
            .segments
            .trees()
            .iter()
            .flat_map(|tree| (0..self.d_inner).step_by(LANES).map(move |first| (tree.clone(), first)))
            .collect();
        tasks.into_par_iter().for_each(|(tree, first)| {
            task((self, tree, first, out, state_out));
        });
        (y, states)
    }

    /// Scans channels `first..first + width` of one tree.
    #[inline(always)]
    fn tree(&self, tree: Range<usize>, first: usize, width: usize, out: Columns, state_out: Option<Columns>) {
        let n = self.d_state;
        // `[d_state][lane]`, unused lanes stay zero.
        let mut a = vec![[0.0_f32; LANES]; n];
        for (n, a) in a.iter_mut().enumerate() {
            a[..width].copy_from_slice(&self.a[n * self.d_inner + first..][..width]);
        }
        let mut kept: Vec<Option<Vec<[f32; LANES]>>> = vec![None; tree.len()];
        for segment in tree.clone() {
            let mut h = match self.segments.parent(segment) {
                Some(parent) => kept[parent - tree.start].clone().unwrap_or_else(|| unreachable!("parents come first")),
                None => self.initial_state(segment, first, width),
            };
            for row in self.segments.rows(segment) {
                let projected = &self.projected[row * self.stride..];
                let (b, c) = (&projected[self.b_start..][..n], &projected[self.c_start..][..n]);
                // SAFETY: this task alone owns these columns of the rows of its tree.
                let out = unsafe { out.row(row, first, width) };
                let at = row * self.d_inner + first;
                self.token(&mut h, &a, b, c, at, out);
            }
            if let Some(state_out) = state_out {
                for lane in 0..width {
                    // SAFETY: this task alone owns the states of these channels of its tree.
                    let state = unsafe { state_out.row(segment * self.d_inner + first + lane, 0, n) };
                    for (state, h) in state.iter_mut().zip(&h) {
                        *state = h[lane];
                    }
                }
            }
            if self.segments.has_children(segment) {
                kept[segment - tree.start] = Some(h);
            }
        }
    }

    /// One token of up to [`LANES`] channels whose values start at `at`.
    #[inline(always)]
    fn token(&self, h: &mut [[f32; LANES]], a: &[[f32; LANES]], b: &[f32], c: &[f32], at: usize, out: &mut [f32]) {
        let width = out.len();
        let (mut dt, mut x, mut y) = ([0.0_f32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
        dt[..width].copy_from_slice(&self.dt[at..at + width]);
        x[..width].copy_from_slice(&self.x[at..at + width]);
        let mut dtx = [0.0_f32; LANES];
        for lane in 0..LANES {
            dtx[lane] = dt[lane] * x[lane];
        }
        for (((h, a), b), c) in h.iter_mut().zip(a).zip(b).zip(c) {
            for lane in 0..LANES {
                h[lane] = exp(dt[lane] * a[lane]).mul_add(h[lane], dtx[lane] * b);
                y[lane] = c.mul_add(h[lane], y[lane]);
            }
        }
        let d = &self.d[at % self.d_inner..][..width];
        for lane in 0..width {
            out[lane] = d[lane].mul_add(x[lane], y[lane]);
        }
    }

    fn initial_state(&self, segment: usize, first: usize, width: usize) -> Vec<[f32; LANES]> {
        let mut h = vec![[0.0; LANES]; self.d_state];
        if let Some(initial) = self.initial {
            for lane in 0..width {
                let state = &initial[(segment * self.d_inner + first + lane) * self.d_state..][..self.d_state];
                for (h, state) in h.iter_mut().zip(state) {
                    h[lane] = *state;
                }
            }
        }
        h
    }
}

vectorised! {
    /// Scans up to [`LANES`] channels of one tree, from `first` on.
    fn task(task: Task<'_>) {
        let (scan, tree, first, out, state_out) = task;
        // Whole vectors take the path whose width is known to the compiler.
        if first + LANES <= scan.d_inner {
            scan.tree(tree, first, LANES, out, state_out);
        } else {
            scan.tree(tree, first, scan.d_inner - first, out, state_out);
        }
    }
}
