//! The weights of a checkpoint, read when they are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use candle_core::{DType, Device, Tensor};
use ssm_kernels::{finite, host};

use super::{CheckpointError, FLOATS, names};
use crate::config::ModelConfig;
use crate::loader::WeightSource;

/// Whether a weight means something where it is infinite. `A_log` does: a scan decays by `exp(-dt exp(A_log))`, so at infinity
/// a channel forgets all that came before a token, and at minus infinity nothing. Everything else of a model multiplies or adds.
fn may_be_infinite(canonical: &str) -> bool {
    canonical.ends_with(".mixer.A_log")
}

/// A file of named tensors, by the names that the file uses.
pub(super) trait Archive: Send + Sync {
    /// What to call it in messages.
    fn file(&self) -> &str;
    /// Names and shapes.
    fn entries(&self) -> Vec<(String, Vec<usize>)>;
    /// Reads one tensor in the dtype it is stored in. `name` is one of [`Archive::entries`].
    fn read(&mut self, name: &str) -> Result<Tensor, CheckpointError>;
}

struct Entry {
    archive: usize,
    name: String,
    shape: Vec<usize>,
}

/// Weights by canonical name. What is taken is read then; nothing is kept.
pub struct Weights {
    archives: Vec<Box<dyn Archive>>,
    entries: BTreeMap<String, Entry>,
    taken: BTreeSet<String>,
    /// Weights that a file may hold again, and the weight that each equals.
    copies: BTreeMap<String, String>,
    head: &'static str,
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.archives.iter().map(|archive| archive.file()).collect();
        f.debug_struct("Weights").field("files", &files).field("weights", &self.entries.len()).finish_non_exhaustive()
    }
}

impl WeightSource for Weights {
    /// # Errors
    /// A weight that is missing, of another shape, of a dtype that holds no floats, not finite, taken before, or unreadable.
    fn take(&mut self, canonical_name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let Some(entry) = self.entries.get(canonical_name) else {
            return Err(self.missing(canonical_name));
        };
        if entry.shape != shape {
            return Err(CheckpointError::Shape {
                name: entry.name.clone(),
                expected: shape.to_vec(),
                got: entry.shape.clone(),
            });
        }
        if !self.taken.insert(canonical_name.to_string()) {
            return Err(CheckpointError::TakenTwice { name: canonical_name.to_string() });
        }
        self.read(canonical_name)
    }
}

impl Weights {
    pub(super) fn new(archives: Vec<Box<dyn Archive>>, config: &ModelConfig) -> Result<Self, CheckpointError> {
        let mut entries = BTreeMap::<String, Entry>::new();
        for (index, archive) in archives.iter().enumerate() {
            for (name, shape) in archive.entries() {
                let Some(canonical) = names::canonical(&name).map(str::to_string) else { continue };
                if let Some(first) = entries.get(&canonical) {
                    return Err(CheckpointError::Duplicate {
                        name: canonical,
                        first: archives[first.archive].file().to_string(),
                        second: archive.file().to_string(),
                    });
                }
                entries.insert(canonical, Entry { archive: index, name, shape });
            }
        }
        let mut copies = config.copies();
        copies.retain(|copy, _| entries.contains_key(copy));
        Ok(Self { archives, entries, taken: BTreeSet::new(), copies, head: config.naming.head })
    }

    /// Canonical names of all weights present, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Refuses weights that were not taken.
    ///
    /// The weight of a tied head is accepted if it equals the embedding bit for bit: `mamba_ssm` stores it twice. So is a block that layers
    /// share, where a file holds it for each of them.
    ///
    /// # Errors
    /// The names of surplus weights, a head that differs from the embedding it is tied to, or a copy that differs.
    pub fn finish(mut self) -> Result<(), CheckpointError> {
        let surplus = |name: &String| !(self.taken.contains(name) || self.copies.contains_key(name));
        let names: Vec<_> =
            self.entries.iter().filter(|(name, _)| surplus(name)).map(|(_, e)| e.name.clone()).collect();
        if !names.is_empty() {
            return Err(CheckpointError::Surplus { names });
        }
        self.check_copies()
    }

    pub(super) fn digest(&mut self) -> Result<String, CheckpointError> {
        let mut hasher = blake3::Hasher::new();
        let names: Vec<_> = self.entries.keys().filter(|name| !self.copies.contains_key(*name)).cloned().collect();
        for name in names {
            let tensor = self.read(&name)?;
            hasher.update(name.as_bytes());
            hasher.update(&[0]);
            hasher.update(&(tensor.rank() as u64).to_le_bytes());
            for size in tensor.dims() {
                hasher.update(&(*size as u64).to_le_bytes());
            }
            let bytes: Vec<u8> =
                tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect();
            hasher.update(&bytes);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn check_copies(&mut self) -> Result<(), CheckpointError> {
        for (copy, original) in std::mem::take(&mut self.copies) {
            if self.taken.contains(&copy) {
                continue;
            }
            if !self.entries.contains_key(&original) {
                return Err(self.missing(&original));
            }
            let (ours, theirs) = (self.read(&copy)?, self.read(&original)?);
            let same_bits = |a: &[f32], b: &[f32]| a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()));
            let same = ours.dims() == theirs.dims()
                && same_bits(&ours.flatten_all()?.to_vec1()?, &theirs.flatten_all()?.to_vec1()?);
            if !same && copy == self.head {
                return Err(CheckpointError::UntiedHead);
            }
            if !same {
                return Err(CheckpointError::UnlikeCopy { name: copy, original });
            }
        }
        Ok(())
    }

    fn read(&mut self, canonical: &str) -> Result<Tensor, CheckpointError> {
        let Some(entry) = self.entries.get(canonical) else {
            return Err(self.missing(canonical));
        };
        let archive = &mut self.archives[entry.archive];
        let tensor = archive.read(&entry.name)?;
        match tensor.dtype() {
            DType::F32 | DType::F16 | DType::BF16 | DType::F64 => {
                let stored = tensor.to_device(&Device::Cpu)?.contiguous()?;
                let converted = host::cast(&stored, DType::F32)?;
                // As stored, where that takes fewer bytes; a float64 may overflow when it is converted.
                let checked = if stored.dtype() == DType::F64 { &converted } else { &stored };
                if let Some((index, value)) = finite::first_non_finite_value(checked, may_be_infinite(canonical))? {
                    return Err(CheckpointError::NonFinite {
                        file: archive.file().to_owned(),
                        name: entry.name.clone(),
                        place: CheckpointError::place(index, &entry.shape),
                        value,
                    });
                }
                Ok(converted)
            }
            other => {
                let problem = format!("`{}` has dtype {}, expected floats", entry.name, other.as_str());
                Err(CheckpointError::unsupported(archive.file(), problem, FLOATS))
            }
        }
    }

    fn missing(&self, canonical: &str) -> CheckpointError {
        let nearest = self
            .entries
            .values()
            .map(|entry| (strsim::levenshtein(&entry.name, canonical), &entry.name))
            .min()
            .map_or_else(|| "none".to_string(), |(_, name)| format!("`{name}`"));
        CheckpointError::Missing { name: canonical.to_string(), looked_for: names::accepted(canonical), nearest }
    }
}
