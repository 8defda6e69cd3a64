//! Block: one edge from each source to its most similar target.

use std::ops::Range;

use candle_core::{Device, Tensor};
use ssm_kernels::host::F32View;
use ssm_kernels::{KernelError, ops};

use crate::blocks::partition::Split;
use crate::blocks::rank;
use crate::error::PlanError;
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::rule::{Features, Partition};
use crate::vectors::{dot, norm, positive};
use crate::view::{Matrix, SequenceView, Stop};

/// The option `match_window` of strategies that pair tokens.
pub const MATCH_WINDOW_OPTION: OptionInfo = OptionInfo {
    name: "match_window",
    kind: OptionKind::Integer { min: 0, max: 1_048_576 },
    default: OptionDefault::Integer(0),
    help: "0: each source is compared with all targets, which grows with the square of the length; w: source i with targets j of |i - j| < w",
};

/// What [`MATCH_WINDOW_OPTION`] says.
///
/// # Panics
/// If the strategy did not declare it.
#[must_use]
pub fn match_window(options: &ResolvedOptions) -> Option<usize> {
    let window = options.integer("match_window").unsigned_abs() as usize;
    (window > 0).then_some(window)
}

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
    /// One edge per source, in order of the sources. A tie goes to the lowest target; a source without a target in its
    /// window has no edge.
    ///
    /// `similarity(a, b) = a . b / (|a| |b|)`, 0 where either is zero. Cost: `sources * targets * columns`, within a window
    /// `sources * (2 window - 1) * columns`.
    ///
    /// # Errors
    /// A signal that the layer did not show.
    pub fn match_up(self, view: &SequenceView<'_>, split: &Split) -> Result<Vec<Edge>, PlanError> {
        let matrix = self.source.of(view)?;
        let sources = unit_rows(matrix, &split.sources, self.clip);
        let targets = unit_rows(matrix, &split.targets, self.clip);
        let best: Vec<Option<(u32, f32)>> = match self.window {
            Some(window) => nearby_matches(&sources, &targets, matrix.columns, window, view.stop)?,
            None => best_matches(&sources, &targets, matrix.columns, view.stop)?.into_iter().map(Some).collect(),
        };
        let edge = |(source, best): (&u32, Option<(u32, f32)>)| {
            best.map(|(target, similarity)| Edge {
                source: *source,
                target: split.targets[target as usize],
                similarity,
            })
        };
        Ok(split.sources.iter().zip(best).filter_map(edge).collect())
    }

    /// How many tokens at even places merge where `n_remove` of `n` are removed and a share `merged` of these is to merge.
    #[must_use]
    pub fn n_merge(self, merged: f64, n: usize, n_remove: usize) -> usize {
        let (sources, targets) = Partition::EvenOdd.counts(n);
        ((merged * n_remove as f64).round() as usize).min(self.counts(sources, targets).0)
    }

    /// How many edges [`Features::match_up`] finds, and how many similarities it computes for them.
    #[must_use]
    pub fn counts(self, sources: usize, targets: usize) -> (usize, usize) {
        let Some(window) = self.window else { return (if targets == 0 { 0 } else { sources }, sources * targets) };
        let reach = (0..sources).map(|source| nearby(source, targets, window).len());
        (reach.clone().filter(|count| *count > 0).count(), reach.sum())
    }
}

/// The targets that source number `source` is compared with.
fn nearby(source: usize, targets: usize, window: usize) -> Range<usize> {
    let end = source.saturating_add(window).min(targets);
    (source + 1).saturating_sub(window).min(end)..end
}

/// As [`best_matches`], each row of `a` with the rows of `b` in its window alone. Dot products run in order in float64.
fn nearby_matches(
    a: &[f32],
    b: &[f32],
    columns: usize,
    window: usize,
    stop: Stop<'_>,
) -> Result<Vec<Option<(u32, f32)>>, PlanError> {
    let targets = b.len() / columns.max(1);
    let best = |(index, row): (usize, &[f32])| {
        stop.check()?;
        let range = nearby(index, targets, window);
        let products: Vec<f32> =
            range.clone().map(|target| dot(row, &b[target * columns..(target + 1) * columns]) as f32).collect();
        Ok(rank::argmax(&products)?.map(|(offset, product)| (range.start as u32 + offset, product)))
    };
    a.chunks_exact(columns.max(1)).enumerate().map(best).collect()
}

/// For each row of `a` the row of `b` with the largest dot product, and that product; both `[_, columns]`.
///
/// # Errors
/// Of the tensor library, or work that was asked to end.
pub(crate) fn best_matches(a: &[f32], b: &[f32], columns: usize, stop: Stop<'_>) -> Result<Vec<(u32, f32)>, PlanError> {
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
        stop.check()?;
        let products = ops::linear(&tensor(chunk, chunk.len() / columns)?, &b)?;
        let products = F32View::new(&products, "match_up", "products")?;
        for products in products.chunks_exact(n_b) {
            best.extend(rank::argmax(products)?);
        }
    }
    Ok(best)
}

/// The chosen rows, clipped where asked and scaled to length 1; zero rows stay zero. `[rows.len(), columns]`
pub(crate) fn unit_rows(matrix: Matrix<'_>, rows: &[u32], clip: bool) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len() * matrix.columns);
    for row in rows {
        let start = out.len();
        out.extend(matrix.row(*row as usize).iter().map(|value| if clip { positive(*value) } else { *value }));
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::blocks::importance::Source;
    use crate::testing::Sequence;

    fn edges(rows: &[[f32; 2]], sources: &[u32], targets: &[u32], clip: bool) -> Vec<(u32, u32, f32)> {
        let sequence = Sequence::of_rows(rows);
        let split = Split { sources: sources.to_vec(), targets: targets.to_vec() };
        let edges =
            Features { source: Source::BlockOutput, clip, window: None }.match_up(&sequence.view(), &split).unwrap();
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
    fn a_window_hides_what_is_farther() {
        // Sources 0, 2, 4, 6 and targets 1, 3, 5: the best target of all is far away.
        let rows = [[1.0, 0.0], [0.6, 0.8], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]];
        let sequence = Sequence::of_rows(&rows);
        let split = Split { sources: vec![0, 2, 4, 6], targets: vec![1, 3, 5] };
        let within = |window| {
            let features = Features { source: Source::BlockOutput, clip: false, window };
            let edges = features.match_up(&sequence.view(), &split).unwrap();
            assert_eq!(features.counts(4, 3).0, edges.len());
            edges.iter().map(|edge| (edge.source, edge.target)).collect::<Vec<_>>()
        };
        assert_eq!(within(None), [(0, 5), (2, 5), (4, 1), (6, 5)]);
        assert_eq!(within(Some(1)), [(0, 1), (2, 3), (4, 5)]);
        assert_eq!(within(Some(2)), [(0, 3), (2, 5), (4, 3), (6, 5)]);
        assert_eq!(within(Some(9)), within(None));
        let features = Features { source: Source::BlockOutput, clip: false, window: Some(2) };
        // 0: 1, 3; 2: 1, 3, 5; 4: 3, 5; 6: 5.
        assert_eq!((features.counts(4, 3), features.counts(3, 0)), ((4, 8), (0, 0)));
    }

    /// A signal must not wait for the square of a long sequence.
    #[test]
    fn matching_ends_when_it_is_asked_to() {
        let rows: Vec<[f32; 2]> = (0..2000_u16).map(|i| [f32::from(i).cos(), f32::from(i).sin()]).collect();
        let sequence = Sequence::of_rows(&rows);
        let split = Split { sources: (0..1500).collect(), targets: (1500..2000).collect() };
        for window in [None, Some(9)] {
            let asked = AtomicUsize::new(0);
            // Not the first time: it is asked in the loop.
            let stop = || asked.fetch_add(1, Ordering::Relaxed) == 1;
            let view = SequenceView { stop: Stop::when(&stop), ..sequence.view() };
            let features = Features { source: Source::BlockOutput, clip: false, window };
            assert!(matches!(features.match_up(&view, &split), Err(PlanError::Stopped)));
            assert_eq!(asked.into_inner(), 2);
        }
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
