//! What a download tells while it works.

use std::time::Duration;

/// A step of a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// These files are about to be downloaded.
    Begin {
        /// Number of files that are not in the cache.
        files: usize,
        /// Their sizes, in bytes.
        bytes: u64,
    },
    /// So much of a file is on the disk. May go back: a file begins anew where the server cannot continue it.
    At {
        /// Name in the repository.
        file: &'a str,
        /// Bytes on the disk.
        bytes: u64,
        /// Bytes in the end.
        size: u64,
    },
    /// A file is whole, verified and visible.
    Done {
        /// Name in the repository.
        file: &'a str,
        /// Bytes.
        size: u64,
    },
    /// Something went wrong that may pass.
    Waiting {
        /// What.
        why: String,
        /// Time until the next attempt.
        pause: Duration,
    },
    /// A file in the cache is not what its name says; it is downloaded again, in its place.
    Damaged {
        /// Which, and how that was seen.
        why: String,
    },
    /// Another process is downloading the same file; this one waits for it.
    Locked {
        /// Name in the repository.
        file: &'a str,
    },
}

/// Is told of every step.
pub type Report<'a> = &'a mut dyn FnMut(Event<'_>);
