//! Thrift's compact protocol, as far as footers and page headers of Parquet need it: every length is compared with what is there
//! before anything is made of it.

/// What is wrong with some bytes.
pub(super) type Problem = String;

/// Structs in structs; a page header has three, a footer five.
const DEEPEST: usize = 16;

/// Bytes that are read from the front.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Kind of a value, as it stands before a field or a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A truth value; as a field, its value is part of the kind.
    Bool,
    /// A signed byte.
    I8,
    /// A whole number of 16, 32 or 64 bits.
    Whole,
    /// A number of 8 bytes.
    Double,
    /// Bytes or text.
    Binary,
    /// A list or a set.
    List,
    /// A map.
    Map,
    /// A struct.
    Struct,
    /// 16 bytes.
    Uuid,
}

impl Kind {
    fn of(nibble: u8) -> Result<Self, Problem> {
        Ok(match nibble {
            1 | 2 => Self::Bool,
            3 => Self::I8,
            4..=6 => Self::Whole,
            7 => Self::Double,
            8 => Self::Binary,
            9 | 10 => Self::List,
            11 => Self::Map,
            12 => Self::Struct,
            13 => Self::Uuid,
            other => return Err(format!("a field of the unknown kind {other}")),
        })
    }
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Problem> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..n).ok_or_else(|| format!("{n} bytes are announced and {} are there", rest.len()))?;
        self.at += n;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn varint(&mut self) -> Result<u64, Problem> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number of more than 64 bits".to_owned())
    }

    /// A whole number.
    pub(super) fn whole(&mut self) -> Result<i64, Problem> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Bytes or text.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Problem> {
        let length = self.varint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The head of a list: kind and number of its elements, of which each has a byte at least.
    pub(super) fn list(&mut self) -> Result<(Kind, usize), Problem> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        let left = self.bytes.len() - self.at;
        if count > left as u64 {
            return Err(format!("a list of {count} elements in {left} bytes"));
        }
        Ok((Kind::of(head & 15)?, count as usize))
    }

    /// A list of structs.
    pub(super) fn structs(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Problem>) -> Result<(), Problem> {
        let (kind, count) = self.list()?;
        if count > 0 && kind != Kind::Struct {
            return Err("a list of other values than structs".to_owned());
        }
        (0..count).try_for_each(|_| element(self))
    }

    /// The fields of a struct: `field` is called with the number and the kind of each and reads its value, or says that it did not.
    pub(super) fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, i64, Kind) -> Result<bool, Problem>,
    ) -> Result<(), Problem> {
        let mut number = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            number = if head >> 4 == 0 { self.whole()? } else { number + i64::from(head >> 4) };
            let kind = Kind::of(head & 15)?;
            // The value of a truth value stands in its head.
            if !field(self, number, kind)? && kind != Kind::Bool {
                self.skip(kind, DEEPEST)?;
            }
        }
    }

    fn skip(&mut self, kind: Kind, depth: usize) -> Result<(), Problem> {
        let Some(depth) = depth.checked_sub(1) else { return Err("structs are nested too deeply".to_owned()) };
        match kind {
            Kind::Bool | Kind::I8 => self.take(1).map(|_| ()),
            Kind::Whole => self.varint().map(|_| ()),
            Kind::Double => self.take(8).map(|_| ()),
            Kind::Uuid => self.take(16).map(|_| ()),
            Kind::Binary => self.binary().map(|_| ()),
            Kind::List => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip(kind, depth))
            }
            Kind::Map => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                let (key, value) = (Kind::of(kinds >> 4)?, Kind::of(kinds & 15)?);
                (0..count).try_for_each(|_| {
                    self.skip(key, depth)?;
                    self.skip(value, depth)
                })
            }
            Kind::Struct => self.fields_at(depth),
        }
    }

    fn fields_at(&mut self, depth: usize) -> Result<(), Problem> {
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            if head >> 4 == 0 {
                self.whole()?;
            }
            let kind = Kind::of(head & 15)?;
            if kind != Kind::Bool {
                self.skip(kind, depth)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_others_passed_over() {
        // 1: i32 -3, 2: true, 4: [struct {1: "ab"}], 20: map of nothing.
        let bytes = [0x15, 5, 0x11, 0x29, 0x1c, 0x18, 2, b'a', b'b', 0, 0x0b, 40, 0, 0];
        let mut input = Input::new(&bytes);
        let mut seen = Vec::new();
        let read = input.fields(|input, number, kind| {
            seen.push((number, kind));
            if number == 1 {
                assert_eq!(input.whole()?, -3);
            }
            Ok(number == 1)
        });
        read.unwrap();
        assert_eq!(seen, [(1, Kind::Whole), (2, Kind::Bool), (4, Kind::List), (20, Kind::Map)]);
        assert_eq!(input.position(), bytes.len());
    }

    #[test]
    fn lengths_beyond_the_bytes_are_refused() {
        let problem = |bytes: &[u8]| Input::new(bytes).fields(|_, _, _| Ok(false)).unwrap_err();
        assert_eq!(problem(&[0x18, 0xff, 0xff, 0xff, 0xff, 0x0f]), "4294967295 bytes are announced and 0 are there");
        assert_eq!(problem(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 7]), "a list of 2147483647 elements in 0 bytes");
        assert_eq!(problem(&[0x15]), "1 bytes are announced and 0 are there");
        assert_eq!(problem(&[0x1f]), "a field of the unknown kind 15");
        assert_eq!(
            problem(&[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            "a number of more than 64 bits"
        );
        assert_eq!(problem(&[0x1c; 64]), "structs are nested too deeply");
    }
}
