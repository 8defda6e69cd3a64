//! Sequences for unit tests.

use crate::view::SegmentTokens;
use crate::view::{Draw, Matrix, SequenceView};

/// An owned sequence; hidden states and residual are the same rows.
pub(crate) struct Sequence {
    pub(crate) tokens: SegmentTokens,
    pub(crate) hidden: Vec<f32>,
    pub(crate) columns: usize,
}

impl Sequence {
    pub(crate) fn of_rows<const D: usize>(rows: &[[f32; D]]) -> Self {
        let tokens = SegmentTokens::reducible(0, rows.len());
        Self { tokens, hidden: rows.as_flattened().to_vec(), columns: D }
    }

    pub(crate) fn view(&self) -> SequenceView<'_> {
        let matrix = Matrix { values: &self.hidden, rows: self.tokens.positions.len(), columns: self.columns };
        SequenceView::new(&self.tokens, matrix, matrix, Draw::default())
    }
}
