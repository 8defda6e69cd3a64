//! Opening files that are files. A pipe or a device would hold the program up, or never end.

use std::fs::{self, File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::O_NONBLOCK;

/// Largest file that is read as a whole; records of the longest tasks are some hundred megabytes.
pub const MAX_BYTES: u64 = 1 << 30;

/// Opens a regular file for reading.
///
/// # Errors
/// It cannot be opened, or is something else.
pub fn open(path: &Path) -> io::Result<File> {
    // Looked at before as well: a device may do something as soon as it is opened.
    check(&fs::metadata(path)?)?;
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// As [`open`]; the file is larger.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(max) as usize);
    // One byte more than allowed is enough to tell that a file is too large.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let limit = if max < 1 << 20 { format!("{} KiB", max >> 10) } else { format!("{} MiB", max >> 20) };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit}")));
    }
    Ok(bytes)
}

/// Reads a regular file of at most `max` bytes as text.
///
/// # Errors
/// As [`read`]; the file is no text.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read(path, max)?).map_err(not_text)
}

/// Refuses what is not a regular file.
pub(crate) fn check(facts: &Metadata) -> io::Result<()> {
    match kind(facts.file_type()) {
        None => Ok(()),
        Some(kind) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}, not a regular file"))),
    }
}

/// What something is that is not a regular file.
pub fn kind(of: FileType) -> Option<&'static str> {
    if of.is_file() {
        None
    } else if of.is_dir() {
        Some("a folder")
    } else if of.is_fifo() {
        Some("a pipe")
    } else if of.is_socket() {
        Some("a socket")
    } else if of.is_block_device() || of.is_char_device() {
        Some("a device")
    } else {
        Some("something else")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink(path("pipe"), path("link")).unwrap();
        assert_eq!(read_text(&path("file"), 4).unwrap(), "text");
        let said = |path: &Path| read(path, 4).unwrap_err().to_string();
        assert_eq!(said(&path("pipe")), "it is a pipe, not a regular file");
        assert_eq!(said(&path("link")), "it is a pipe, not a regular file");
        assert_eq!(said(&path("socket")), "it is a socket, not a regular file");
        assert_eq!(said(folder.path()), "it is a folder, not a regular file");
        assert_eq!(said(Path::new("/dev/zero")), "it is a device, not a regular file");
        assert_eq!(read(&path("absent"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_too_large_or_no_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [0xff; 2048]).unwrap();
        assert_eq!(read(&path, 1024).unwrap_err().to_string(), "it is larger than 1 KiB");
        assert_eq!(read_text(&path, 2048).unwrap_err().to_string(), "it is not UTF-8 text");
    }
}
