//! The bytes of a pickle, read without ever running past their end.

use super::error::PickleError;

pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], PickleError> {
        let (bytes, rest) = self.rest.split_at_checked(n).ok_or("ends in the middle of an instruction")?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, PickleError> {
        Ok(self.bytes(1)?[0])
    }

    /// A little-endian number of `n` bytes, up to eight, with or without sign.
    pub(super) fn int(&mut self, n: usize, signed: bool) -> Result<i64, PickleError> {
        let bytes = self.bytes(n)?;
        let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide.get_mut(..n).ok_or("holds a number of more than eight bytes")?.copy_from_slice(bytes);
        Ok(i64::from_le_bytes(wide))
    }

    /// A length of `n` bytes, then as many bytes of UTF-8.
    pub(super) fn text(&mut self, n: usize) -> Result<&'a str, PickleError> {
        let length = usize::try_from(self.int(n, false)?).map_err(|_| "announces a text of negative length")?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| "holds a text that is not UTF-8".into())
    }

    /// Text up to the end of the line.
    pub(super) fn line(&mut self) -> Result<&'a str, PickleError> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or("ends in the middle of a name")?;
        let line = self.bytes(end)?;
        self.bytes(1)?;
        std::str::from_utf8(line).map_err(|_| "holds a name that is not UTF-8".into())
    }
}
