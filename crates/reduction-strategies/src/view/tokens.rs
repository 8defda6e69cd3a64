//! Bookkeeping of a packed stream: which original tokens the live rows are.

use ssm_model::RowTime;

/// The tokens of one segment.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentTokens {
    /// Positions in the sequence as it entered the model, ascending.
    pub positions: Vec<u32>,
    /// How many original tokens each row stands for.
    pub sizes: Vec<f32>,
    /// Tokens that no rule may remove or merge into.
    pub protected: Vec<bool>,
    /// How long each row lasts for the scans of later layers.
    pub times: Vec<RowTime>,
    /// Whether rules see this segment at all.
    pub reducible: bool,
    /// The example that the segment belongs to; random choices depend on it.
    pub item: u64,
    /// Original tokens dropped so far without being merged anywhere.
    pub dropped: f32,
}

impl SegmentTokens {
    /// `n` tokens from position 0, none protected, open to reduction.
    #[must_use]
    pub fn reducible(item: u64, n: usize) -> Self {
        Self {
            positions: (0..n as u32).collect(),
            sizes: vec![1.0; n],
            protected: vec![false; n],
            times: vec![RowTime::ONE; n],
            reducible: true,
            item,
            dropped: 0.0,
        }
    }

    /// `n` tokens from position `first` that no rule touches: a continuation, say.
    #[must_use]
    pub fn fixed(item: u64, first: u32, n: usize) -> Self {
        let positions = (first..first + n as u32).collect();
        Self { positions, reducible: false, ..Self::reducible(item, n) }
    }

    /// The item of a row, and the position of its token.
    #[must_use]
    pub fn place(&self, row: usize) -> (u64, u32) {
        (self.item, self.positions[row])
    }

    /// Protects these rows (those that exist).
    #[must_use]
    pub fn with_protected(mut self, rows: impl IntoIterator<Item = usize>) -> Self {
        for row in rows {
            if let Some(protected) = self.protected.get_mut(row) {
                *protected = true;
            }
        }
        self
    }

    /// Protects the last row, if there is one.
    #[must_use]
    pub fn with_last_protected(self) -> Self {
        let last = self.positions.len().checked_sub(1);
        self.with_protected(last)
    }
}

/// Original positions of the tokens of each of these segments.
#[must_use]
pub fn positions_of(segments: &[SegmentTokens]) -> Vec<&[u32]> {
    segments.iter().map(|segment| &segment.positions[..]).collect()
}

/// The tokens of every segment of a packed stream, in stream order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenTable {
    /// One entry per segment.
    pub segments: Vec<SegmentTokens>,
}

impl TokenTable {
    /// What a layer must be told of the first `rows[i]` rows of each segment `i`; none where every row lasts as long as ever.
    #[must_use]
    pub fn times<'a>(segments: &(impl Iterator<Item = (&'a SegmentTokens, usize)> + Clone)) -> Option<Vec<RowTime>> {
        let times = || segments.clone().flat_map(|(segment, rows)| &segment.times[..rows]);
        // Every layer asks, and factors other than 1 are rare, so look before copying.
        times().any(|time| *time != RowTime::ONE).then(|| times().copied().collect())
    }

    /// A table from its segments.
    #[must_use]
    pub fn new(segments: Vec<SegmentTokens>) -> Self {
        Self { segments }
    }
}
