//! Which files of a folder hold the weights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read, Seek};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::pickle::PickleFile;
use super::safetensors_file::SafetensorsFile;
use super::weights::Archive;
use super::{CheckpointError, names};
use crate::strict_json;

/// In order of preference: safetensors first, because its reader has the least to distrust.
const CANDIDATES: [(&str, Format, Layout); 5] = [
    ("model.safetensors", Format::Safetensors, Layout::Single),
    ("model.safetensors.shuffled.zst", Format::ShuffledSafetensors, Layout::Single),
    ("model.safetensors.index.json", Format::Safetensors, Layout::Sharded),
    ("pytorch_model.bin", Format::Pickle, Layout::Single),
    ("pytorch_model.bin.index.json", Format::Pickle, Layout::Sharded),
];

/// How a Git LFS pointer begins. A checkout has one for every file that was not downloaded.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

#[derive(Clone, Copy)]
enum Format {
    Safetensors,
    /// As models that come with the program are; unpacked in memory.
    ShuffledSafetensors,
    Pickle,
}

/// Bytes of an unpacked file at most: it is held in memory, and a small file may unpack to any size.
const MAX_UNPACKED: u64 = 4 << 30;

#[derive(Clone, Copy)]
enum Layout {
    Single,
    Sharded,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The file that opens the weights of a folder, or of a repository: the first of the known names that is `present`. It holds the
/// weights, or is an index of the files that do ([`shards`]).
pub fn weights_file(present: impl Fn(&str) -> bool) -> Option<&'static str> {
    CANDIDATES.iter().map(|(name, ..)| *name).find(|name| present(name))
}

/// Names of the further files that a weights file needs, in order: the shards of an index, none of a file that holds the weights
/// itself.
///
/// # Errors
/// An index that cannot be read, is none, or names files in other folders.
pub fn shards(weights_file: &Path) -> Result<Vec<String>, CheckpointError> {
    let sharded = CANDIDATES.iter().any(|(name, _, layout)| {
        matches!(layout, Layout::Sharded) && weights_file.file_name().is_some_and(|file| file == *name)
    });
    if !sharded {
        return Ok(Vec::new());
    }
    let shards: BTreeSet<String> = read_index(weights_file)?.weight_map.into_values().collect();
    for shard in &shards {
        shard_path(weights_file, shard)?;
    }
    Ok(shards.into_iter().collect())
}

pub(super) fn open_weights(folder: &Path) -> Result<Vec<Box<dyn Archive>>, CheckpointError> {
    let chosen = weights_file(|name| folder.join(name).is_file());
    let Some((name, format, layout)) = CANDIDATES.iter().find(|(name, ..)| Some(*name) == chosen) else {
        return Err(CheckpointError::NoWeights {
            folder: folder.display().to_string(),
            looked_for: CANDIDATES.map(|(name, ..)| name).join(", "),
        });
    };
    match layout {
        Layout::Single => Ok(vec![open_archive(&folder.join(name), *format)?]),
        Layout::Sharded => open_shards(&folder.join(name), *format),
    }
}

fn open_archive(path: &Path, format: Format) -> Result<Box<dyn Archive>, CheckpointError> {
    let about = path.metadata().map_err(|error| CheckpointError::io(path, error))?;
    if !about.is_file() {
        // A pipe would keep the reader waiting.
        return Err(CheckpointError::io(path, std::io::Error::new(ErrorKind::InvalidInput, "not a regular file")));
    }
    let mut reader = File::open(path).map_err(|error| CheckpointError::io(path, error))?;
    let file = path.display().to_string();
    let mut start = Vec::new();
    reader
        .by_ref()
        .take(POINTER.len() as u64)
        .read_to_end(&mut start)
        .map_err(|error| CheckpointError::io(path, error))?;
    reader.rewind().map_err(|error| CheckpointError::io(path, error))?;
    if start == POINTER {
        return Err(CheckpointError::Pointer { file });
    }
    Ok(match format {
        Format::Safetensors => Box::new(SafetensorsFile::new(file, Box::new(reader))?),
        Format::ShuffledSafetensors => {
            Box::new(SafetensorsFile::new(file, Box::new(Cursor::new(unpack(path, reader)?)))?)
        }
        Format::Pickle => Box::new(PickleFile::new(file, Box::new(reader))?),
    })
}

/// The bytes of a safetensors file from a zstd frame of its even bytes and then its odd ones. Of weights of 16 bits that puts the bytes
/// with sign and exponent together, which compress to a third, and the others, which hardly compress: 12 MB in place of 14 MB for 9
/// million weights. bzip2 comes close without shuffling, and takes two seconds to read where this takes 0.05.
fn unpack(path: &Path, packed: File) -> Result<Vec<u8>, CheckpointError> {
    let damaged = |error: std::io::Error| CheckpointError::malformed(&path.display().to_string(), error.to_string());
    let mut planes = Vec::new();
    let decoder = zstd::Decoder::new(packed).map_err(damaged)?;
    decoder.take(MAX_UNPACKED + 1).read_to_end(&mut planes).map_err(damaged)?;
    if planes.len() as u64 > MAX_UNPACKED {
        return Err(damaged(std::io::Error::other(format!("more than {} GiB when unpacked", MAX_UNPACKED >> 30))));
    }
    let (even, odd) = planes.split_at(planes.len().div_ceil(2));
    let mut bytes = vec![0; planes.len()];
    for (pair, (index, low)) in bytes.chunks_mut(2).zip(even.iter().enumerate()) {
        pair[0] = *low;
        if let Some(second) = pair.get_mut(1) {
            *second = odd[index];
        }
    }
    Ok(bytes)
}

fn open_shards(index_path: &Path, format: Format) -> Result<Vec<Box<dyn Archive>>, CheckpointError> {
    let unfit = |problem| CheckpointError::Index { file: index_path.display().to_string(), problem };
    let index = read_index(index_path)?;
    let mut by_shard = BTreeMap::<&str, Vec<&str>>::new();
    for (name, shard) in &index.weight_map {
        by_shard.entry(shard).or_default().push(name);
    }
    let mut archives = Vec::new();
    for (shard, names) in by_shard {
        let archive = open_archive(&shard_path(index_path, shard)?, format)?;
        let entries = archive.entries();
        if let Some(name) = names.iter().find(|name| !entries.iter().any(|(present, _)| present == *name)) {
            return Err(unfit(format!("`{name}` should be in {shard}, which does not hold it")));
        }
        // A name that belongs to another shard is a duplicate, which is found when all names are together.
        let unnamed = |name: &str| names::canonical(name).is_some() && !index.weight_map.contains_key(name);
        if let Some((name, _)) = entries.iter().find(|(name, _)| unnamed(name)) {
            return Err(unfit(format!("`{name}` is in {shard}, but not in the index")));
        }
        archives.push(archive);
    }
    Ok(archives)
}

fn read_index(index_path: &Path) -> Result<Index, CheckpointError> {
    let text = std::fs::read(index_path).map_err(|error| CheckpointError::io(index_path, error))?;
    let file = index_path.display().to_string();
    if text.starts_with(POINTER) {
        return Err(CheckpointError::Pointer { file });
    }
    let bad = |problem: String| CheckpointError::malformed(&file, format!("not an index of shards: {problem}"));
    let index = strict_json::parse(&text).map_err(|error| bad(error.to_string()))?;
    serde_json::from_value(index).map_err(|error| bad(error.to_string()))
}

/// A shard is in the folder of its index; anything else could make a download read files that are not its own.
fn shard_path(index_path: &Path, shard: &str) -> Result<PathBuf, CheckpointError> {
    let mut components = Path::new(shard).components();
    let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    // A backslash separates folders on other systems; refused everywhere, so that a checkpoint is good or bad everywhere.
    if plain && !shard.contains(['/', '\\']) {
        Ok(index_path.with_file_name(shard))
    } else {
        Err(CheckpointError::ShardOutside { file: index_path.display().to_string(), shard: shard.to_string() })
    }
}
