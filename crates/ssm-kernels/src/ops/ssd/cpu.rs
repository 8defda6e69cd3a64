use std::ops::Range;

use rayon::prelude::*;

use super::super::parallel::Columns;
use crate::math::{exp, vectorised};
use crate::segments::Segments;

/// Tokens per chunk.
const CHUNK: usize = 64;

/// The checked arguments as slices.
pub(super) struct Ssd<'a> {
    /// `[tokens, width]`: x, B, C.
    pub(super) xbc: &'a [f32],
    pub(super) width: usize,
    pub(super) dt: &'a [f32],
    pub(super) a: &'a [f32],
    pub(super) d: &'a [f32],
    pub(super) nheads: usize,
    pub(super) headdim: usize,
    pub(super) ngroups: usize,
    pub(super) d_state: usize,
    pub(super) segments: &'a Segments,
    pub(super) initial: Option<&'a [f32]>,
}

/// A tree, a head, the chunk products, and where outputs and states go.
type Task<'a> = (&'a Ssd<'a>, Range<usize>, usize, &'a [f32], Columns, Option<Columns>);

/// Working memory of one task.
struct Scratch {
    /// Coefficients of a product, at most `[max(CHUNK, d_state)][max(CHUNK, d_state)]`.
    coefficients: Vec<f32>,
    /// `y` of one chunk and head, `[CHUNK][headdim]`.
    y: Vec<f32>,
    /// Running sum of `dt * a` inside the chunk.
    decay: [f32; CHUNK],
}

impl Ssd<'_> {
    /// `(y, states)`; states are collected only if wanted.
    pub(super) fn run(&self, want_states: bool) -> (Vec<f32>, Option<Vec<f32>>) {
        let products = self.chunk_products();
        let d_inner = self.nheads * self.headdim;
        let mut y = vec![0.0; self.segments.n_tokens() * d_inner];
        let mut states = want_states.then(|| vec![0.0; self.segments.len() * d_inner * self.d_state]);
        let out = Columns::new(&mut y, d_inner);
        let state_out = states.as_mut().map(|states| Columns::new(states, self.d_state));
        let tasks: Vec<(Range<usize>, usize)> = self
            .segments
            .trees()
            .iter()
            .flat_map(|tree| (0..self.nheads).map(move |head| (tree.clone(), head)))
            .collect();
        tasks.into_par_iter().for_each(|(tree, head)| {
            scan_tree((self, tree, head, products.as_slice(), out, state_out));
        });
        (y, states)
    }

    /// `C_i . B_j` for all pairs inside a chunk, shared by the heads of a group: `[tokens][ngroups][CHUNK]`.
    fn chunk_products(&self) -> Vec<f32> {
        let row_width = self.ngroups * CHUNK;
        let mut products = vec![0.0; self.segments.n_tokens() * row_width];
        let mut tasks = Vec::new();
        let mut rest = products.as_mut_slice();
        for segment in 0..self.segments.len() {
            for chunk in chunks(self.segments.rows(segment)) {
                let (own, others) = rest.split_at_mut(chunk.len() * row_width);
                rest = others;
                tasks.push((chunk, own));
            }
        }
        tasks.into_par_iter().for_each(|(chunk, out)| chunk_product((self, chunk, out)));
        products
    }

    /// Outputs of one chunk of one head, and the state after it.
    #[inline(always)]
    fn chunk(
        &self,
        chunk: Range<usize>,
        head: usize,
        products: &[f32],
        h: &mut [f32],
        scratch: &mut Scratch,
        out: Columns,
    ) {
        let (p, n, q) = (self.headdim, self.d_state, chunk.len());
        let group = head / (self.nheads / self.ngroups);
        let mut total = 0.0;
        let mut dt = [0.0_f32; CHUNK];
        for (i, row) in chunk.clone().enumerate() {
            dt[i] = self.dt[row * self.nheads + head];
            total += dt[i] * self.a[head];
            scratch.decay[i] = total;
        }
        let decay = &scratch.decay;
        let x = Matrix { values: &self.xbc[chunk.start * self.width + head * p..], stride: self.width };
        scratch.y[..q * p].fill(0.0);

        // Inside the chunk: (C_i . B_j) exp(decay_i - decay_j) dt_j for j <= i.
        let coefficients = &mut scratch.coefficients;
        for (i, row) in chunk.clone().enumerate() {
            let products = &products[(row * self.ngroups + group) * CHUNK..][..CHUNK];
            let own = &mut coefficients[i * CHUNK..(i + 1) * CHUNK];
            // The whole row is computed and the part above the diagonal cleared: a loop of fixed length is vectorised.
            for (((own, product), decay_j), dt) in own.iter_mut().zip(products).zip(decay).zip(&dt) {
                *own = product * exp(decay[i] - decay_j) * dt;
            }
            own[i + 1..].fill(0.0);
        }
        let within = Matrix { values: coefficients, stride: CHUNK };
        multiply_add(&mut scratch.y, p, within, x, q, Reach::Lower(q), p);

        // From the state before the chunk: exp(decay_i) C_i h.
        for (i, row) in chunk.clone().enumerate() {
            let scale = exp(decay[i]);
            for (own, c) in coefficients[i * n..(i + 1) * n].iter_mut().zip(self.c(row, group)) {
                *own = scale * c;
            }
        }
        let before = Matrix { values: coefficients, stride: n };
        multiply_add(&mut scratch.y, p, before, Matrix { values: h, stride: p }, q, Reach::Full(n), p);

        for (i, row) in chunk.clone().enumerate() {
            // SAFETY: this task alone owns the columns of this head in the rows of its tree.
            let out = unsafe { out.row(row, head * p, p) };
            let x = &self.xbc[row * self.width + head * p..][..p];
            for ((out, y), x) in out.iter_mut().zip(&scratch.y[i * p..]).zip(x) {
                *out = self.d[head].mul_add(*x, *y);
            }
        }

        // The state after the chunk: exp(total) h + sum_j exp(total - decay_j) dt_j B_j x_j^T.
        for (j, row) in chunk.enumerate() {
            let scale = exp(total - decay[j]) * dt[j];
            for (n, b) in self.b(row, group).iter().enumerate() {
                coefficients[n * q + j] = scale * b;
            }
        }
        let remaining = exp(total);
        for h in h.iter_mut() {
            *h *= remaining;
        }
        multiply_add(h, p, Matrix { values: coefficients, stride: q }, x, n, Reach::Full(q), p);
    }

    fn c_start(&self, group: usize) -> usize {
        self.nheads * self.headdim + (self.ngroups + group) * self.d_state
    }

    #[inline(always)]
    fn c(&self, row: usize, group: usize) -> &[f32] {
        &self.xbc[row * self.width + self.c_start(group)..][..self.d_state]
    }

    #[inline(always)]
    fn b(&self, row: usize, group: usize) -> &[f32] {
        let start = self.nheads * self.headdim + group * self.d_state;
        &self.xbc[row * self.width + start..][..self.d_state]
    }

    fn initial_state(&self, segment: usize, head: usize) -> Vec<f32> {
        let (p, n) = (self.headdim, self.d_state);
        let mut h = vec![0.0; n * p];
        if let Some(initial) = self.initial {
            let state = &initial[(segment * self.nheads + head) * p * n..][..p * n];
            for (channel, state) in state.chunks_exact(n).enumerate() {
                for (n, state) in state.iter().enumerate() {
                    h[n * p + channel] = *state;
                }
            }
        }
        h
    }
}

/// Chunks of a segment's rows, counted from its start.
fn chunks(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    rows.clone().step_by(CHUNK).map(move |start| start..(start + CHUNK).min(rows.end))
}

/// A row-major matrix whose rows are `stride` apart.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    stride: usize,
}

/// How far a row of coefficients reaches.
#[derive(Clone, Copy)]
enum Reach {
    /// All of `0..inner`.
    Full(usize),
    /// Row `i` is zero beyond `i`, of at most `inner`: a lower triangle.
    Lower(usize),
}

/// `out[i, :] += sum_k a[i, k] b[k, :]`, every element summed in ascending `k` whatever the block it falls into.
#[inline(always)]
fn multiply_add(
    out: &mut [f32],
    out_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    rows: usize,
    reach: Reach,
    width: usize,
) {
    const ROWS: usize = 4;
    let whole = rows - rows % ROWS;
    let inner = |last_row: usize| match reach {
        Reach::Full(inner) => inner,
        Reach::Lower(inner) => inner.min(last_row + 1),
    };
    let mut column = 0;
    while column + 32 <= width {
        for row in (0..whole).step_by(ROWS) {
            block::<ROWS, 32>(out, out_stride, a, b, row, inner(row + ROWS - 1), column);
        }
        for row in whole..rows {
            block::<1, 32>(out, out_stride, a, b, row, inner(row), column);
        }
        column += 32;
    }
    while column + 16 <= width {
        for row in (0..whole).step_by(ROWS) {
            block::<ROWS, 16>(out, out_stride, a, b, row, inner(row + ROWS - 1), column);
        }
        for row in whole..rows {
            block::<1, 16>(out, out_stride, a, b, row, inner(row), column);
        }
        column += 16;
    }
    for column in column..width {
        for row in 0..rows {
            block::<1, 1>(out, out_stride, a, b, row, inner(row), column);
        }
    }
}

/// `R` rows by `L` columns of the product, held in registers.
#[inline(always)]
fn block<const R: usize, const L: usize>(
    out: &mut [f32],
    out_stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    row: usize,
    inner: usize,
    column: usize,
) {
    if inner == 0 {
        return;
    }
    assert!((row + R - 1) * a.stride + inner <= a.values.len(), "coefficients of the block");
    assert!((inner - 1) * b.stride + column + L <= b.values.len(), "rows of the block");
    let mut sums = [[0.0_f32; L]; R];
    for k in 0..inner {
        // SAFETY: `k < inner`, and the assertion above bounds the last row.
        let b: &[f32; L] = unsafe { &*b.values.as_ptr().add(k * b.stride + column).cast() };
        for (r, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `r < R` and `k < inner`, and the assertion above bounds the last coefficient.
            let a = unsafe { *a.values.get_unchecked((row + r) * a.stride + k) };
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = a.mul_add(*b, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let out = &mut out[(row + r) * out_stride + column..][..L];
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += sum;
        }
    }
}

vectorised! {
    /// Scans one head of one tree.
    fn scan_tree(task: Task<'_>) {
        let (ssd, tree, head, products, out, state_out) = task;
        let (p, n) = (ssd.headdim, ssd.d_state);
        let side = CHUNK.max(n);
        let mut scratch =
            Scratch { coefficients: vec![0.0; side * side], y: vec![0.0; CHUNK * p], decay: [0.0; CHUNK] };
        let mut kept: Vec<Option<Vec<f32>>> = vec![None; tree.len()];
        for segment in tree.clone() {
            // `[d_state][headdim]`
            let mut h = match ssd.segments.parent(segment) {
                Some(parent) => kept[parent - tree.start].clone().unwrap_or_else(|| unreachable!("parents come first")),
                None => ssd.initial_state(segment, head),
            };
            for chunk in chunks(ssd.segments.rows(segment)) {
                ssd.chunk(chunk, head, products, &mut h, &mut scratch, out);
            }
            if let Some(state_out) = state_out {
                for channel in 0..p {
                    let row = (segment * ssd.nheads + head) * p + channel;
                    // SAFETY: this task alone owns the states of this head of its tree.
                    let state = unsafe { state_out.row(row, 0, n) };
                    for (n, state) in state.iter_mut().enumerate() {
                        *state = h[n * p + channel];
                    }
                }
            }
            if ssd.segments.has_children(segment) {
                kept[segment - tree.start] = Some(h);
            }
        }
    }
}

vectorised! {
    fn chunk_product(task: (&Ssd<'_>, Range<usize>, &mut [f32])) {
        let (ssd, chunk, out) = task;
        let n = ssd.d_state;
        let mut transposed = vec![0.0; n * CHUNK];
        for group in 0..ssd.ngroups {
            for (j, row) in chunk.clone().enumerate() {
                for (n, b) in ssd.b(row, group).iter().enumerate() {
                    transposed[n * CHUNK + j] = *b;
                }
            }
            let b = Matrix { values: &transposed, stride: CHUNK };
            let c = Matrix { values: &ssd.xbc[chunk.start * ssd.width + ssd.c_start(group)..], stride: ssd.width };
            multiply_add(&mut out[group * CHUNK..], ssd.ngroups * CHUNK, c, b, chunk.len(), Reach::Full(n), chunk.len());
        }
    }
}
