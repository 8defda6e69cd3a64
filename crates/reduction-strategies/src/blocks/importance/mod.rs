//! Importance of a token: one number, higher = keep.
//!
//! Each metric is declared once, as a static [`Metric`] in its file; [`METRICS`] lists them all. Options, signals, the causal subset,
//! error messages and the GPU path follow from the declaration. A new metric is one file and one line of the table.

mod clip;
mod l_inf;
mod metric;
mod norms;
mod oracle;
mod rows;
pub mod scan;
mod source;
mod step_size;
mod table;
mod value;

pub use clip::CLIP;
pub use l_inf::L_INF;
pub use metric::{Compute, Kernel, Metric, RowOf};
pub use norms::{L1, L2, SUM};
pub use oracle::ORACLE;
pub use scan::{HIDDEN_ATTENTION, HIDDEN_ATTENTION_NO_DECAY, WRITE_NORM};
pub use source::{Source, Widths};
pub use step_size::{DT_L2, DT_MEAN};
pub use table::{CAUSAL_IMPORTANCE_OPTION, IMPORTANCE_OPTION, METRICS, ROW_IMPORTANCE_OPTION, SOURCE_OPTION, metric};
pub use value::Importance;
