//! What the SSD kernels work through: chunks of rows, in items, in waves.
//!
//! A segment is cut into chunks of 64 tokens from its start. Chunks that follow each other form an item, which one block per
//! head walks in order. A long segment is cut into pieces of [`PIECE`] tokens, which are items of their own: a first launch
//! finds the state after each piece as if it began at zero, from its end backwards until the decay leaves nothing; a small second one
//! turns these into the true states, and the scan starts every piece from its own. Where the cuts lie follows from the segment's
//! length alone, so its bits do too.
//! Layout of the tables: `ssd_table.cuh`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::segments::Segments;

/// Measured time of a block of one, two or three heads, against three.
const COST: [f64; 3] = [0.58, 0.75, 1.0];
/// Tokens of a chunk.
const CHUNK: usize = 64;
/// Tokens of a piece; segments up to this length are walked in one go.
pub(super) const PIECE: usize = 2048;

/// The state with which a chunk starts, as the kernels number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Continue,
    Zero,
    Initial(usize),
    Parent(usize),
    Slot(usize),
}

impl Start {
    /// The kernels' number and index.
    fn code(self) -> (i32, i32) {
        match self {
            Self::Continue => (0, 0),
            Self::Zero => (1, 0),
            Self::Initial(segment) => (2, segment as i32),
            Self::Parent(segment) => (3, segment as i32),
            Self::Slot(slot) => (4, slot as i32),
        }
    }
}

/// The next chunk continues from this one.
const CARRY: i32 = 1 << 11;
/// The state after this chunk is kept.
const STORE: i32 = 1 << 12;

/// The item ends here.
const LAST: i32 = 1 << 13;

/// One chunk: first row, rows and flags, index of its start, index of its end.
type Chunk = [i32; 4];

/// Items of one launch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Items(Vec<Vec<Chunk>>);

impl Items {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The longest first, so that no long one starts last; every item knows its end.
    fn finish(&mut self) {
        self.0.sort_by_key(|item| Reverse(item.len()));
        for item in &mut self.0 {
            if let Some(chunk) = item.last_mut() {
                chunk[1] |= LAST;
            }
        }
    }

    /// What the tensor-core kernels work through: (first chunk, first head, heads, group of B and C), for blocks of up to
    /// `heads` heads, the longest first. What remains for the last round of blocks is divided into works of fewer heads where
    /// that fills the device better; no result depends on it. Either there is one group, or `heads` divides its heads.
    pub(super) fn works(&self, nheads: usize, ngroups: usize, heads: usize, processors: usize) -> Vec<[i32; 4]> {
        let mut works = Vec::new();
        let mut first_chunk = 0;
        for item in &self.0 {
            works.extend((0..nheads).step_by(heads).map(|head| {
                [first_chunk, head, heads.min(nheads - head), head / (nheads / ngroups)].map(|value| value as i32)
            }));
            first_chunk += item.len();
        }
        let rest = works.len() % processors;
        // From many rounds on the last one is no matter.
        if heads != COST.len() || rest == 0 || works.len() >= 16 * processors {
            return works;
        }
        let rounds = |part: usize| (rest * heads.div_ceil(part)).div_ceil(processors) as f64 * COST[part - 1];
        let part = [3, 2, 1].into_iter().min_by(|a, b| rounds(*a).total_cmp(&rounds(*b))).unwrap_or(heads);
        let whole = works.len() - rest;
        let tail = works.split_off(whole);
        works.extend(tail.into_iter().flat_map(|[chunk, head, count, group]| {
            (0..count).step_by(part).map(move |skip| [chunk, head + skip, (part as i32).min(count - skip), group])
        }));
        works
    }

    /// Chunks of all items one after the other, and where each item starts.
    pub(super) fn tables(&self) -> (Vec<i32>, Vec<i32>) {
        let mut offsets = vec![0];
        for item in &self.0 {
            offsets.push(offsets[offsets.len() - 1] + item.len() as i32);
        }
        (self.0.iter().flatten().flatten().copied().collect(), offsets)
    }
}

/// One launch of the scan, after the states before its pieces are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wave {
    pub(super) items: Items,
    /// Segments cut into pieces: first slot, number of slots, index and kind of the first state.
    pub(super) combine: Vec<[i32; 4]>,
}

/// All launches of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Schedule {
    /// Pieces whose states are found first, whole chunks each: first row, rows, slot, 0.
    pub(super) states: Vec<[i32; 4]>,
    /// Launches of the scan; a later one may start from states that an earlier one leaves.
    pub(super) waves: Vec<Wave>,
    /// States between pieces.
    pub(super) slots: usize,
}

impl Schedule {
    /// `piece`: tokens of a piece of a long segment; none for kernels that walk any length. Those that have pieces also leave
    /// the state in registers where a chunk neither carries nor stores it.
    pub(super) fn new(segments: &Segments, piece: Option<usize>, has_initial: bool, want_states: bool) -> Self {
        let mut children = vec![Vec::new(); segments.len()];
        for segment in 0..segments.len() {
            if let Some(parent) = segments.parent(segment) {
                children[parent].push(segment);
            }
        }
        let mut builder = Builder { segments, children, piece, want_states, schedule: Self::default() };
        for root in segments.trees().iter().map(|tree| tree.start) {
            if !builder.is_needed(root) {
                continue;
            }
            let start = if has_initial { Start::Initial(root) } else { Start::Zero };
            let mut tails = BTreeMap::new();
            builder.emit(root, start, 0, &mut tails);
            for (wave, tail) in tails {
                builder.wave(wave).items.0.push(tail);
            }
        }
        let mut schedule = builder.schedule;
        schedule.waves.retain(|wave| wave.items.len() > 0);
        schedule.waves.iter_mut().for_each(|wave| wave.items.finish());
        schedule
    }
}

/// A schedule in the making.
struct Builder<'a> {
    segments: &'a Segments,
    children: Vec<Vec<usize>>,
    piece: Option<usize>,
    want_states: bool,
    schedule: Schedule,
}

impl Builder<'_> {
    /// Whether anybody asks for what this segment computes.
    fn is_needed(&self, segment: usize) -> bool {
        self.want_states || !self.segments.rows(segment).is_empty() || !self.children[segment].is_empty()
    }

    fn is_long(&self, segment: usize) -> bool {
        self.piece.is_some_and(|piece| self.segments.rows(segment).len() > piece)
    }

    /// A segment of one chunk whose state nobody reads: it starts from registers and leaves them as they were.
    fn is_leaf(&self, segment: usize) -> bool {
        let rows = self.segments.rows(segment).len();
        self.piece.is_some() && !self.want_states && self.children[segment].is_empty() && (1..=CHUNK).contains(&rows)
    }

    fn wave(&mut self, wave: usize) -> &mut Wave {
        if self.schedule.waves.len() <= wave {
            self.schedule.waves.resize_with(wave + 1, Wave::default);
        }
        &mut self.schedule.waves[wave]
    }

    /// Appends the chunks of a segment and of those below it to the item of its tree in each wave. The leaves and the first
    /// other child follow the segment and start from its state in registers; further children read it from memory, and long
    /// ones in the next wave, because what combines their pieces must find it there.
    fn emit(&mut self, segment: usize, start: Start, wave: usize, tails: &mut BTreeMap<usize, Vec<Chunk>>) {
        let kids: Vec<usize> = self.children[segment].iter().copied().filter(|kid| self.is_needed(*kid)).collect();
        let (far, kids): (Vec<usize>, Vec<usize>) = kids.into_iter().partition(|kid| self.is_long(*kid));
        let (leaves, near): (Vec<usize>, Vec<usize>) = kids.into_iter().partition(|kid| self.is_leaf(*kid));
        let store = (self.want_states || !far.is_empty() || near.len() > 1).then_some(segment);
        let carry = !leaves.is_empty() || !near.is_empty();
        let rows = self.segments.rows(segment);
        let own = match self.piece.filter(|_| self.is_long(segment)) {
            None => chunks(rows, start, store, carry),
            Some(piece) => self.cut(rows, piece, wave, start, store, carry),
        };
        let tail = tails.entry(wave).or_default();
        tail.extend(own);
        for leaf in leaves {
            tail.extend(chunks(self.segments.rows(leaf), Start::Continue, None, false));
        }
        for (position, kid) in near.into_iter().enumerate() {
            let start = if position == 0 { Start::Continue } else { Start::Parent(segment) };
            self.emit(kid, start, wave, tails);
        }
        for kid in far {
            self.emit(kid, Start::Parent(segment), wave + 1, tails);
        }
    }

    /// Makes items of all pieces of a segment but the last, whose chunks are returned.
    fn cut(
        &mut self,
        rows: Range<usize>,
        piece: usize,
        wave: usize,
        start: Start,
        store: Option<usize>,
        carry: bool,
    ) -> Vec<Chunk> {
        let (kind, index) = start.code();
        let inner = rows.len().div_ceil(piece) - 1;
        let slots = self.schedule.slots;
        self.wave(wave).combine.push([slots as i32, inner as i32, index, kind]);
        let before = |k: usize| if k == 0 { start } else { Start::Slot(slots + k - 1) };
        for k in 0..inner {
            let first = rows.start + k * piece;
            self.schedule.states.push([first, piece, slots + k, 0].map(|value| value as i32));
            self.wave(wave).items.0.push(chunks(first..first + piece, before(k), None, false));
        }
        self.schedule.slots += inner;
        chunks(rows.start + inner * piece..rows.end, before(inner), store, carry)
    }
}

/// Chunks of some rows; `store`: where the state after them is kept; `carry`: what follows in the item starts from it. No rows
/// make one empty chunk, which hands the state on.
fn chunks(rows: Range<usize>, start: Start, store: Option<usize>, carry: bool) -> Vec<Chunk> {
    let count = rows.len().div_ceil(CHUNK).max(1);
    (0..count)
        .map(|k| {
            let first = rows.start + k * CHUNK;
            let (kind, index) = if k == 0 { start } else { Start::Continue }.code();
            let last = k + 1 == count;
            let mut flags = CHUNK.min(rows.end - first) as i32 | kind << 8;
            if carry || !last {
                flags |= CARRY;
            }
            if last && store.is_some() {
                flags |= STORE;
            }
            [first as i32, flags, index, store.filter(|_| last).unwrap_or(0) as i32]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows and flags of a chunk that starts as kind `start`.
    fn flags(rows: i32, start: i32, ends: i32) -> i32 {
        rows | (start << 8) | ends
    }

    #[test]
    fn short_trees_are_one_item_each() {
        let segments = Segments::new(&[70, 3, 0, 64], &[None, Some(0), Some(0), None]).unwrap();
        let schedule = Schedule::new(&segments, Some(PIECE), false, false);
        assert_eq!((schedule.states.len(), schedule.slots, schedule.waves.len()), (0, 0, 1));
        let (table, offsets) = schedule.waves[0].items.tables();
        assert_eq!(offsets, [0, 3, 4]);
        let expected = [
            [0, flags(64, 1, CARRY), 0, 0],
            [64, flags(6, 0, CARRY), 0, 0],
            [70, flags(3, 0, LAST), 0, 0],
            [73, flags(64, 1, LAST), 0, 0],
        ];
        assert_eq!(table, expected.concat());
    }

    #[test]
    fn the_first_child_goes_on_and_others_read_what_was_kept() {
        let segments = Segments::new(&[5, 70, 80, 2], &[None, Some(0), Some(0), Some(1)]).unwrap();
        let schedule = Schedule::new(&segments, Some(PIECE), false, false);
        let expected = [
            [0, flags(5, 1, CARRY | STORE), 0, 0],
            [5, flags(64, 0, CARRY), 0, 0],
            [69, flags(6, 0, CARRY), 0, 0],
            [155, flags(2, 0, 0), 0, 0],
            [75, flags(64, 3, CARRY), 0, 0],
            [139, flags(16, 0, LAST), 0, 0],
        ];
        assert_eq!(schedule.waves[0].items.tables().0, expected.concat());
    }

    #[test]
    fn a_long_child_waits_for_its_parent() {
        let segments = Segments::new(&[5, 300], &[None, Some(0)]).unwrap();
        let schedule = Schedule::new(&segments, Some(128), true, true);
        assert_eq!((schedule.slots, schedule.waves.len()), (2, 2));
        assert_eq!(schedule.states, [[5, 128, 0, 0], [133, 128, 1, 0]]);
        assert_eq!(schedule.waves[0].items.tables().0, [0, flags(5, 2, STORE | LAST), 0, 0]);
        assert_eq!(schedule.waves[1].combine, [[0, 2, 0, 3]]);
        // The pieces 5..133 from the parent, 133..261 from slot 0, 261..305 from slot 1.
        let (table, offsets) = schedule.waves[1].items.tables();
        assert_eq!(offsets, [0, 2, 4, 5]);
        assert_eq!(table[..4], [5, flags(64, 3, CARRY), 0, 0]);
        assert_eq!(table[8..12], [133, flags(64, 4, CARRY), 0, 0]);
        assert_eq!(table[16..], [261, flags(44, 4, STORE | LAST), 1, 1]);
    }

    #[test]
    fn the_last_round_is_divided_where_that_fills_the_device() {
        let items = Items(vec![vec![[0; 4]; 2], vec![[0; 4]]]);
        assert_eq!(
            items.works(4, 1, 3, 100),
            [
                [0, 0, 1, 0],
                [0, 1, 1, 0],
                [0, 2, 1, 0],
                [0, 3, 1, 0],
                [2, 0, 1, 0],
                [2, 1, 1, 0],
                [2, 2, 1, 0],
                [2, 3, 1, 0]
            ]
        );
        assert_eq!(items.works(4, 2, 2, 100), [[0, 0, 2, 0], [0, 2, 2, 1], [2, 0, 2, 0], [2, 2, 2, 1]]);
        assert_eq!(items.works(3, 1, 3, 1), [[0, 0, 3, 0], [2, 0, 3, 0]]);
    }
}
