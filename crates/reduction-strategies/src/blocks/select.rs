//! Block: which edges are used.

use crate::blocks::matching::Edge;
use crate::blocks::rank;
use crate::error::PlanError;

/// The `count` edges of highest similarity, in order of their sources; of equals the lower source.
///
/// `edges` must ascend by source.
///
/// # Errors
/// A similarity that is NaN.
pub fn strongest(edges: &[Edge], count: usize) -> Result<Vec<Edge>, PlanError> {
    let similarities: Vec<f32> = edges.iter().map(|edge| edge.similarity).collect();
    let chosen = rank::highest(&similarities, count)?;
    Ok(chosen.into_iter().map(|index| edges[index as usize]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_edges_in_order_of_their_sources() {
        let edge = |source, similarity| Edge { source, target: 1, similarity };
        let edges = [edge(0, 0.5), edge(2, 0.9), edge(4, 0.5), edge(6, 0.7)];
        assert_eq!(strongest(&edges, 3).unwrap(), [edges[0], edges[1], edges[3]]);
        assert!(strongest(&edges, 0).unwrap().is_empty());
        assert!(strongest(&[edge(0, 0.5), edge(2, f32::NAN)], 1).is_err());
    }
}
