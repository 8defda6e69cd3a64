//! Kinds of layers, as experiments name them.

use std::fmt;

/// What lets tokens read each other in a layer. One layer may be of two kinds: Falcon-H1 has attention beside Mamba-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerKind {
    /// A selective scan with a decay per channel and state.
    Mamba,
    /// State space duality with a scalar decay per head.
    Mamba2,
    /// Causal attention of any sort.
    Attention,
    /// An MLP in the place of a mixer: tokens do not read each other.
    Mlp,
}

impl LayerKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Mamba, Self::Mamba2, Self::Attention, Self::Mlp];

    /// Name in experiment files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mamba => "mamba",
            Self::Mamba2 => "mamba2",
            Self::Attention => "attention",
            Self::Mlp => "mlp",
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
