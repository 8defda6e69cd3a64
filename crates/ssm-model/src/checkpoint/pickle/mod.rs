//! `pytorch_model.bin`: a zip archive of one pickle and the storages that it refers to.
//!
//! A pickle is a program, and what it may call decides whether a file is data or an attack. The reader of candle records
//! whatever is called, skips tensors it cannot read and panics on malformed arguments; this one runs the few
//! instructions of a state dict, refuses every global outside a short list by name, and holds nothing but tensors.

mod error;
mod globals;
mod input;
mod machine;

use std::collections::BTreeMap;
use std::io::Read;

use candle_core::{Device, Tensor};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use self::error::PickleError;
use self::machine::StoredTensor;
use super::CheckpointError;
use super::safetensors_file::ReadSeek;
use super::weights::Archive;

/// A state dict names a few thousand tensors in some hundred bytes each.
const MAX_PICKLE: u64 = 64 << 20;

/// Bytes of a storage that are held for any tensor in it.
const LARGE_STORAGE: u64 = 64 << 20;

/// How files of `torch.save(.., _use_new_zipfile_serialization=False)` begin: a pickle of this magic number.
const OLD_FORMAT: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// What to do about files of another kind.
const SAVE_AGAIN: &str = "load it with PyTorch, torch.load(FILE, weights_only=True), and save the state dict again: with safetensors, or \
                          with torch.save of version 1.6 or later";

const PACK_AGAIN: &str = "pack the archive again, without compression or with deflate, or save a safetensors file";

pub(super) struct PickleFile {
    file: String,
    archive: ZipArchive<Box<dyn ReadSeek>>,
    /// The folder inside the archive, with its trailing slash.
    root: String,
    tensors: BTreeMap<String, StoredTensor>,
}

impl PickleFile {
    pub(super) fn new(file: String, mut reader: Box<dyn ReadSeek>) -> Result<Self, CheckpointError> {
        let bad = |problem: Problem| problem.of(&file);
        check_kind(reader.as_mut()).map_err(bad)?;
        let mut archive = ZipArchive::new(reader)
            .map_err(|error| bad(Problem::Damaged(format!("not a readable zip archive: {error}"))))?;
        let pickles: Vec<String> =
            archive.file_names().flatten().filter(|n| n.ends_with("/data.pkl")).map(Into::into).collect();
        let [pickle] = pickles.as_slice() else {
            return Err(bad(format!("{} entries are called data.pkl, expected one", pickles.len()).into()));
        };
        let root = pickle.trim_end_matches("data.pkl").to_string();
        check_byte_order(&mut archive, &root).map_err(bad)?;
        let program = read_entry(&mut archive, pickle, MAX_PICKLE).map_err(bad)?;
        let tensors = machine::run(&program).map_err(|error| match error {
            PickleError::Forbidden(global) => CheckpointError::ForbiddenGlobal { file: file.clone(), global },
            PickleError::Unsupported(problem) => bad(Problem::Unsupported(format!("data.pkl: {problem}"), SAVE_AGAIN)),
            PickleError::Malformed(problem) => bad(format!("data.pkl: {problem}").into()),
        })?;
        for (name, tensor) in &tensors {
            check_storage(&mut archive, &root, tensor).map_err(|problem| bad(problem.in_tensor(name)))?;
        }
        Ok(Self { file, archive, root, tensors })
    }
}

impl Archive for PickleFile {
    fn file(&self) -> &str {
        &self.file
    }

    fn entries(&self) -> Vec<(String, Vec<usize>)> {
        self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect()
    }

    fn read(&mut self, name: &str) -> Result<Tensor, CheckpointError> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(CheckpointError::malformed(&self.file, format!("`{name}` is not in the file")));
        };
        let entry = storage_entry(&self.root, tensor);
        let bytes = read_entry(&mut self.archive, &entry, tensor.storage.bytes() as u64)
            .map_err(|problem| problem.in_tensor(name).of(&self.file))?;
        let values = bytes.get(tensor.byte_range()).ok_or_else(|| {
            CheckpointError::malformed(&self.file, format!("`{name}`: {entry} holds only {} bytes", bytes.len()))
        })?;
        let values = tensor.in_order(values);
        Ok(Tensor::from_raw_buffer(&values, tensor.storage.dtype, &tensor.shape, &Device::Cpu)?)
    }
}

fn storage_entry(root: &str, tensor: &StoredTensor) -> String {
    format!("{root}data/{}", tensor.storage.key)
}

/// What is wrong with an archive.
enum Problem {
    /// It contradicts itself.
    Damaged(String),
    /// It is whole and of a kind that is not read; with what to do.
    Unsupported(String, &'static str),
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self::Damaged(problem)
    }
}

impl Problem {
    fn in_tensor(self, name: &str) -> Self {
        match self {
            Self::Damaged(problem) => Self::Damaged(format!("`{name}`: {problem}")),
            Self::Unsupported(problem, hint) => Self::Unsupported(format!("`{name}`: {problem}"), hint),
        }
    }

    fn of(self, file: &str) -> CheckpointError {
        match self {
            Self::Damaged(problem) => CheckpointError::malformed(file, problem),
            Self::Unsupported(problem, hint) => CheckpointError::unsupported(file, problem, hint),
        }
    }
}

/// The problem of an entry that cannot be opened.
fn unopened(entry: &str, error: &ZipError) -> Problem {
    let problem = format!("{entry}: {error}");
    match error {
        ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_) => {
            Problem::Unsupported(problem, PACK_AGAIN)
        }
        _ => Problem::Damaged(problem),
    }
}

/// Tells what is no zip archive by its first bytes, so that a file of another kind is not called a damaged one.
fn check_kind(reader: &mut dyn ReadSeek) -> Result<(), Problem> {
    let unreadable = |error| Problem::Damaged(format!("cannot be read: {error}"));
    let mut start = Vec::new();
    reader.take(512).read_to_end(&mut start).map_err(unreadable)?;
    reader.rewind().map_err(unreadable)?;
    let is_tar = start.get(257..262) == Some(b"ustar");
    if start.starts_with(OLD_FORMAT) || is_tar {
        let problem = "the format of PyTorch before version 1.6, which is not a zip archive, is not read";
        return Err(Problem::Unsupported(problem.to_owned(), SAVE_AGAIN));
    }
    // Protocols 2 to 5.
    if matches!(start[..], [0x80, 2..=5, ..]) {
        let problem = "a pickle without the zip archive that PyTorch puts around it is not read";
        return Err(Problem::Unsupported(problem.to_owned(), SAVE_AGAIN));
    }
    Ok(())
}

fn check_storage(
    archive: &mut ZipArchive<Box<dyn ReadSeek>>,
    root: &str,
    tensor: &StoredTensor,
) -> Result<(), Problem> {
    let entry = storage_entry(root, tensor);
    let opened = archive.by_name(&entry).map_err(|error| unopened(&entry, &error))?;
    let (held, is_packed) = (opened.size(), opened.compression() != CompressionMethod::Stored);
    let announced = tensor.storage.bytes() as u64;
    // A few bytes can unpack to any number, all of which would be held for a part of them.
    if is_packed && announced > LARGE_STORAGE && announced / 4 > tensor.byte_range().len() as u64 {
        let problem = format!("{entry} is compressed, holds {announced} bytes, and few of them are this tensor");
        return Err(Problem::Unsupported(problem, PACK_AGAIN));
    }
    if held == announced {
        Ok(())
    } else {
        Err(format!("{entry} holds {held} bytes, {announced} are announced").into())
    }
}

/// The archive says which end of a number comes first; files from before that are little-endian.
fn check_byte_order(archive: &mut ZipArchive<Box<dyn ReadSeek>>, root: &str) -> Result<(), Problem> {
    let entry = format!("{root}byteorder");
    if archive.index_for_name(&entry).is_none() {
        return Ok(());
    }
    let order = read_entry(archive, &entry, 16)?;
    if order == b"little" {
        Ok(())
    } else {
        let problem = format!("byte order {:?} is not supported", String::from_utf8_lossy(&order));
        Err(Problem::Unsupported(problem, "save it again on a little-endian machine, as nearly all are"))
    }
}

/// Reads an entry of at most `max` bytes; what the archive claims about its size is not trusted.
fn read_entry(archive: &mut ZipArchive<Box<dyn ReadSeek>>, name: &str, max: u64) -> Result<Vec<u8>, Problem> {
    let entry = archive.by_name(name).map_err(|error| unopened(name, &error))?;
    if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        return Err(Problem::Unsupported(format!("{name} is compressed in a way that is not read"), PACK_AGAIN));
    }
    let mut bytes = Vec::new();
    if entry.size() <= max && entry.size() <= entry.compressed_size() {
        bytes.try_reserve_exact(entry.size() as usize).map_err(|error| format!("{name}: {error}"))?;
    }
    entry.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 <= max { Ok(bytes) } else { Err(format!("{name} holds more than {max} bytes").into()) }
}
