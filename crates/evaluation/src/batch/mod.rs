//! From items to packed batches: queries, the units that a protocol makes of them, and the layout of a task.

mod layout;
pub(crate) mod pack;
mod positions;
mod queries;
mod query;
mod shapes;
mod unit;

pub use layout::Layout;
pub use positions::{POSITIONS, Positions};
pub use shapes::{Shapes, Solution};

pub(crate) use pack::{Batch, batch};
pub(crate) use positions::{token_pairs, token_pairs_of};
pub(crate) use query::Query;
pub(crate) use unit::{Placement, Sequence, Unit};
