//! Sequences for unit tests.

use ssm_model::RowTime;

use crate::view::{Draw, Matrix, SequenceView};

/// An owned sequence; hidden states and residual are the same rows.
pub(crate) struct Sequence {
    pub(crate) positions: Vec<u32>,
    pub(crate) sizes: Vec<f32>,
    pub(crate) protected: Vec<bool>,
    pub(crate) times: Vec<RowTime>,
    pub(crate) hidden: Vec<f32>,
    pub(crate) columns: usize,
}

impl Sequence {
    pub(crate) fn of_rows<const D: usize>(rows: &[[f32; D]]) -> Self {
        let n = rows.len();
        Self {
            positions: (0..n as u32).collect(),
            sizes: vec![1.0; n],
            protected: vec![false; n],
            times: vec![RowTime::ONE; n],
            hidden: rows.as_flattened().to_vec(),
            columns: D,
        }
    }

    pub(crate) fn view(&self) -> SequenceView<'_> {
        let matrix = Matrix { values: &self.hidden, rows: self.positions.len(), columns: self.columns };
        SequenceView {
            positions: &self.positions,
            sizes: &self.sizes,
            protected: &self.protected,
            times: &self.times,
            hidden: matrix,
            residual: matrix,
            ssm_output: None,
            gated_output: None,
            dt: None,
            x: None,
            b: None,
            c: None,
            scan: None,
            influence: None,
            draw: Draw::default(),
            memo: None,
        }
    }
}
