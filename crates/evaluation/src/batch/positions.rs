//! Positions of the rows of a stream, for models that read them.

use reduction_strategies::SegmentTokens;
use ssm_kernels::Segments;

/// Which positions the rows of a sequence have once some of its tokens are gone. It concerns models that read positions: a
/// recurrence knows the order of its rows alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Positions {
    /// Those with which they entered: removed tokens become gaps.
    #[default]
    Original,
    /// One after the other, as if the tokens that are gone had never been there.
    Compacted,
}

/// Names of [`Positions`] in experiment files, the default first.
pub const POSITIONS: [(&str, Positions); 2] = [("original", Positions::Original), ("compacted", Positions::Compacted)];

impl Positions {
    /// Name in experiment files and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        POSITIONS[self as usize].0
    }

    /// Adds the positions of the first `rows[i]` rows of each segment of a tree (or several) to `out`.
    pub(crate) fn extend(
        self,
        table: &[SegmentTokens],
        parent: impl Fn(usize) -> Option<usize>,
        rows: &[usize],
        out: &mut Vec<u32>,
    ) {
        let mut ends: Vec<u32> = Vec::with_capacity(table.len());
        for (index, (tokens, rows)) in table.iter().zip(rows).enumerate() {
            let first = parent(index).map_or(0, |parent| ends[parent]);
            ends.push(first + tokens.positions.len() as u32);
            match self {
                Self::Original => out.extend_from_slice(&tokens.positions[..*rows]),
                Self::Compacted => out.extend(first..first + *rows as u32),
            }
        }
    }
}

/// Pairs of a token and a token that it sees, itself included: what attention computes in one layer. `lengths` are those of
/// the segments of a tree (or several).
pub(crate) fn token_pairs(lengths: impl IntoIterator<Item = usize>, parent: impl Fn(usize) -> Option<usize>) -> u64 {
    let mut ends: Vec<u64> = Vec::new();
    let mut pairs = 0;
    for (index, length) in lengths.into_iter().enumerate() {
        let (before, length) = (parent(index).map_or(0, |parent| ends[parent]), length as u64);
        ends.push(before + length);
        pairs += length * before + length * (length + 1) / 2;
    }
    pairs
}

/// [`token_pairs`] of packed segments.
pub(crate) fn token_pairs_of(segments: &Segments) -> u64 {
    token_pairs((0..segments.len()).map(|index| segments.length(index)), |index| segments.parent(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_the_variants() {
        for (name, positions) in POSITIONS {
            assert_eq!(positions.name(), name);
        }
        assert_eq!(POSITIONS[0].1, Positions::default());
    }

    #[test]
    fn a_continuation_follows_what_is_left_of_its_context_or_what_was_there() {
        let context = SegmentTokens { positions: vec![0, 3, 4], ..SegmentTokens::reducible(0, 3) };
        let table = [context, SegmentTokens::fixed(0, 5, 2), SegmentTokens::fixed(0, 5, 1)];
        let parent = |index: usize| (index > 0).then_some(0);
        let of = |positions: Positions, rows: &[usize]| {
            let mut out = Vec::new();
            positions.extend(&table, parent, rows, &mut out);
            out
        };
        assert_eq!(of(Positions::Original, &[3, 2, 1]), [0, 3, 4, 5, 6, 5]);
        assert_eq!(of(Positions::Compacted, &[3, 2, 1]), [0, 1, 2, 3, 4, 3]);
        assert_eq!(of(Positions::Original, &[2, 0, 0]), [0, 3]);
    }

    #[test]
    fn pairs_are_those_of_a_causal_mask() {
        // 3 tokens: 1 + 2 + 3; each of two children of them sees all three besides.
        let parent = |index: usize| (index > 0).then_some(0);
        assert_eq!(token_pairs([3, 2, 1], parent), 6 + (2 * 3 + 3) + (3 + 1));
        assert_eq!(token_pairs([2, 2], |_| None), 6);
    }
}
