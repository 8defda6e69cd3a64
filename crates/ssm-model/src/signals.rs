//! What a layer shows of its internals, on request.
//!
//! Each signal is declared once, in the table below: everything that lists, copies, checks or names signals follows it. A new
//! signal is one entry of the table and the mixer that produces it.

use std::fmt;

use candle_core::Tensor;

/// Who supplies a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supplier {
    /// A layer, as a part of its forward pass.
    Layer,
    /// Whoever drives the model: no layer knows it.
    Driver,
}

/// One row of the table of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// Name in options, messages about what a rule reads, and records.
    pub name: &'static str,
    /// What messages about its values call it.
    pub what: &'static str,
    /// Shape, for documentation.
    pub shape: &'static str,
    /// Who supplies it.
    pub supplier: Supplier,
    /// Whether it is a matrix with one row per token; if not, it is the same for every token.
    pub per_token: bool,
    /// Place in the order in which a layer computes its signals. Values are checked in this order, so that the first tensor named
    /// is the one in which a NaN arose.
    pub step: u8,
}

macro_rules! signals {
    ($($(#[doc = $doc:literal])+ $signal:ident = $info:expr;)+) => {
        /// One of the internals that a rule can read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Signal {
            $($(#[doc = $doc])+ $signal,)+
        }

        impl Signal {
            /// All signals, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$signal),+];

            /// The row of the table.
            #[must_use]
            pub const fn info(self) -> &'static SignalInfo {
                match self {
                    $(Self::$signal => const { &$info },)+
                }
            }
        }
    };
}

signals! {
    /// SSM output y (with the skip D x), before the gate. Of a Transformer: the attention output before its output projection,
    /// which takes the same place in the block.
    SsmOutput = SignalInfo {
        name: "ssm_output",
        what: "the SSM output",
        shape: "[tokens, d_inner]",
        supplier: Supplier::Layer,
        per_token: true,
        step: 4,
    };
    /// SSM output without the skip, y - D x: what the state alone gives, `C_t h_t`.
    ScanOutput = SignalInfo {
        name: "scan_output",
        what: "the SSM output without the skip",
        shape: "[tokens, d_inner]",
        supplier: Supplier::Layer,
        per_token: true,
        step: 4,
    };
    /// SSM output after the gate, y * silu(z), before any norm.
    GatedOutput = SignalInfo {
        name: "gated_output",
        what: "the gated output",
        shape: "[tokens, d_inner]",
        supplier: Supplier::Layer,
        per_token: true,
        step: 5,
    };
    /// Step sizes dt, after bias and softplus.
    Dt = SignalInfo {
        name: "dt",
        what: "dt",
        shape: "[tokens, d_inner] (Mamba) or [tokens, nheads] (Mamba-2)",
        supplier: Supplier::Layer,
        per_token: true,
        step: 3,
    };
    /// Input maps B.
    B = SignalInfo {
        name: "b",
        what: "B",
        shape: "[tokens, ngroups * d_state]",
        supplier: Supplier::Layer,
        per_token: true,
        step: 1,
    };
    /// Output maps C.
    C = SignalInfo {
        name: "c",
        what: "C",
        shape: "[tokens, ngroups * d_state]",
        supplier: Supplier::Layer,
        per_token: true,
        step: 2,
    };
    /// Input x of the scan: convolved and activated.
    X = SignalInfo {
        name: "x",
        what: "x",
        shape: "[tokens, d_inner]",
        supplier: Supplier::Layer,
        per_token: true,
        step: 0,
    };
    /// The constants of the scan ([`ScanConstants`]).
    Scan = SignalInfo {
        name: "scan",
        what: "the constants of the scan",
        shape: "the same for every token",
        supplier: Supplier::Layer,
        per_token: false,
        step: 0,
    };
    /// Influence of a row on the outcome.
    Influence = SignalInfo {
        name: "influence",
        what: "the influence",
        shape: "[tokens, 1]",
        supplier: Supplier::Driver,
        per_token: true,
        step: 0,
    };
}

impl Signal {
    /// How many signals there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Name in options and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// The matrices that `supplier` supplies, in the order in which they are computed.
    pub fn matrices_of(supplier: Supplier) -> impl Iterator<Item = Self> {
        let mut all: Vec<Self> = Self::ALL
            .iter()
            .copied()
            .filter(|signal| signal.info().per_token && signal.info().supplier == supplier)
            .collect();
        all.sort_by_key(|signal| signal.info().step);
        all.into_iter()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which internals a driver asks a layer for. A layer keeps no others.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SignalSet(u32);

impl SignalSet {
    /// No signal.
    pub const NONE: Self = Self(0);
    /// Every signal.
    pub const ALL: Self = Self::of(Signal::ALL);

    /// These signals.
    #[must_use]
    pub const fn of(signals: &[Signal]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < signals.len() {
            bits |= 1 << signals[index] as u32;
            index += 1;
        }
        Self(bits)
    }

    /// Whether `signal` is among them.
    #[must_use]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::of(&[signal]).0 != 0
    }

    /// Everything in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of this set that `shown` lacks.
    #[must_use]
    pub const fn without(self, shown: Self) -> Self {
        Self(self.0 & !shown.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The signals, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        Signal::ALL.iter().copied().filter(move |signal| self.contains(*signal))
    }

    /// Their names, in the order of the table.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Signal::name).collect()
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The internals that were asked for, float32.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    matrices: [Option<Tensor>; Signal::COUNT],
    scan: Option<ScanConstants>,
}

impl Signals {
    /// The matrix of a signal, one row per token of the packed stream; shapes are those of the table. `None` where it was not
    /// asked for, and for the constants of the scan, which are no matrix ([`Signals::scan`]).
    #[must_use]
    pub fn get(&self, signal: Signal) -> Option<&Tensor> {
        self.matrices[signal as usize].as_ref()
    }

    /// The constants of the scan.
    #[must_use]
    pub fn scan(&self) -> Option<&ScanConstants> {
        self.scan.as_ref()
    }

    /// Sets or clears the matrix of a signal.
    ///
    /// # Panics
    /// For a signal that is no matrix; see [`Signals::set_scan`].
    pub fn set(&mut self, signal: Signal, matrix: Option<Tensor>) {
        assert!(signal.info().per_token, "`{signal}` has no row per token");
        self.matrices[signal as usize] = matrix;
    }

    /// Sets or clears the constants of the scan.
    pub fn set_scan(&mut self, scan: Option<ScanConstants>) {
        self.scan = scan;
    }

    /// Those of `wanted` that are there, each tensor as `copy` returns it. For [`Signal::Scan`] it gets the decay rates.
    ///
    /// # Errors
    /// Those of `copy`.
    pub fn select<E>(
        &self,
        wanted: SignalSet,
        mut copy: impl FnMut(Signal, &Tensor) -> Result<Tensor, E>,
    ) -> Result<Self, E> {
        let mut selected = Self::default();
        for signal in wanted.iter() {
            if let Some(matrix) = self.get(signal) {
                selected.set(signal, Some(copy(signal, matrix)?));
            }
        }
        if let Some(scan) = self.scan().filter(|_| wanted.contains(Signal::Scan)) {
            selected.set_scan(Some(ScanConstants { a: copy(Signal::Scan, &scan.a)?, ..*scan }));
        }
        Ok(selected)
    }
}

/// The part of a layer's scan that does not depend on the token.
#[derive(Clone, Debug)]
pub struct ScanConstants {
    /// Groups of heads that share B and C; 1 in Mamba.
    pub ngroups: usize,
    /// `-exp(A_log)`, float32: `[d_state, d_inner]` (Mamba) or `[nheads]` (Mamba-2).
    pub a: Tensor,
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn what_a_layer_cannot_show_is_named() {
        let asked = SignalSet::of(&[Signal::C, Signal::SsmOutput, Signal::Dt]);
        let shown = SignalSet::of(&[Signal::SsmOutput, Signal::B]);
        assert_eq!(asked.without(shown).names(), ["dt", "c"]);
        assert_eq!(asked.without(asked), SignalSet::default());
        assert!(asked.without(asked).is_empty() && !asked.contains(Signal::B));
        assert_eq!(asked.union(shown).names(), ["ssm_output", "dt", "b", "c"]);
    }

    #[test]
    fn a_table_row_is_found_by_its_signal() {
        for (index, signal) in Signal::ALL.iter().enumerate() {
            assert_eq!(*signal as usize, index);
            assert_eq!(Signal::ALL.iter().filter(|other| other.name() == signal.name()).count(), 1, "{signal}");
        }
        let layer: Vec<_> = Signal::matrices_of(Supplier::Layer).map(|signal| signal.info().what).collect();
        assert_eq!(
            layer,
            ["x", "B", "C", "dt", "the SSM output", "the SSM output without the skip", "the gated output"]
        );
        assert_eq!(Signal::matrices_of(Supplier::Driver).collect::<Vec<_>>(), [Signal::Influence]);
    }

    #[test]
    fn a_selection_holds_what_is_wanted_and_there() {
        let tensor = |value: f32| Tensor::new(&[[value]], &Device::Cpu).unwrap();
        let mut signals = Signals::default();
        signals.set(Signal::Dt, Some(tensor(1.0)));
        signals.set(Signal::X, Some(tensor(2.0)));
        signals.set_scan(Some(ScanConstants { ngroups: 3, a: tensor(4.0) }));
        let wanted = SignalSet::of(&[Signal::Dt, Signal::C, Signal::Scan]);
        let mut seen = Vec::new();
        let selected = signals.select(wanted, |signal, tensor| {
            seen.push(signal);
            Ok::<_, candle_core::Error>(tensor.clone())
        });
        let selected = selected.unwrap();
        assert_eq!(seen, [Signal::Dt, Signal::Scan]);
        assert!(selected.get(Signal::Dt).is_some() && selected.get(Signal::X).is_none());
        assert_eq!(selected.scan().map(|scan| scan.ngroups), Some(3));
    }
}
