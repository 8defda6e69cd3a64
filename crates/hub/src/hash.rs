//! Hashes of files, as the hub gives them in place of an `ETag`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::names::is_hash;

/// What the hub says a file's bytes hash to. It also names the blob in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected(String);

impl Expected {
    /// From an `ETag`: SHA-256 of the bytes for large files, the id of a git blob for the others. None for anything else.
    pub(crate) fn from_etag(etag: &str) -> Option<Self> {
        let bare = etag.trim().trim_start_matches("W/").trim_matches('"');
        is_hash(bare).then(|| Self(bare.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash of this kind of the file at `path`, in hexadecimal digits.
    pub(crate) fn of_file(&self, path: &Path) -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut context = if self.0.len() == 64 {
            Context::new(&SHA256)
        } else {
            // A git blob is hashed with its kind and length before it.
            let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            context.update(format!("blob {}\0", file.metadata()?.len()).as_bytes());
            context
        };
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            context.update(&buffer[..count]);
        }
        let mut text = String::with_capacity(64);
        for byte in context.finish().as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `git hash-object` and `sha256sum`.
    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        for expected in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            assert_eq!(Expected::from_etag(expected).unwrap().of_file(&path).unwrap(), expected);
        }
    }

    #[test]
    fn only_hashes_are_taken_from_etags() {
        let hash = "ce013625030ba8dba906f756967f9e9ca394464a";
        for etag in [hash.to_owned(), format!("\"{hash}\""), format!("W/\"{hash}\"")] {
            assert_eq!(Expected::from_etag(&etag).unwrap().as_str(), hash);
        }
        for etag in ["", "\"\"", "\"d41d8cd98f00b204e9800998ecf8427e-3\"", "\"../../../etc/passwd\""] {
            assert_eq!(Expected::from_etag(etag), None, "{etag}");
        }
    }
}
