//! Sequences and option sets that the laws are tried on.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use ssm_kernels::Segments;
use ssm_model::{ScanConstants, Signal, Signals};

use crate::options::{OptionKind, OptionValue};
use crate::registry::{self, Registration, Strategy};
use crate::view::{Draw, Matrix, ScanView, SegmentTokens, SequenceView, SiteStream, Stop, TokenTable};

/// Columns of hidden states and residual.
pub const D_MODEL: usize = 6;
const D_INNER: usize = 12;
const N_HEADS: usize = 3;
const D_STATE: usize = 2;
/// `-exp(A_log)` of each head.
const A: [f32; N_HEADS] = [-0.5, -1.0, -4.0];
/// The signals of a sequence, after its two branches.
pub const SIGNALS: [Signal; 8] = [
    Signal::SsmOutput,
    Signal::ScanOutput,
    Signal::GatedOutput,
    Signal::Dt,
    Signal::X,
    Signal::B,
    Signal::C,
    Signal::Influence,
];
/// Columns of the matrices of a sequence.
const COLUMNS: [usize; 10] = [D_MODEL, D_MODEL, D_INNER, D_INNER, D_INNER, N_HEADS, D_INNER, D_STATE, D_STATE, 1];

/// Numbers that depend on the seed alone (`SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

/// What the activations look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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

/// All kinds.
pub const KINDS: [Kind; 5] = [Kind::Plain, Kind::Tied, Kind::Zero, Kind::Negative, Kind::Large];

/// One owned sequence with all signals.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Bookkeeping of the tokens.
    pub tokens: SegmentTokens,
    /// Output of the block, `[tokens, D_MODEL]`.
    pub hidden: Vec<f32>,
    /// Residual, `[tokens, D_MODEL]`.
    pub residual: Vec<f32>,
    /// [`Signal::SsmOutput`].
    pub ssm_output: Vec<f32>,
    /// [`Signal::ScanOutput`].
    pub scan_output: Vec<f32>,
    /// [`Signal::GatedOutput`].
    pub gated_output: Vec<f32>,
    /// [`Signal::Dt`].
    pub dt: Vec<f32>,
    /// [`Signal::X`].
    pub x: Vec<f32>,
    /// [`Signal::B`].
    pub b: Vec<f32>,
    /// [`Signal::C`].
    pub c: Vec<f32>,
    /// [`Signal::Influence`].
    pub influence: Vec<f32>,
}

impl Sequence {
    /// `n` tokens of item `item`, whose values follow from the item, the length and the kind.
    #[must_use]
    pub fn new(item: u64, n: usize, kind: Kind) -> Self {
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
        let scan_output = matrix(D_INNER);
        let mut tokens = SegmentTokens::reducible(item, n);
        for size in &mut tokens.sizes {
            *size = (1 + numbers.next() % 4) as f32;
        }
        Self { tokens, hidden, residual, ssm_output, scan_output, gated_output, dt, x, b, c, influence }
    }

    /// Protects about one token of `one_in`.
    #[must_use]
    pub fn protect(mut self, one_in: u64) -> Self {
        let mut numbers = Numbers(self.tokens.item ^ 0xabcd);
        for protected in &mut self.tokens.protected {
            *protected = numbers.next().is_multiple_of(one_in);
        }
        self
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.positions.len()
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn matrices(&self) -> [(&Vec<f32>, usize); 10] {
        let Self { hidden, residual, ssm_output, scan_output, gated_output, dt, x, b, c, influence, .. } = self;
        let matrices = [hidden, residual, ssm_output, scan_output, gated_output, dt, x, b, c, influence];
        std::array::from_fn(|index| (matrices[index], COLUMNS[index]))
    }

    fn matrices_mut(&mut self) -> [(&mut Vec<f32>, usize); 10] {
        let Self { hidden, residual, ssm_output, scan_output, gated_output, dt, x, b, c, influence, .. } = self;
        let mut columns = COLUMNS.into_iter();
        [hidden, residual, ssm_output, scan_output, gated_output, dt, x, b, c, influence]
            .map(|values| (values, columns.next().unwrap_or(0)))
    }

    /// The first `n` tokens.
    #[must_use]
    pub fn prefix(&self, n: usize) -> Self {
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
    #[must_use]
    pub fn with_later_tokens_of(&self, n: usize, other: &Self) -> Self {
        let mut mixed = other.clone();
        mixed.tokens.item = self.tokens.item;
        for ((to, columns), (from, _)) in mixed.matrices_mut().into_iter().zip(self.matrices()) {
            to[..n * columns].copy_from_slice(&from[..n * columns]);
        }
        mixed.tokens.sizes[..n].copy_from_slice(&self.tokens.sizes[..n]);
        mixed
    }

    /// The sequence as a rule sees it after layer 3, with all signals.
    #[must_use]
    pub fn view(&self, seed: u64) -> SequenceView<'_> {
        let [hidden, residual, signals @ ..] =
            self.matrices().map(|(values, columns)| Matrix { values, rows: self.len(), columns });
        let draw = Draw { seed, item: 0, site: 3 };
        let view = SequenceView::new(&self.tokens, hidden, residual, draw).with_scan(ScanView { ngroups: 1, a: &A });
        SIGNALS.into_iter().zip(signals).fold(view, |view, (signal, matrix)| view.with_signal(signal, matrix))
    }
}

/// Sequences end to end.
pub struct Stream {
    /// Bookkeeping of the tokens.
    pub table: TokenTable,
    /// Which rows are whose.
    pub segments: Segments,
    /// Output of the block.
    pub hidden: Tensor,
    /// Residual.
    pub residual: Tensor,
    /// What the layer showed.
    pub signals: Signals,
}

impl Stream {
    /// These sequences.
    #[must_use]
    pub fn of(sequences: &[&Sequence]) -> Self {
        let lengths: Vec<usize> = sequences.iter().map(|sequence| sequence.len()).collect();
        let total: usize = lengths.iter().sum();
        let tensor = |index: usize| {
            let values: Vec<f32> =
                sequences.iter().flat_map(|sequence| sequence.matrices()[index].0.iter().copied()).collect();
            Tensor::from_vec(values, (total, COLUMNS[index]), &Device::Cpu)
                .unwrap_or_else(|error| unreachable!("values of this shape: {error}"))
        };
        let mut signals = Signals::default();
        for (index, signal) in SIGNALS.into_iter().enumerate() {
            signals.set(signal, Some(tensor(2 + index)));
        }
        let a = Tensor::new(&A, &Device::Cpu).unwrap_or_else(|error| unreachable!("a short vector: {error}"));
        signals.set_scan(Some(ScanConstants { ngroups: 1, a }));
        Self {
            table: TokenTable::new(sequences.iter().map(|sequence| sequence.tokens.clone()).collect()),
            segments: Segments::independent(&lengths),
            hidden: tensor(0),
            residual: tensor(1),
            signals,
        }
    }

    /// The stream as it arrives at the site after layer 3.
    #[must_use]
    pub fn site(&self) -> SiteStream<'_> {
        let Self { table, segments, hidden, residual, signals } = self;
        SiteStream {
            layer: 3,
            tokens: table,
            segments,
            hidden,
            residual,
            embeddings: None,
            signals,
            memos: &[],
            stop: Stop::default(),
        }
    }
}

/// Every registered strategy with its defaults, and with each option in turn at each of its words or ends.
#[must_use]
pub fn strategies() -> Vec<Strategy> {
    registry::all().into_iter().flat_map(variants).collect()
}

/// A strategy with its defaults, and with each option in turn at each of its words or ends.
fn variants(registration: &'static Registration) -> Vec<Strategy> {
    let build = |options: &BTreeMap<String, OptionValue>| {
        Strategy::new(registration.name, options).unwrap_or_else(|error| unreachable!("values of its own: {error}"))
    };
    let mut all = vec![build(&BTreeMap::new())];
    for option in registration.options {
        let values: Vec<OptionValue> = match option.kind {
            OptionKind::Integer { min, max } => vec![OptionValue::Integer(min), OptionValue::Integer(max)],
            OptionKind::Number { min, max } => vec![OptionValue::Number(min), OptionValue::Number(max)],
            OptionKind::Choice(words) => words.iter().map(|word| OptionValue::Word((*word).to_owned())).collect(),
        };
        all.extend(values.into_iter().map(|value| build(&BTreeMap::from([(option.name.to_owned(), value)]))));
    }
    all
}
