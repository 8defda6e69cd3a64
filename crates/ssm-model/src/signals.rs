//! What a layer shows of its inside, on request.

use candle_core::Tensor;

/// Which internals a driver asks a layer for. What nobody asks for is not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each signal is asked for or not, independently")]
pub struct SignalSet {
    /// SSM output y (with the skip D x), before the gate. Of a Transformer: what the attention gathered, before its output
    /// projection, which stands in the same place.
    pub ssm_output: bool,
    /// SSM output after the gate, y * silu(z), before any norm.
    pub gated_output: bool,
    /// Step sizes dt, after bias and softplus.
    pub dt: bool,
    /// Input maps B.
    pub b: bool,
    /// Output maps C.
    pub c: bool,
    /// Input x of the scan: convolved and activated.
    pub x: bool,
    /// What of the scan does not depend on the token.
    pub scan: bool,
    /// Influence of a row on the outcome. No layer knows it: a driver that can measure it fills it in.
    pub influence: bool,
}

impl SignalSet {
    /// Names of those that are asked for, in the order of the fields.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let Self { ssm_output, gated_output, dt, b, c, x, scan, influence } = self;
        let all = [
            (ssm_output, "ssm_output"),
            (gated_output, "gated_output"),
            (dt, "dt"),
            (b, "b"),
            (c, "c"),
            (x, "x"),
            (scan, "scan"),
            (influence, "influence"),
        ];
        all.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name).collect()
    }

    /// Those of this set that `shown` lacks.
    #[must_use]
    pub fn without(self, shown: Self) -> Self {
        Self {
            ssm_output: self.ssm_output && !shown.ssm_output,
            gated_output: self.gated_output && !shown.gated_output,
            dt: self.dt && !shown.dt,
            b: self.b && !shown.b,
            c: self.c && !shown.c,
            x: self.x && !shown.x,
            scan: self.scan && !shown.scan,
            influence: self.influence && !shown.influence,
        }
    }

    /// Everything that either set asks for.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            ssm_output: self.ssm_output || other.ssm_output,
            gated_output: self.gated_output || other.gated_output,
            dt: self.dt || other.dt,
            b: self.b || other.b,
            c: self.c || other.c,
            x: self.x || other.x,
            scan: self.scan || other.scan,
            influence: self.influence || other.influence,
        }
    }
}

/// The internals that were asked for, one row per token of the packed stream, float32.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// `[tokens, d_inner]`
    pub ssm_output: Option<Tensor>,
    /// `[tokens, d_inner]`
    pub gated_output: Option<Tensor>,
    /// `[tokens, d_inner]` (Mamba) or `[tokens, nheads]` (Mamba-2)
    pub dt: Option<Tensor>,
    /// `[tokens, ngroups * d_state]`
    pub b: Option<Tensor>,
    /// `[tokens, ngroups * d_state]`
    pub c: Option<Tensor>,
    /// `[tokens, d_inner]`
    pub x: Option<Tensor>,
    /// The same for every token.
    pub scan: Option<ScanConstants>,
    /// `[tokens, 1]`, from the driver.
    pub influence: Option<Tensor>,
}

/// What of a layer's scan does not depend on the token.
#[derive(Clone, Debug)]
pub struct ScanConstants {
    /// Groups of heads that share B and C; 1 in Mamba.
    pub ngroups: usize,
    /// `-exp(A_log)`, float32: `[d_state, d_inner]` (Mamba) or `[nheads]` (Mamba-2).
    pub a: Tensor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_layer_cannot_show_is_named() {
        let asked = SignalSet { ssm_output: true, dt: true, c: true, ..SignalSet::default() };
        let shown = SignalSet { ssm_output: true, b: true, ..SignalSet::default() };
        assert_eq!(asked.without(shown).names(), ["dt", "c"]);
        assert_eq!(asked.without(asked), SignalSet::default());
    }
}
