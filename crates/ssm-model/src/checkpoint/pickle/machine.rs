//! The stack machine, as far as a state dict needs it.
//!
//! Compound values live in arenas and are referred to by index: nothing is copied when it is remembered, nothing is
//! nested in memory, so a hostile file can neither blow up the heap nor the stack.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use candle_core::DType;

use super::error::PickleError;
use super::globals::{Global, resolve};
use super::input::Input;

/// A tensor as the pickle describes it: a part of a storage, its values in order or some steps apart.
#[derive(Clone, Debug)]
pub(super) struct StoredTensor {
    pub(super) storage: Storage,
    pub(super) shape: Vec<usize>,
    /// In elements.
    offset: usize,
    /// Elements from the first to the last, both included.
    extent: usize,
    /// Steps between neighbours of each axis; none where the values are in order.
    stride: Option<Vec<usize>>,
}

/// An entry of the archive that holds numbers.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) dtype: DType,
    pub(super) key: String,
    elements: usize,
}

impl Storage {
    pub(super) fn bytes(&self) -> usize {
        self.elements.saturating_mul(self.dtype.size_in_bytes())
    }
}

impl StoredTensor {
    /// The part of the storage in which this tensor lies.
    pub(super) fn byte_range(&self) -> Range<usize> {
        let size = self.storage.dtype.size_in_bytes();
        self.offset * size..(self.offset + self.extent) * size
    }

    /// The values of that part in sequence, the last axis fastest, as if the tensor were contiguous.
    pub(super) fn in_order<'a>(&self, part: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(stride) = &self.stride else { return Cow::Borrowed(part) };
        let size = self.storage.dtype.size_in_bytes();
        let elements = self.shape.iter().product::<usize>();
        let mut values = Vec::with_capacity(elements * size);
        let mut index = vec![0; self.shape.len()];
        let mut at = 0;
        for _ in 0..elements {
            values.extend_from_slice(&part[at * size..(at + 1) * size]);
            // Counts up like a number whose digits are the index.
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += stride[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= stride[axis] * self.shape[axis];
                index[axis] = 0;
            }
        }
        Cow::Owned(values)
    }
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Mark,
    /// Values that no state dict is read for: None, booleans, floats, what `BUILD` adds.
    Opaque,
    Int(i64),
    Text(&'a str),
    Global(Global),
    Tuple(usize),
    List,
    Dict(usize),
    Storage(usize),
    Tensor(usize),
}

#[derive(Default)]
struct Machine<'a> {
    stack: Vec<Value<'a>>,
    memo: HashMap<i64, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<Storage>,
    tensors: Vec<StoredTensor>,
}

/// Runs a pickle that must end with a dict from names to tensors.
pub(super) fn run(program: &[u8]) -> Result<BTreeMap<String, StoredTensor>, PickleError> {
    let mut input = Input::new(program);
    let mut machine = Machine::default();
    while machine.step(&mut input)? {}
    if !input.is_empty() {
        return Err("has bytes behind its end".into());
    }
    machine.state_dict()
}

impl<'a> Machine<'a> {
    /// Runs one instruction; false after the last. Names and codes: `pickletools` of Python.
    fn step(&mut self, input: &mut Input<'a>) -> Result<bool, PickleError> {
        match input.u8()? {
            // PROTO, FRAME
            0x80 => drop(input.u8()?),
            0x95 => drop(input.bytes(8)?),
            // GLOBAL, STACK_GLOBAL, INST and the extension registry: all ways to name something
            b'c' => {
                let (module, name) = (input.line()?, input.line()?);
                self.stack.push(Value::Global(resolve(module, name)?));
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.stack.push(Value::Global(resolve(module, name)?)),
                _ => return Err(PickleError::Forbidden("a name that is computed".into())),
            },
            b'i' => {
                let (module, name) = (input.line()?, input.line()?);
                return Err(PickleError::Forbidden(format!("{module}.{name}")));
            }
            0x82..=0x84 => return Err(PickleError::Forbidden("Python's extension registry".into())),
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Opaque),
            b'G' => {
                input.bytes(8)?;
                self.stack.push(Value::Opaque);
            }
            // BININT, BININT1, BININT2, LONG1
            b'J' => self.stack.push(Value::Int(input.int(4, true)?)),
            b'K' => self.stack.push(Value::Int(input.int(1, false)?)),
            b'M' => self.stack.push(Value::Int(input.int(2, false)?)),
            0x8a => {
                let n = input.u8()?.into();
                self.stack.push(Value::Int(input.int(n, true)?));
            }
            // SHORT_BINUNICODE, BINUNICODE
            0x8c => self.stack.push(Value::Text(input.text(1)?)),
            b'X' => self.stack.push(Value::Text(input.text(4)?)),
            // MARK, EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b'(' => self.stack.push(Value::Mark),
            b')' => self.push_tuple(Vec::new()),
            n @ 0x85..=0x87 => {
                let start = self.stack.len().checked_sub((n - 0x84).into()).ok_or("pops an empty stack")?;
                let items = self.stack.split_off(start);
                self.push_tuple(items);
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push_tuple(items);
            }
            // EMPTY_LIST, APPENDS: hooks and metadata, which are never looked at
            b']' => self.stack.push(Value::List),
            // APPEND, and BUILD (attributes of the dict, such as the versions of modules)
            b'a' | b'b' => drop(self.pop()?),
            b'e' => drop(self.pop_to_mark()?),
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.push_dict(),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => self.remember(input.int(1, false)?)?,
            b'r' => self.remember(input.int(4, false)?)?,
            0x94 => self.remember(self.memo.len() as i64)?,
            b'h' => self.recall(input.int(1, false)?)?,
            b'j' => self.recall(input.int(4, false)?)?,
            // BINPERSID, REDUCE, STOP
            b'Q' => self.load_storage()?,
            b'R' => self.call()?,
            b'.' => return Ok(false),
            other => return Err(format!("has instruction 0x{other:02x}, which a state dict does not need").into()),
        }
        Ok(true)
    }

    fn pop(&mut self) -> Result<Value<'a>, PickleError> {
        self.stack.pop().ok_or_else(|| "pops an empty stack".into())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, PickleError> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark)).ok_or("lacks a mark")?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn push_tuple(&mut self, items: Vec<Value<'a>>) {
        self.tuples.push(items);
        self.stack.push(Value::Tuple(self.tuples.len() - 1));
    }

    fn push_dict(&mut self) {
        self.dicts.push(Vec::new());
        self.stack.push(Value::Dict(self.dicts.len() - 1));
    }

    fn remember(&mut self, slot: i64) -> Result<(), PickleError> {
        let value = *self.stack.last().ok_or("remembers the top of an empty stack")?;
        self.memo.insert(slot, value);
        Ok(())
    }

    fn recall(&mut self, slot: i64) -> Result<(), PickleError> {
        let value = *self.memo.get(&slot).ok_or("recalls what was never remembered")?;
        self.stack.push(value);
        Ok(())
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Result<(), PickleError> {
        let Some(Value::Dict(dict)) = self.stack.last() else {
            return Err("sets items of something that is not a dict".into());
        };
        let (pairs, rest) = items.as_chunks();
        if !rest.is_empty() {
            return Err("sets a key without a value".into());
        }
        self.dicts[*dict].extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    /// Persistent ids are `("storage", type, key, device, elements)`.
    fn load_storage(&mut self) -> Result<(), PickleError> {
        let id = self.pop()?;
        match self.items(id) {
            [
                Value::Text("storage"),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                _,
                Value::Int(elements),
            ] => {
                let storage = Storage { dtype: *dtype, key: (*key).to_string(), elements: to_size(*elements)? };
                self.storages.push(storage);
                self.stack.push(Value::Storage(self.storages.len() - 1));
                Ok(())
            }
            _ => Err("refers to something that is not a storage".into()),
        }
    }

    fn call(&mut self) -> Result<(), PickleError> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        match (callable, self.items(arguments)) {
            (Value::Global(Global::OrderedDict), []) => self.push_dict(),
            (
                Value::Global(Global::RebuildTensor),
                &[Value::Storage(storage), Value::Int(offset), shape, stride, ..],
            ) => {
                let tensor = self.tensor(storage, offset, shape, stride)?;
                self.tensors.push(tensor);
                self.stack.push(Value::Tensor(self.tensors.len() - 1));
            }
            (Value::Global(Global::RebuildParameter), &[tensor @ Value::Tensor(_), ..]) => self.stack.push(tensor),
            _ => return Err("makes a call that a state dict does not need".into()),
        }
        Ok(())
    }

    fn tensor(&self, storage: usize, offset: i64, shape: Value, stride: Value) -> Result<StoredTensor, PickleError> {
        let storage = self.storages[storage].clone();
        let (shape, stride, offset) = (self.sizes(shape)?, self.sizes(stride)?, to_size(offset)?);
        let elements = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        let elements = elements.ok_or("has a tensor of impossible size")?;
        if shape.len() != stride.len() {
            return Err(format!("has a tensor of shape {shape:?} and stride {stride:?}").into());
        }
        let in_order = is_contiguous(&shape, &stride);
        let extent = if in_order { Some(elements) } else { extent(&shape, &stride) };
        let Some(extent) =
            extent.filter(|extent| offset.checked_add(*extent).is_some_and(|end| end <= storage.elements))
        else {
            return Err(format!("has a tensor of shape {shape:?} that storage {} is too small for", storage.key).into());
        };
        if elements > extent {
            // Also what would let a small file become a large tensor.
            let problem = format!("has a tensor of shape {shape:?} and stride {stride:?}, which repeats values");
            return Err(PickleError::Unsupported(problem));
        }
        let stride = (!in_order).then_some(stride);
        Ok(StoredTensor { storage, shape, offset, extent, stride })
    }

    fn sizes(&self, value: Value) -> Result<Vec<usize>, PickleError> {
        let Value::Tuple(_) = value else { return Err("has a shape that is not a tuple".into()) };
        let size = |item: &Value| match item {
            Value::Int(size) => to_size(*size),
            _ => Err("has a shape that is not made of whole numbers".into()),
        };
        self.items(value).iter().map(size).collect()
    }

    /// The items of a tuple; none for any other value.
    fn items(&self, value: Value) -> &[Value<'a>] {
        match value {
            Value::Tuple(index) => &self.tuples[index],
            _ => &[],
        }
    }

    fn state_dict(mut self) -> Result<BTreeMap<String, StoredTensor>, PickleError> {
        let Value::Dict(dict) = self.pop()? else {
            return Err("does not hold a dict of tensors".into());
        };
        let mut tensors = BTreeMap::new();
        for (key, value) in &self.dicts[dict] {
            let (Value::Text(name), Value::Tensor(tensor)) = (key, value) else {
                return Err(format!("holds {key:?}, which is not a named tensor").into());
            };
            if tensors.insert((*name).to_string(), self.tensors[*tensor].clone()).is_some() {
                return Err(format!("holds `{name}` twice").into());
            }
        }
        Ok(tensors)
    }
}

fn to_size(value: i64) -> Result<usize, PickleError> {
    usize::try_from(value).map_err(|_| format!("has the size {value}").into())
}

/// Whether rows are contiguous; the stride of an axis of one entry says nothing.
fn is_contiguous(shape: &[usize], stride: &[usize]) -> bool {
    let mut expected = 1_usize;
    shape.contains(&0)
        || shape.iter().zip(stride).rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected = expected.saturating_mul(*size);
            fits
        })
}

/// Elements from the first value to the last; none if there is no such number. No axis is empty.
fn extent(shape: &[usize], stride: &[usize]) -> Option<usize> {
    let last = |sum: usize, (size, stride): (&usize, &usize)| sum.checked_add((size - 1).checked_mul(*stride)?);
    shape.iter().zip(stride).try_fold(0, last)?.checked_add(1)
}
