//! Safetensors files, read tensor by tensor.
//!
//! The safetensors crate checks and views a file that is wholly in memory (or mapped, which is unsafe code). Here the
//! header is checked by the same rules, with the tensor's name in every message, and values are read on demand.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorInfo};
use serde_json::Value;

use super::weights::Archive;
use super::{CheckpointError, FLOATS};
use crate::strict_json;

/// The crate's own limit on headers, bytes.
const MAX_HEADER: u64 = 100_000_000;

pub(super) trait ReadSeek: Read + Seek + Send + Sync {}
impl<T: Read + Seek + Send + Sync> ReadSeek for T {}

pub(super) struct SafetensorsFile {
    file: String,
    reader: Box<dyn ReadSeek>,
    /// Where the values begin, bytes from the start of the file.
    data_start: u64,
    tensors: BTreeMap<String, TensorInfo>,
}

impl SafetensorsFile {
    pub(super) fn new(file: String, mut reader: Box<dyn ReadSeek>) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { file: file.clone(), source };
        let bad = |problem: String| CheckpointError::malformed(&file, problem);
        let length = reader.seek(SeekFrom::End(0)).map_err(io)?;
        reader.rewind().map_err(io)?;
        if length < 8 {
            return Err(bad(format!("{length} bytes are too few for a safetensors file")));
        }
        let mut header_length = [0; 8];
        reader.read_exact(&mut header_length).map_err(io)?;
        let header_length = u64::from_le_bytes(header_length);
        if header_length > length - 8 {
            return Err(bad(format!("a header of {header_length} bytes is announced in a file of {length}")));
        }
        if header_length > MAX_HEADER {
            return Err(bad(format!("a header of {header_length} bytes is more than the format's {MAX_HEADER}")));
        }
        let mut header = vec![0; header_length as usize];
        reader.read_exact(&mut header).map_err(io)?;
        let header = match strict_json::parse(&header) {
            Ok(Value::Object(header)) => header,
            Ok(_) => return Err(bad("the header is not a JSON object".to_owned())),
            Err(error) => return Err(bad(format!("the header cannot be read: {error}"))),
        };

        let mut tensors = BTreeMap::new();
        for (name, info) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
            let info: TensorInfo =
                serde_json::from_value(info).map_err(|error| bad(format!("`{name}` is described wrongly: {error}")))?;
            check_size(&info).map_err(|problem| bad(format!("`{name}` {problem}")))?;
            tensors.insert(name, info);
        }
        let data_start = 8 + header_length;
        check_cover(&tensors, length - data_start).map_err(bad)?;
        Ok(Self { file, reader, data_start, tensors })
    }
}

/// Offsets must hold exactly the values that shape and dtype announce.
fn check_size(info: &TensorInfo) -> Result<(), String> {
    let (start, end) = info.data_offsets;
    let announced = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, size| bits.checked_mul(*size));
    let held = end.checked_sub(start).and_then(|bytes| bytes.checked_mul(8));
    match (announced, held) {
        (Some(announced), Some(held)) if announced == held => Ok(()),
        _ => Err(format!("has shape {:?} of {}, which bytes {start} to {end} do not hold", info.shape, info.dtype)),
    }
}

/// The format wants the values end to end: no gap, no overlap, no trailing bytes.
fn check_cover(tensors: &BTreeMap<String, TensorInfo>, data_length: u64) -> Result<(), String> {
    let mut in_order: Vec<_> = tensors.iter().map(|(name, info)| (info.data_offsets, name)).collect();
    in_order.sort_unstable();
    let mut position = 0;
    for ((start, end), name) in in_order {
        if end as u64 > data_length {
            return Err(format!("`{name}` ends at byte {end} of {data_length}"));
        }
        if start != position {
            return Err(format!("`{name}` begins at byte {start}, but the tensor before it ends at {position}"));
        }
        position = end;
    }
    if position as u64 == data_length {
        Ok(())
    } else {
        Err(format!("the tensors end at byte {position} of {data_length}"))
    }
}

impl Archive for SafetensorsFile {
    fn file(&self) -> &str {
        &self.file
    }

    fn entries(&self) -> Vec<(String, Vec<usize>)> {
        self.tensors.iter().map(|(name, info)| (name.clone(), info.shape.clone())).collect()
    }

    fn read(&mut self, name: &str) -> Result<Tensor, CheckpointError> {
        let Some(info) = self.tensors.get(name) else {
            return Err(CheckpointError::malformed(&self.file, format!("`{name}` is not in the file")));
        };
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F64 => DType::F64,
            other => {
                return Err(CheckpointError::unsupported(
                    &self.file,
                    format!("`{name}` has dtype {other}, expected F32, F16, BF16 or F64"),
                    FLOATS,
                ));
            }
        };
        let (start, end) = info.data_offsets;
        let io = |source| CheckpointError::Io { file: self.file.clone(), source };
        self.reader.seek(SeekFrom::Start(self.data_start + start as u64)).map_err(io)?;
        let mut bytes = vec![0; end - start];
        self.reader.read_exact(&mut bytes).map_err(io)?;
        Ok(Tensor::from_raw_buffer(&bytes, dtype, &info.shape, &Device::Cpu)?)
    }
}
