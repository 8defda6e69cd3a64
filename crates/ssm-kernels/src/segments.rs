use std::fmt;
use std::ops::Range;

use crate::error::KernelError;

/// Which rows of a packed stream belong to which sequence.
///
/// Segment `i` owns the rows `offsets[i]..offsets[i + 1]`. A segment may name an earlier one as its parent: it then
/// continues from the state in which the parent ends, and several children may share one parent. A root and all its
/// descendants stand next to each other (a *tree*), so that one worker can own them.
#[derive(Clone)]
pub struct Segments {
    offsets: Vec<usize>,
    parents: Vec<Option<usize>>,
    trees: Vec<Range<usize>>,
    /// The same as kernels read it; follows from the others.
    #[cfg(feature = "cuda")]
    on_devices: crate::cuda::OnDevices,
}

impl PartialEq for Segments {
    fn eq(&self, other: &Self) -> bool {
        self.offsets == other.offsets && self.parents == other.parents
    }
}

impl Eq for Segments {}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments")
            .field("offsets", &self.offsets)
            .field("parents", &self.parents)
            .finish_non_exhaustive()
    }
}

impl Segments {
    /// A table from lengths and parents (one entry each per segment, in stream order).
    ///
    /// # Errors
    /// Lists of different lengths, or a parent that is not an earlier segment of the same tree.
    pub fn new(lengths: &[usize], parents: &[Option<usize>]) -> Result<Self, KernelError> {
        if lengths.len() != parents.len() {
            return Err(KernelError::Segments(format!("{} lengths but {} parents", lengths.len(), parents.len())));
        }
        let mut offsets = Vec::with_capacity(lengths.len() + 1);
        offsets.push(0);
        for length in lengths {
            offsets.push(offsets[offsets.len() - 1] + length);
        }
        let mut trees: Vec<Range<usize>> = Vec::new();
        for (index, parent) in parents.iter().enumerate() {
            match (parent, trees.last_mut()) {
                (None, _) => trees.push(index..index + 1),
                (Some(parent), Some(tree)) if tree.contains(parent) => tree.end = index + 1,
                (Some(parent), _) => {
                    return Err(KernelError::Segments(format!(
                        "segment {index} names {parent} as its parent, which is not in its tree"
                    )));
                }
            }
        }
        Ok(Self {
            offsets,
            parents: parents.to_vec(),
            trees,
            #[cfg(feature = "cuda")]
            on_devices: crate::cuda::OnDevices::default(),
        })
    }

    /// A table of sequences that have nothing to do with each other.
    #[must_use]
    pub fn independent(lengths: &[usize]) -> Self {
        Self::new(lengths, &vec![None; lengths.len()]).unwrap_or_else(|_| unreachable!("no parents to refuse"))
    }

    /// The tables on a GPU, uploaded when first asked for.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_device(
        &self,
        gpu: &crate::cuda::Gpu,
    ) -> Result<std::sync::Arc<crate::cuda::DeviceTables>, KernelError> {
        self.on_devices.get(&self.offsets, &self.parents, gpu)
    }

    /// Number of segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there is no segment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// Number of rows of the stream.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.offsets[self.len()]
    }

    /// Rows of segment `index`.
    #[must_use]
    pub fn rows(&self, index: usize) -> Range<usize> {
        self.offsets[index]..self.offsets[index + 1]
    }

    /// Number of rows of segment `index`.
    #[must_use]
    pub fn length(&self, index: usize) -> usize {
        self.rows(index).len()
    }

    /// Rows of the longest segment, 0 where there is none.
    #[must_use]
    pub fn longest(&self) -> usize {
        (0..self.len()).map(|index| self.length(index)).max().unwrap_or(0)
    }

    /// The segment from whose final state `index` continues.
    #[must_use]
    pub fn parent(&self, index: usize) -> Option<usize> {
        self.parents[index]
    }

    /// Segments of each tree, in stream order.
    #[must_use]
    pub fn trees(&self) -> &[Range<usize>] {
        &self.trees
    }

    /// Whether segment `index` is the parent of a later one.
    #[must_use]
    pub fn has_children(&self, index: usize) -> bool {
        self.parents[index + 1..].contains(&Some(index))
    }

    /// The same segments with other lengths, as a reduction leaves them.
    ///
    /// # Panics
    /// If `lengths` has not one entry per segment.
    #[must_use]
    pub fn with_lengths(&self, lengths: &[usize]) -> Self {
        assert_eq!(lengths.len(), self.len(), "one length per segment");
        Self::new(lengths, &self.parents).unwrap_or_else(|_| unreachable!("the parents were valid before"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_found_in_stream_order() {
        let segments = Segments::new(&[3, 1, 2, 5, 4], &[None, Some(0), Some(0), None, Some(3)]).unwrap();
        assert_eq!(segments.trees(), [0..3, 3..5]);
        assert_eq!(segments.rows(2), 4..6);
        assert_eq!(segments.n_tokens(), 15);
        assert!(segments.has_children(0) && !segments.has_children(1) && segments.has_children(3));
    }

    #[test]
    fn a_parent_outside_the_tree_is_refused() {
        assert!(Segments::new(&[3, 1], &[None, Some(1)]).is_err());
        assert!(Segments::new(&[3, 1, 2], &[None, None, Some(0)]).is_err());
        assert!(Segments::new(&[3], &[Some(0)]).is_err());
    }
}
