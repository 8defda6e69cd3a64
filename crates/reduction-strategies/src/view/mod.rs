//! What a rule sees: the tokens of a stream, the stream after a layer, and one sequence of it.

mod memo;
mod sequence;
mod stop;
mod stream;
mod tokens;

pub use memo::Memo;
pub(crate) use memo::remember;
pub use sequence::{Draw, Matrix, Owners, ScanView, SequenceView, SignalViews};
pub use stop::Stop;
pub(crate) use stream::HostMatrix;
pub use stream::{Reads, SiteStream, map_sequences};
pub use tokens::{SegmentTokens, TokenTable, positions_of};
