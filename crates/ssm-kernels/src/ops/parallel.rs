//! How the operations share work among threads.

/// Rows that one parallel task handles: long enough to amortise the task, short enough to balance.
pub(super) const ROWS_PER_TASK: usize = 32;

/// Columns of a matrix that several tasks fill, each its own part.
///
/// Scans are parallel over (tree, channels): a task owns some columns of some rows, which no slice can express.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    start: *mut f32,
    stride: usize,
    len: usize,
}

// SAFETY: `Columns` only hands out parts through `row`, whose contract is that no two live parts overlap.
unsafe impl Send for Columns {}
// SAFETY: as above.
unsafe impl Sync for Columns {}

impl Columns {
    pub(super) fn new(matrix: &mut [f32], stride: usize) -> Self {
        Self { start: matrix.as_mut_ptr(), stride, len: matrix.len() }
    }

    /// Columns `column..column + width` of `row`.
    ///
    /// # Safety
    /// No other live part may overlap this one.
    #[inline(always)]
    pub(super) unsafe fn row<'a>(self, row: usize, column: usize, width: usize) -> &'a mut [f32] {
        let offset = row * self.stride + column;
        assert!(offset + width <= self.len, "part outside the matrix");
        // SAFETY: in bounds by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), width) }
    }
}
