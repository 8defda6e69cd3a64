//! `pytorch_model.bin`: a zip archive of one pickle and the storages that it refers to.
//!
//! A pickle is a program, and what it may call decides whether a file is data or an attack. The reader of candle records
//! whatever is called, skips tensors it cannot read and panics on malformed arguments; this one runs the few
//! instructions of a state dict, refuses every global outside a short list by name, and holds nothing but tensors.

mod globals;
mod input;
mod machine;

use std::collections::BTreeMap;
use std::io::Read;

use candle_core::{Device, Tensor};
use zip::ZipArchive;

use self::machine::StoredTensor;
use super::CheckpointError;
use super::safetensors_file::ReadSeek;
use super::weights::Archive;

/// A state dict names a few thousand tensors in some hundred bytes each.
const MAX_PICKLE: u64 = 64 << 20;

/// Why a pickle was refused.
#[derive(Debug)]
pub(super) enum PickleError {
    /// A global outside the list.
    Forbidden(String),
    /// Anything else, in words.
    Malformed(String),
}

impl From<String> for PickleError {
    fn from(problem: String) -> Self {
        Self::Malformed(problem)
    }
}

impl From<&str> for PickleError {
    fn from(problem: &str) -> Self {
        Self::Malformed(problem.to_string())
    }
}

pub(super) struct PickleFile {
    file: String,
    archive: ZipArchive<Box<dyn ReadSeek>>,
    /// The folder inside the archive, with the slash behind it.
    root: String,
    tensors: BTreeMap<String, StoredTensor>,
}

impl PickleFile {
    pub(super) fn new(file: String, reader: Box<dyn ReadSeek>) -> Result<Self, CheckpointError> {
        let bad = |problem: String| CheckpointError::malformed(&file, problem);
        let mut archive =
            ZipArchive::new(reader).map_err(|error| bad(format!("not a readable zip archive: {error}")))?;
        let pickles: Vec<String> =
            archive.file_names().flatten().filter(|n| n.ends_with("/data.pkl")).map(Into::into).collect();
        let [pickle] = pickles.as_slice() else {
            return Err(bad(format!("{} entries are called data.pkl, expected one", pickles.len())));
        };
        let root = pickle.trim_end_matches("data.pkl").to_string();
        check_byte_order(&mut archive, &root).map_err(bad)?;
        let program = read_entry(&mut archive, pickle, MAX_PICKLE).map_err(bad)?;
        let tensors = machine::run(&program).map_err(|error| match error {
            PickleError::Forbidden(global) => CheckpointError::ForbiddenGlobal { file: file.clone(), global },
            PickleError::Malformed(problem) => bad(format!("data.pkl: {problem}")),
        })?;
        for (name, tensor) in &tensors {
            check_storage(&mut archive, &root, tensor).map_err(|problem| bad(format!("`{name}`: {problem}")))?;
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
            .map_err(|problem| CheckpointError::malformed(&self.file, format!("`{name}`: {problem}")))?;
        let values = bytes.get(tensor.byte_range()).ok_or_else(|| {
            CheckpointError::malformed(&self.file, format!("`{name}`: {entry} holds only {} bytes", bytes.len()))
        })?;
        Ok(Tensor::from_raw_buffer(values, tensor.storage.dtype, &tensor.shape, &Device::Cpu)?)
    }
}

fn storage_entry(root: &str, tensor: &StoredTensor) -> String {
    format!("{root}data/{}", tensor.storage.key)
}

fn check_storage(archive: &mut ZipArchive<Box<dyn ReadSeek>>, root: &str, tensor: &StoredTensor) -> Result<(), String> {
    let entry = storage_entry(root, tensor);
    let held = archive.by_name(&entry).map_err(|error| format!("{entry}: {error}"))?.size();
    let announced = tensor.storage.bytes() as u64;
    if held == announced { Ok(()) } else { Err(format!("{entry} holds {held} bytes, {announced} are announced")) }
}

/// The archive says which end of a number comes first; files from before that are little-endian.
fn check_byte_order(archive: &mut ZipArchive<Box<dyn ReadSeek>>, root: &str) -> Result<(), String> {
    let entry = format!("{root}byteorder");
    if archive.index_for_name(&entry).is_none() {
        return Ok(());
    }
    let order = read_entry(archive, &entry, 16)?;
    if order == b"little" {
        Ok(())
    } else {
        Err(format!("byte order {:?} is not supported", String::from_utf8_lossy(&order)))
    }
}

/// Reads an entry of at most `max` bytes; what the archive claims about its size is not trusted.
fn read_entry(archive: &mut ZipArchive<Box<dyn ReadSeek>>, name: &str, max: u64) -> Result<Vec<u8>, String> {
    let entry = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
    let mut bytes = Vec::new();
    if entry.size() <= max && entry.size() <= entry.compressed_size() {
        bytes.try_reserve_exact(entry.size() as usize).map_err(|error| format!("{name}: {error}"))?;
    }
    entry.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 <= max { Ok(bytes) } else { Err(format!("{name} holds more than {max} bytes")) }
}
