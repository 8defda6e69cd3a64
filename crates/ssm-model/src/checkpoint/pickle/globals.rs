//! The only things a pickle may name.

use candle_core::DType;

use super::error::PickleError;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(DType),
}

/// Looks a global up in the list.
pub(super) fn resolve(module: &str, name: &str) -> Result<Global, PickleError> {
    match (module, name) {
        ("collections", "OrderedDict") => Ok(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Ok(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Global::RebuildParameter),
        ("torch", "FloatStorage") => Ok(Global::Storage(DType::F32)),
        ("torch", "HalfStorage") => Ok(Global::Storage(DType::F16)),
        ("torch", "BFloat16Storage") => Ok(Global::Storage(DType::BF16)),
        ("torch", "DoubleStorage") => Ok(Global::Storage(DType::F64)),
        ("torch", "LongStorage") => Ok(Global::Storage(DType::I64)),
        // A byte each: the masks that older checkpoints of GPT-NeoX carry.
        ("torch", "BoolStorage" | "ByteStorage") => Ok(Global::Storage(DType::U8)),
        // Tensors too, of a kind that no model here has: nothing to be afraid of.
        ("torch", storage) if storage.ends_with("Storage") => {
            unsupported(format!("holds values of {storage}, which are not read"))
        }
        ("torch._utils", rebuild) if rebuild.starts_with("_rebuild_") => {
            unsupported(format!("holds a tensor made by {rebuild}, which is not read"))
        }
        _ => Err(PickleError::Forbidden(format!("{module}.{name}"))),
    }
}

fn unsupported(problem: String) -> Result<Global, PickleError> {
    Err(PickleError::Unsupported(problem))
}
