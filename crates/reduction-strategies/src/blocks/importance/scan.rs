//! Importance read from the scan itself: what a token writes, and what of it later outputs read.
//!
//! With `h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t` and `y_t = C_t h_t` the outputs of a head (Mamba-2) or channel (Mamba) are
//! `y_i = sum_{t <= i} a(i, t) x_t` with the implicit attention
//!
//! ```text
//! a(i, t) = sum_n C_in exp(sum_{k = t+1..i} dt_k A_n) dt_t B_tn
//! ```
//!
//! Ali, Zimerman & Wolf, *The Hidden Attention of Mamba Models*, <https://arxiv.org/abs/2403.01590>, Eq. 11-12; upstream
//! `compute_attn_matrix_fn` in `mamba-1p1p1/mamba_ssm/ops/selective_scan_interface.py` of `AmeenAli/HiddenMambaAttn`. Without
//! the decay: "Stateful token reduction", <https://arxiv.org/abs/2603.00198>. **Differs in**: columns of magnitudes are
//! summed over all later tokens to one influence per token; the skip `D x` is no attention and is left out.

use ssm_model::{Signal, SignalSet};

use super::metric::{Compute, Kernel, Metric};
use super::source::Source;
use crate::error::PlanError;
use crate::vectors::{dot, norm};
use crate::view::{Matrix, ScanView, SequenceView};

/// Frobenius norm of what the token writes into the state.
pub static WRITE_NORM: Metric = Metric {
    name: "write_norm",
    formula: "sqrt(sum_h dt_h^2 |B_g|^2 |x_h|^2)",
    reference: "",
    compute: Compute::View {
        signals: SignalSet::of(&[Signal::Dt, Signal::X, Signal::B, Signal::Scan]),
        source: Source::Dt.name(),
        looks_ahead: false,
        scores: write_norm,
        kernel: Some(Kernel::WriteNorm),
    },
};

/// Influence on the outputs of the token itself and of all later ones.
pub static HIDDEN_ATTENTION: Metric = Metric {
    name: "hidden_attention",
    formula: "sum_{i >= t} mean_h |a_h(i, t)|",
    reference: "Ali, Zimerman & Wolf 2024, https://arxiv.org/abs/2403.01590, Eq. 11-12",
    compute: Compute::View {
        signals: ATTENTION_SIGNALS,
        source: Source::Dt.name(),
        looks_ahead: true,
        scores: |view| hidden_attention(view, true),
        kernel: Some(Kernel::HiddenAttention { decay: true }),
    },
};

/// The same without the decay between the two tokens.
pub static HIDDEN_ATTENTION_NO_DECAY: Metric = Metric {
    name: "hidden_attention_no_decay",
    formula: "sum_{i >= t} mean_h |a_h(i, t)| with the exponential as 1",
    reference: "Stateful token reduction 2026, https://arxiv.org/abs/2603.00198",
    compute: Compute::View {
        signals: ATTENTION_SIGNALS,
        source: Source::Dt.name(),
        looks_ahead: true,
        scores: |view| hidden_attention(view, false),
        kernel: Some(Kernel::HiddenAttention { decay: false }),
    },
};

const ATTENTION_SIGNALS: SignalSet = SignalSet::of(&[Signal::Dt, Signal::B, Signal::C, Signal::Scan]);

/// The parts of the scan and its sizes.
struct Scan<'a> {
    dt: Matrix<'a>,
    b: Matrix<'a>,
    constants: ScanView<'a>,
    d_state: usize,
}

impl<'a> Scan<'a> {
    fn of(view: &SequenceView<'a>) -> Result<Self, PlanError> {
        let dt = view.signal(Signal::Dt)?;
        let b = view.signal(Signal::B)?;
        let constants = view.scan()?;
        Ok(Self { dt, b, constants, d_state: b.columns / constants.ngroups.max(1) })
    }

    /// The part of a row of B or C that head (or channel) `head` uses.
    fn map(&self, matrix: Matrix<'a>, row: usize, head: usize) -> &'a [f32] {
        let group = head * self.constants.ngroups / self.dt.columns;
        &matrix.row(row)[group * self.d_state..(group + 1) * self.d_state]
    }

    /// `exp(dt A)` of every head (or of every channel and state), `[heads, states with a decay of their own]`.
    fn decays(&self, row: usize) -> Vec<f64> {
        let dt = self.dt.row(row);
        let (heads, a) = (dt.len(), self.constants.a);
        let own = a.len() / heads.max(1);
        // Stored with the heads in the last place.
        let decay = |index: usize| {
            let (head, state) = (index / own, index % own);
            (f64::from(dt[head]) * f64::from(a[state * heads + head])).exp()
        };
        (0..heads * own).map(decay).collect()
    }
}

/// `sqrt(sum_h dt_h^2 |B_g(h)|^2 |x_h|^2)` of every token: the Frobenius norm of what it writes into the state, over all heads
/// (channels) and states.
///
/// # Errors
/// A signal that the layer did not show.
fn write_norm(view: &SequenceView<'_>) -> Result<Vec<f32>, PlanError> {
    let scan = Scan::of(view)?;
    let x = view.signal(Signal::X)?;
    let heads = scan.dt.columns;
    let headdim = x.columns / heads.max(1);
    let score = |row: usize| {
        let write = |head: usize| {
            let x = &x.row(row)[head * headdim..(head + 1) * headdim];
            f64::from(scan.dt.row(row)[head]) * norm(scan.map(scan.b, row, head)) * norm(x)
        };
        (0..heads).map(|head| write(head).powi(2)).sum::<f64>().sqrt() as f32
    };
    Ok((0..view.len()).map(score).collect())
}

/// `sum_{i >= t} mean_h |a_h(i, t)|` of every token: its influence on all outputs from its own on. Without decay the
/// exponential counts as 1.
///
/// Exact and quadratic in the length: `n^2 / 2` pairs, each `nheads + ngroups d_state` (Mamba-2) or `d_inner d_state` (Mamba)
/// multiplications, in float64.
///
/// # Errors
/// A signal that the layer did not show.
fn hidden_attention(view: &SequenceView<'_>, decay: bool) -> Result<Vec<f32>, PlanError> {
    let scan = Scan::of(view)?;
    let c = view.signal(Signal::C)?;
    let heads = scan.dt.columns;
    let decays: Vec<Vec<f64>> = if decay { (0..view.len()).map(|row| scan.decays(row)).collect() } else { Vec::new() };
    let own = scan.constants.a.len() / heads.max(1);
    let influence = |t: usize| {
        // What of the token's write is left, per head and state with a decay of its own.
        let mut left = vec![1.0_f64; heads * own];
        let mut sum = 0.0;
        for i in t..view.len() {
            // There are no decays where they do not count.
            if let Some(decays) = decays.get(i).filter(|_| i > t) {
                for (left, decay) in left.iter_mut().zip(decays) {
                    *left *= decay;
                }
            }
            let mut group = None;
            for head in 0..heads {
                let (b, c) = (scan.map(scan.b, t, head), scan.map(c, i, head));
                let product = if decay && own > 1 {
                    let left = &left[head * own..(head + 1) * own];
                    let terms = b.iter().zip(c).zip(left);
                    terms.map(|((b, c), left)| f64::from(*b) * f64::from(*c) * left).sum::<f64>()
                } else {
                    // Heads of one group share the product.
                    let place = head * scan.constants.ngroups / heads;
                    let shared = match group {
                        Some((known, product)) if known == place => product,
                        _ => dot(b, c),
                    };
                    group = Some((place, shared));
                    shared * if decay { left[head] } else { 1.0 }
                };
                sum += f64::from(scan.dt.row(t)[head]) * product.abs();
            }
        }
        (sum / heads.max(1) as f64) as f32
    };
    Ok((0..view.len()).map(influence).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sequence;

    const DT: [[f32; 2]; 3] = [[0.5, 1.0], [0.25, 2.0], [1.0, 0.125]];
    const B: [[f32; 2]; 3] = [[1.0, -2.0], [0.5, 0.25], [3.0, 4.0]];
    const C: [[f32; 2]; 3] = [[2.0, 1.0], [1.0, 1.0], [-1.0, 0.5]];
    /// Two channels (two heads of one channel) per row.
    const X: [[f32; 2]; 3] = [[2.0, 3.0], [-4.0, 1.0], [0.0, 2.0]];

    const SHOWN: [(Signal, [[f32; 2]; 3]); 4] = [(Signal::Dt, DT), (Signal::B, B), (Signal::C, C), (Signal::X, X)];

    fn with_view<R>(a: &[f32], ngroups: usize, f: impl FnOnce(&SequenceView<'_>) -> R) -> R {
        with_signals(&SHOWN, a, ngroups, f)
    }

    fn with_signals<R>(
        shown: &[(Signal, [[f32; 2]; 3])],
        a: &[f32],
        ngroups: usize,
        f: impl FnOnce(&SequenceView<'_>) -> R,
    ) -> R {
        let sequence = Sequence::of_rows(&X);
        let view = shown.iter().fold(sequence.view(), |view, (signal, rows)| {
            view.with_signal(*signal, Matrix { values: rows.as_flattened(), rows: 3, columns: 2 })
        });
        f(&view.with_scan(ScanView { ngroups, a }))
    }

    fn close(got: &[f32], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6 * want.abs().max(1.0), "{got} {want}");
        }
    }

    #[test]
    fn the_norm_of_a_write_by_hand() {
        // Token 0: |B| = sqrt 5, dt x = (1, 3): sqrt(5 * 10). Token 1: |B|^2 = 0.3125, dt x = (-1, 2). Token 2: |B| = 5, (0, 0.25).
        let want = [50.0_f64.sqrt(), (0.3125_f64 * 5.0).sqrt(), 1.25];
        close(&with_view(&[-1.0, -2.0], 1, write_norm).unwrap(), &want);
        // Two groups of one state each: token 2 has B = 4 for its second head alone.
        let want = [(1.0_f64 + 36.0).sqrt(), (0.25_f64 + 0.25).sqrt(), 1.0];
        close(&with_view(&[-1.0, -2.0], 2, write_norm).unwrap(), &want);
    }

    /// The implicit attention from the recurrence itself: the output of a unit impulse at `t` alone.
    fn attention_by_impulse(a: &[f32], ngroups: usize, i: usize, t: usize, head: usize) -> f64 {
        let d_state = 2 / ngroups;
        let group = head * ngroups / 2;
        let (mut h, mut y) = (vec![0.0_f64; d_state], 0.0);
        for k in 0..=i {
            y = 0.0;
            for (n, h) in h.iter_mut().enumerate() {
                let a = f64::from(if a.len() == 2 { a[head] } else { a[n * 2 + head] });
                let dt = f64::from(DT[k][head]);
                let x = if k == t { 1.0 } else { 0.0 };
                *h = (dt * a).exp() * *h + dt * f64::from(B[k][group * d_state + n]) * x;
                y += f64::from(C[k][group * d_state + n]) * *h;
            }
        }
        y
    }

    #[test]
    fn influence_is_what_an_impulse_leaves_in_later_outputs() {
        let per_head: [f32; 2] = [-1.0, -0.5];
        let per_channel_and_state: [f32; 4] = [-1.0, -0.5, -2.0, -0.25];
        for (a, ngroups) in [(&per_head[..], 1), (&per_head[..], 2), (&per_channel_and_state[..], 1)] {
            let column = |t: usize| {
                let pairs = (t..3).flat_map(|i| [(i, 0), (i, 1)]);
                pairs.map(|(i, head)| attention_by_impulse(a, ngroups, i, t, head).abs()).sum::<f64>() / 2.0
            };
            close(
                &with_view(a, ngroups, |view| hidden_attention(view, true)).unwrap(),
                &[column(0), column(1), column(2)],
            );
        }
    }

    #[test]
    fn without_decay_by_hand() {
        // C_i . B_0 = 0, -1, -2; C_i . B_1 = 0.75, -0.375; C_2 . B_2 = -1. Mean step sizes: 0.75, 1.125, 0.5625.
        let want = [0.75 * 3.0, 1.125 * 1.125, 0.5625];
        for a in [&[-1.0, -0.5][..], &[-1.0, -0.5, -2.0, -0.25][..]] {
            close(&with_view(a, 1, |view| hidden_attention(view, false)).unwrap(), &want);
        }
    }

    #[test]
    fn a_missing_signal_is_named() {
        let sequence = Sequence::of_rows(&X);
        let error = hidden_attention(&sequence.view(), true).unwrap_err();
        assert!(matches!(error, PlanError::MissingSignal(Signal::Dt)));
        let error = with_signals(&SHOWN[..3], &[-1.0, -2.0], 1, write_norm).unwrap_err();
        assert!(matches!(error, PlanError::MissingSignal(Signal::X)));
    }
}
