//! The hint that an error carries to the edge: what the reader can do about it.
//!
//! An error says what is wrong and where; its hint says what to do. Every error of the workspace that a user may see implements
//! [`Hint`], and the command line, records and reports print what it returns.
//!
//! ```
//! use hint::Hint;
//!
//! #[derive(Debug)]
//! struct UnknownTask {
//!     nearest: Option<&'static str>,
//! }
//!
//! impl std::fmt::Display for UnknownTask {
//!     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
//!         f.write_str("unknown task")
//!     }
//! }
//!
//! impl std::error::Error for UnknownTask {}
//!
//! impl Hint for UnknownTask {
//!     fn hint(&self) -> Option<String> {
//!         self.nearest.map(|name| format!("did you mean `{name}`?"))
//!     }
//! }
//!
//! let error = UnknownTask { nearest: Some("piqa") };
//! assert_eq!(error.hint().as_deref(), Some("did you mean `piqa`?"));
//! ```

/// An error that may know what to do about itself.
pub trait Hint: std::error::Error {
    /// What to do about it: one sentence without the word `hint:` and without a full stop. An error that wraps another one passes on
    /// the hint of its cause. `None` where there is nothing to do, or nothing known.
    #[must_use]
    fn hint(&self) -> Option<String>;
}
