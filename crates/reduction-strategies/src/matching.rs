//! Block: one edge from each source to its most similar target.

use candle_core::{Device, Tensor};
use ssm_kernels::host::F32View;
use ssm_kernels::{KernelError, ops};

use crate::error::PlanError;
use crate::partition::Split;
use crate::rank;
use crate::rule::Features;
use crate::view::{Matrix, SequenceView};

/// Sources compared at once; bounds the memory of the similarity matrix.
const SOURCES_AT_ONCE: usize = 512;

/// From a source to the target most similar to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// The token that may leave.
    pub source: u32,
    /// The token most similar to it.
    pub target: u32,
    /// Cosine similarity of the two.
    pub similarity: f32,
}

impl Features {
    /// One edge per source, in order of the sources. A tie goes to the lowest target.
    ///
    /// `similarity(a, b) = a . b / (|a| |b|)`, 0 where either is zero. Cost: `sources * targets * columns`.
    ///
    /// # Errors
    /// A signal that the layer did not show.
    pub fn match_up(self, view: &SequenceView<'_>, split: &Split) -> Result<Vec<Edge>, PlanError> {
        let matrix = self.source.of(view)?;
        let sources = unit_rows(matrix, &split.sources, self.clip);
        let targets = unit_rows(matrix, &split.targets, self.clip);
        let mut edges = Vec::with_capacity(split.sources.len());
        let best = best_matches(&sources, &targets, matrix.columns)?;
        for (source, (target, similarity)) in split.sources.iter().zip(best) {
            edges.push(Edge { source: *source, target: split.targets[target as usize], similarity });
        }
        Ok(edges)
    }
}

/// For each row of `a` the row of `b` with the largest dot product, and that product; both `[_, columns]`.
///
/// # Errors
/// Of the tensor library.
pub(crate) fn best_matches(a: &[f32], b: &[f32], columns: usize) -> Result<Vec<(u32, f32)>, PlanError> {
    let (n_a, n_b) = (a.len() / columns.max(1), b.len() / columns.max(1));
    if n_a == 0 || n_b == 0 {
        return Ok(Vec::new());
    }
    let tensor = |values: &[f32], rows: usize| {
        Tensor::from_slice(values, (rows, columns), &Device::Cpu).map_err(KernelError::from)
    };
    let b = tensor(b, n_b)?;
    let mut best = Vec::with_capacity(n_a);
    for chunk in a.chunks(SOURCES_AT_ONCE * columns) {
        let products = ops::linear(&tensor(chunk, chunk.len() / columns)?, &b)?;
        let products = F32View::new(&products, "match_up", "products")?;
        best.extend(products.chunks_exact(n_b).filter_map(rank::argmax));
    }
    Ok(best)
}

/// The chosen rows, clipped where asked and scaled to length 1; zero rows stay zero. `[rows.len(), columns]`
pub(crate) fn unit_rows(matrix: Matrix<'_>, rows: &[u32], clip: bool) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len() * matrix.columns);
    for row in rows {
        let start = out.len();
        out.extend(matrix.row(*row as usize).iter().map(|value| if clip { value.max(0.0) } else { *value }));
        let unit = &mut out[start..];
        let norm = norm(unit);
        if norm > 0.0 {
            for value in unit {
                *value = (f64::from(*value) / norm) as f32;
            }
        }
    }
    out
}

/// Euclidean norm, summed in order in float64.
pub(crate) fn norm(row: &[f32]) -> f64 {
    row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::importance::Source;
    use crate::testing::Sequence;

    fn edges(rows: &[[f32; 2]], sources: &[u32], targets: &[u32], clip: bool) -> Vec<(u32, u32, f32)> {
        let sequence = Sequence::of_rows(rows);
        let split = Split { sources: sources.to_vec(), targets: targets.to_vec() };
        let edges = Features { source: Source::BlockOutput, clip }.match_up(&sequence.view(), &split).unwrap();
        edges.iter().map(|edge| (edge.source, edge.target, edge.similarity)).collect()
    }

    #[test]
    fn hand_computed_matches() {
        let rows = [[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [5.0, 0.0], [-3.0, 1.0]];
        assert_eq!(edges(&rows, &[0, 2], &[1, 3], false), [(0, 3, 1.0), (2, 1, 0.8)]);
        // Clipped, the last row is the direction of row 1.
        assert_eq!(edges(&rows, &[4], &[0, 1], true), [(4, 1, 1.0)]);
    }

    #[test]
    fn ties_go_to_the_lowest_target_and_zero_rows_are_similar_to_nothing() {
        let rows = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [0.0, 0.0], [-1.0, 0.0]];
        assert_eq!(edges(&rows, &[0], &[1, 2], false), [(0, 1, 1.0)]);
        assert_eq!(edges(&rows, &[3], &[1, 2], false), [(3, 1, 0.0)]);
        assert_eq!(edges(&rows, &[4], &[1, 3], false), [(4, 3, 0.0)]);
    }

    #[test]
    fn many_sources_are_compared_in_parts() {
        let rows: Vec<[f32; 2]> = (0..1500_u16).map(|i| [f32::from(i).cos(), f32::from(i).sin()]).collect();
        let sources: Vec<u32> = (0..1400).collect();
        let all = edges(&rows, &sources, &[1400, 1450, 1499], false);
        assert_eq!(all.len(), 1400);
        assert_eq!(all[1300..], edges(&rows, &sources[1300..], &[1400, 1450, 1499], false));
    }
}
