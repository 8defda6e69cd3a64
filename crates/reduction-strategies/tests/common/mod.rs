//! Sequences and option sets that the laws are tried on.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reduction_strategies::options::{OptionKind, OptionValue};
use reduction_strategies::registry::{self, Strategy};
use reduction_strategies::{Draw, Matrix, ScanView, SegmentTokens, SequenceView, SiteStream, TokenTable};
use ssm_kernels::Segments;
use ssm_model::{ScanConstants, Signal, Signals};

pub(crate) const D_MODEL: usize = 6;
pub(crate) const D_INNER: usize = 12;
pub(crate) const N_HEADS: usize = 3;
pub(crate) const D_STATE: usize = 2;
/// `-exp(A_log)` of each head.
const A: [f32; N_HEADS] = [-0.5, -1.0, -4.0];
/// The signals of a sequence, after its two branches.
pub(crate) const SIGNALS: [Signal; 7] =
    [Signal::SsmOutput, Signal::GatedOutput, Signal::Dt, Signal::X, Signal::B, Signal::C, Signal::Influence];
/// Columns of the matrices of a sequence.
const COLUMNS: [usize; 9] = [D_MODEL, D_MODEL, D_INNER, D_INNER, N_HEADS, D_INNER, D_STATE, D_STATE, 1];

/// Numbers that depend on the seed alone (`SplitMix64`).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub(crate) fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

/// What the activations look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Spread out.
    Plain,
    /// Few different values: ties everywhere.
    Tied,
    /// All zero.
    Zero,
    /// Nothing positive.
    Negative,
    /// Large, but far from overflow of a sum.
    Large,
}

pub(crate) const KINDS: [Kind; 5] = [Kind::Plain, Kind::Tied, Kind::Zero, Kind::Negative, Kind::Large];

/// One owned sequence with all signals.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pub(crate) tokens: SegmentTokens,
    pub(crate) hidden: Vec<f32>,
    pub(crate) residual: Vec<f32>,
    pub(crate) ssm_output: Vec<f32>,
    pub(crate) gated_output: Vec<f32>,
    pub(crate) dt: Vec<f32>,
    pub(crate) x: Vec<f32>,
    pub(crate) b: Vec<f32>,
    pub(crate) c: Vec<f32>,
    pub(crate) influence: Vec<f32>,
}

impl Sequence {
    pub(crate) fn new(item: u64, n: usize, kind: Kind) -> Self {
        let mut numbers = Numbers(item);
        let mut matrix_up_to = |columns: usize, large: f32| -> Vec<f32> {
            (0..n * columns)
                .map(|_| {
                    let value = numbers.value();
                    match kind {
                        Kind::Plain => value,
                        Kind::Tied => (value * 1.5).round(),
                        Kind::Zero => 0.0,
                        Kind::Negative => -value.abs(),
                        Kind::Large => value * large,
                    }
                })
                .collect()
        };
        let mut matrix = |columns| matrix_up_to(columns, 1e15);
        let (hidden, residual) = (matrix(D_MODEL), matrix(D_MODEL));
        let (ssm_output, gated_output) = (matrix(D_INNER), matrix(D_INNER));
        // Metrics of the scan multiply these by each other.
        let mut matrix = |columns| matrix_up_to(columns, 1e11);
        let dt = matrix(N_HEADS).into_iter().map(f32::abs).collect();
        let (x, b, c, influence) = (matrix(D_INNER), matrix(D_STATE), matrix(D_STATE), matrix(1));
        let mut tokens = SegmentTokens::reducible(item, n);
        for size in &mut tokens.sizes {
            *size = (1 + numbers.next() % 4) as f32;
        }
        Self { tokens, hidden, residual, ssm_output, gated_output, dt, x, b, c, influence }
    }

    /// Protects about one token of `one_in`.
    pub(crate) fn protect(mut self, one_in: u64) -> Self {
        let mut numbers = Numbers(self.tokens.item ^ 0xabcd);
        for protected in &mut self.tokens.protected {
            *protected = numbers.next().is_multiple_of(one_in);
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.tokens.positions.len()
    }

    fn matrices(&self) -> [(&Vec<f32>, usize); 9] {
        let Self { hidden, residual, ssm_output, gated_output, dt, x, b, c, influence, .. } = self;
        let matrices = [hidden, residual, ssm_output, gated_output, dt, x, b, c, influence];
        std::array::from_fn(|index| (matrices[index], COLUMNS[index]))
    }

    fn matrices_mut(&mut self) -> [(&mut Vec<f32>, usize); 9] {
        let Self { hidden, residual, ssm_output, gated_output, dt, x, b, c, influence, .. } = self;
        let mut columns = COLUMNS.into_iter();
        [hidden, residual, ssm_output, gated_output, dt, x, b, c, influence]
            .map(|values| (values, columns.next().unwrap()))
    }

    /// The first `n` tokens.
    pub(crate) fn prefix(&self, n: usize) -> Self {
        let mut prefix = self.clone();
        for (values, columns) in prefix.matrices_mut() {
            values.truncate(n * columns);
        }
        prefix.tokens.positions.truncate(n);
        prefix.tokens.sizes.truncate(n);
        prefix.tokens.protected.truncate(n);
        prefix.tokens.times.truncate(n);
        prefix
    }

    /// The same first `n` tokens, then those of `other`.
    pub(crate) fn with_later_tokens_of(&self, n: usize, other: &Self) -> Self {
        let mut mixed = other.clone();
        mixed.tokens.item = self.tokens.item;
        for ((to, columns), (from, _)) in mixed.matrices_mut().into_iter().zip(self.matrices()) {
            to[..n * columns].copy_from_slice(&from[..n * columns]);
        }
        mixed.tokens.sizes[..n].copy_from_slice(&self.tokens.sizes[..n]);
        mixed
    }

    pub(crate) fn view(&self, seed: u64) -> SequenceView<'_> {
        let [hidden, residual, signals @ ..] =
            self.matrices().map(|(values, columns)| Matrix { values, rows: self.len(), columns });
        let draw = Draw { seed, item: 0, site: 3 };
        let view = SequenceView::new(&self.tokens, hidden, residual, draw).with_scan(ScanView { ngroups: 1, a: &A });
        SIGNALS.into_iter().zip(signals).fold(view, |view, (signal, matrix)| view.with_signal(signal, matrix))
    }
}

/// Sequences end to end.
pub(crate) struct Stream {
    pub(crate) table: TokenTable,
    pub(crate) segments: Segments,
    pub(crate) hidden: Tensor,
    pub(crate) residual: Tensor,
    pub(crate) signals: Signals,
}

impl Stream {
    pub(crate) fn of(sequences: &[&Sequence]) -> Self {
        let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.len()).collect();
        let total: usize = lengths.iter().sum();
        let tensor = |index: usize| {
            let values: Vec<f32> =
                sequences.iter().flat_map(|sequence| sequence.matrices()[index].0.iter().copied()).collect();
            Tensor::from_vec(values, (total, COLUMNS[index]), &Device::Cpu).unwrap()
        };
        let mut signals = Signals::default();
        for (index, signal) in SIGNALS.into_iter().enumerate() {
            signals.set(signal, Some(tensor(2 + index)));
        }
        signals.set_scan(Some(ScanConstants { ngroups: 1, a: Tensor::new(&A, &Device::Cpu).unwrap() }));
        Self {
            table: TokenTable::new(sequences.iter().map(|sequence| sequence.tokens.clone()).collect()),
            segments: Segments::independent(&lengths),
            hidden: tensor(0),
            residual: tensor(1),
            signals,
        }
    }

    /// The stream as it arrives at the site after layer 3.
    pub(crate) fn site(&self) -> SiteStream<'_> {
        let Self { table, segments, hidden, residual, signals } = self;
        SiteStream { layer: 3, tokens: table, segments, hidden, residual, signals, memos: &[] }
    }
}

/// Every registered strategy with its defaults, and with each option in turn at each of its words or ends.
pub(crate) fn strategies() -> Vec<Strategy> {
    let mut all = Vec::new();
    for registration in registry::all() {
        let build = |options: BTreeMap<String, OptionValue>| Strategy::new(registration.name, &options).unwrap();
        all.push(build(BTreeMap::new()));
        for option in registration.options {
            let values: Vec<OptionValue> = match option.kind {
                OptionKind::Integer { min, max } => vec![OptionValue::Integer(min), OptionValue::Integer(max)],
                OptionKind::Number { min, max } => vec![OptionValue::Number(min), OptionValue::Number(max)],
                OptionKind::Choice(words) => words.iter().map(|word| OptionValue::Word((*word).to_owned())).collect(),
            };
            all.extend(values.into_iter().map(|value| build(BTreeMap::from([(option.name.to_owned(), value)]))));
        }
    }
    all
}
