//! What a Parquet file says of itself, compared with its bytes before anything is unpacked.
//!
//! The library that unpacks believes what stands in footers and page headers: it reserves as much memory as they announce, and a
//! damaged one makes it panic. So footer and all page headers are read here first. What passes has lengths that fit into the file, page
//! by page, and asks for a bounded amount of memory.

use super::Limits;
use super::thrift::{Input, Kind, Problem};

/// At both ends of a file.
const MAGIC: &[u8] = b"PAR1";
/// The length of the footer and the mark behind it.
const TAIL: usize = 8;
/// Bytes of a footer; those of the hub's benchmarks have some thousand.
const LONGEST_FOOTER: usize = 4 << 20;
/// Where Arrow's own schema stands in a footer.
const ARROW_SCHEMA: &[u8] = b"ARROW:schema";
/// Bytes of that schema, which is read as nested tables.
const LONGEST_SCHEMA: usize = 64 << 10;
/// Columns and the groups that they are in.
const MOST_ELEMENTS: usize = 1024;
/// Lists and structs in each other.
const DEEPEST: usize = 16;

/// Encodings whose values have their length from the page or the dictionary. Others make more of a page than stands in it.
const PLAIN: i64 = 0;
const ENCODINGS: [i64; 5] = [PLAIN, 2, 3, 4, 8];
/// None, snappy, gzip, brotli, zstd, LZ4.
const CODECS: [i64; 6] = [0, 1, 2, 4, 6, 7];

const DATA_PAGE: i64 = 0;
const DICTIONARY_PAGE: i64 = 2;
const DATA_PAGE_V2: i64 = 3;

/// Why a file is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It contradicts itself.
    Damaged(Problem),
    /// It is whole as far as was looked, and asks for more than is given.
    Large(String),
    /// It is whole as far as was looked, and made in a way that is not read.
    Unknown(String),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Damaged(problem)
    }
}

#[derive(Default)]
struct Footer {
    rows: Option<i64>,
    /// Children of each element of the schema, depth first.
    schema: Vec<i64>,
    groups: Vec<Group>,
    arrow_schema: usize,
}

#[derive(Default)]
struct Group {
    rows: Option<i64>,
    chunks: Vec<Chunk>,
}

#[derive(Default)]
struct Chunk {
    codec: Option<i64>,
    encodings: Vec<i64>,
    values: Option<i64>,
    packed: Option<i64>,
    data: Option<i64>,
    dictionary: Option<i64>,
}

#[derive(Default)]
struct Page {
    kind: Option<i64>,
    unpacked: Option<i64>,
    packed: Option<i64>,
    /// From the header of its kind.
    values: Option<i64>,
    encoding: Option<i64>,
}

/// Compares a whole file with what it says of itself.
pub(super) fn inspect(bytes: &[u8], limits: &Limits) -> Result<(), Refused> {
    let damaged = |problem: &str| Refused::Damaged(problem.to_owned());
    if bytes.len() < MAGIC.len() + TAIL || !bytes.starts_with(MAGIC) || !bytes.ends_with(MAGIC) {
        return Err(damaged("it does not begin and end as Parquet files do"));
    }
    let tail = bytes.len() - TAIL;
    let length = u32::from_le_bytes([bytes[tail], bytes[tail + 1], bytes[tail + 2], bytes[tail + 3]]) as usize;
    let start = tail.checked_sub(length).filter(|start| *start >= MAGIC.len());
    let start = start.ok_or_else(|| damaged("its footer is longer than the file"))?;
    if length > LONGEST_FOOTER {
        return Err(Refused::Large(format!("a footer of {LONGEST_FOOTER} bytes")));
    }
    let footer = footer(&bytes[start..tail]).map_err(|problem| format!("in its footer: {problem}"))?;
    check_schema(&footer)?;
    let leaves = footer.schema.iter().filter(|children| **children == 0).count();
    let mut spent = Spent { rows: 0, values: 0, bytes: 0, limits };
    for (index, group) in footer.groups.iter().enumerate() {
        let rows = whole(group.rows, "the number of rows of a group")?;
        Spent::add(&mut spent.rows, rows, limits.rows, "rows")?;
        if group.chunks.len() != leaves {
            return Err(Refused::Damaged(format!(
                "row group {index} has {} columns, its schema has {leaves}",
                group.chunks.len()
            )));
        }
        for (column, chunk) in group.chunks.iter().enumerate() {
            let place = |refused| match refused {
                Refused::Damaged(problem) => {
                    Refused::Damaged(format!("in column {column} of row group {index}: {problem}"))
                }
                other => other,
            };
            check_chunk(&bytes[..start], chunk, rows, &mut spent).map_err(place)?;
        }
    }
    if whole(footer.rows, "the number of rows")? != spent.rows {
        return Err(damaged("its row groups have other numbers of rows than its footer"));
    }
    Ok(())
}

/// What was asked for so far.
struct Spent<'a> {
    rows: u64,
    values: u64,
    bytes: u64,
    limits: &'a Limits,
}

impl Spent<'_> {
    fn add(sum: &mut u64, more: u64, limit: u64, what: &str) -> Result<(), Refused> {
        *sum = sum.saturating_add(more);
        if *sum > limit { Err(Refused::Large(format!("{limit} {what}"))) } else { Ok(()) }
    }

    fn values(&mut self, more: u64) -> Result<(), Refused> {
        Self::add(&mut self.values, more, self.limits.values, "values")
    }

    fn bytes(&mut self, more: u64) -> Result<(), Refused> {
        Self::add(&mut self.bytes, more, self.limits.bytes, "bytes once unpacked")
    }
}

/// A number that must be there and not be negative.
fn whole(value: Option<i64>, what: &str) -> Result<u64, Problem> {
    let value = value.ok_or_else(|| format!("{what} is missing"))?;
    u64::try_from(value).map_err(|_| format!("{what} is {value}"))
}

/// A tree with one root that holds all other elements.
fn check_schema(footer: &Footer) -> Result<(), Refused> {
    let damaged = |problem: &str| Refused::Damaged(format!("in its schema: {problem}"));
    if footer.schema.len() > MOST_ELEMENTS {
        return Err(Refused::Large(format!("{MOST_ELEMENTS} columns")));
    }
    if footer.arrow_schema > LONGEST_SCHEMA {
        return Err(Refused::Large(format!("a schema of {LONGEST_SCHEMA} bytes")));
    }
    // Elements that are missing at each depth.
    let mut open: Vec<i64> = vec![1];
    for &children in &footer.schema {
        while open.last() == Some(&0) {
            open.pop();
        }
        *open.last_mut().ok_or_else(|| damaged("it has more than one root"))? -= 1;
        if children > 0 {
            open.push(children);
        }
        if open.len() > DEEPEST {
            return Err(damaged("its columns are nested too deeply"));
        }
    }
    if open.iter().any(|missing| *missing != 0) || footer.schema.first().is_none_or(|children| *children == 0) {
        return Err(damaged("it lacks columns that it announces"));
    }
    Ok(())
}

/// The pages of one column in one row group.
fn check_chunk(data: &[u8], chunk: &Chunk, rows: u64, spent: &mut Spent<'_>) -> Result<(), Refused> {
    let codec = chunk.codec.ok_or_else(|| "its compression is missing".to_owned())?;
    if !CODECS.contains(&codec) {
        return Err(Refused::Unknown(format!("compression {codec} is not read")));
    }
    refuse_encodings(&chunk.encodings)?;
    let values = whole(chunk.values, "its number of values")?;
    spent.values(values)?;
    if values < rows {
        return Err(Refused::Damaged(format!("it has {values} values for {rows} rows")));
    }
    let first = whole(chunk.data, "the place of its pages")?;
    let start = match chunk.dictionary {
        None => first,
        some => whole(some, "the place of its dictionary")?.min(first),
    };
    let length = whole(chunk.packed, "its length")?;
    let end = start.checked_add(length).filter(|end| start >= MAGIC.len() as u64 && *end <= data.len() as u64);
    let end = end.ok_or_else(|| format!("its pages stand at {start} with {length} bytes, beyond the data"))?;
    let mut at = start as usize;
    let mut seen = 0;
    let mut dictionaries = 0;
    while at < end as usize {
        let mut input = Input::new(&data[at..end as usize]);
        let page = page(&mut input).map_err(|problem| format!("in the page at {at}: {problem}"))?;
        let packed = whole(page.packed, "the length of a page")?;
        let unpacked = whole(page.unpacked, "the unpacked length of a page")?;
        at += input.position();
        if packed > end - at as u64 {
            return Err(Refused::Damaged(format!("the page at {at} has {packed} bytes, its column ends before")));
        }
        // What is not packed is read in place.
        spent.bytes(if codec == 0 { packed } else { unpacked })?;
        if codec == 0 && packed != unpacked {
            return Err(Refused::Damaged(format!("the page at {at} is not compressed and has two lengths")));
        }
        at += packed as usize;
        let announced = whole(page.values, "the number of values of a page");
        match page.kind {
            Some(DATA_PAGE | DATA_PAGE_V2) => seen += announced?,
            Some(DICTIONARY_PAGE) => {
                dictionaries += 1;
                let entries = announced?;
                spent.values(entries)?;
                // An entry has a bit at least; one of texts has four bytes.
                if entries > unpacked.saturating_mul(8) {
                    return Err(Refused::Damaged(format!("a dictionary of {entries} entries in {unpacked} bytes")));
                }
            }
            _ => return Err(Refused::Damaged("a page of an unknown kind".to_owned())),
        }
        refuse_encodings(&page.encoding.into_iter().collect::<Vec<_>>())?;
    }
    if seen != values || dictionaries > 1 {
        return Err(Refused::Damaged(format!("its pages hold {seen} values, it announces {values}")));
    }
    Ok(())
}

fn refuse_encodings(encodings: &[i64]) -> Result<(), Refused> {
    match encodings.iter().find(|encoding| !ENCODINGS.contains(encoding)) {
        Some(other) => Err(Refused::Unknown(format!("encoding {other} is not read"))),
        None => Ok(()),
    }
}

/// Reads a whole number where `kind` is one.
fn number(input: &mut Input<'_>, kind: Kind, into: &mut Option<i64>) -> Result<bool, Problem> {
    if kind != Kind::Whole {
        return Err("a field that should be a whole number is none".to_owned());
    }
    *into = Some(input.whole()?);
    Ok(true)
}

fn expect(kind: Kind, expected: Kind) -> Result<(), Problem> {
    if kind == expected { Ok(()) } else { Err(format!("a field is a {kind:?} and should be a {expected:?}")) }
}

fn footer(bytes: &[u8]) -> Result<Footer, Problem> {
    let mut footer = Footer::default();
    let mut input = Input::new(bytes);
    input.fields(|input, field, kind| match field {
        2 => {
            expect(kind, Kind::List)?;
            input.structs(|input| {
                let mut children = None;
                let read = input.fields(|input, field, kind| match field {
                    5 => number(input, kind, &mut children),
                    _ => Ok(false),
                });
                footer.schema.push(children.unwrap_or(0));
                read
            })?;
            Ok(true)
        }
        3 => number(input, kind, &mut footer.rows),
        4 => {
            expect(kind, Kind::List)?;
            input.structs(|input| {
                footer.groups.push(group(input)?);
                Ok(())
            })?;
            Ok(true)
        }
        5 => {
            expect(kind, Kind::List)?;
            input.structs(|input| {
                let (mut key, mut value) = (&[][..], &[][..]);
                input.fields(|input, field, kind| {
                    let into = match field {
                        1 => &mut key,
                        2 => &mut value,
                        _ => return Ok(false),
                    };
                    expect(kind, Kind::Binary)?;
                    *into = input.binary()?;
                    Ok(true)
                })?;
                if key == ARROW_SCHEMA {
                    footer.arrow_schema = footer.arrow_schema.max(value.len());
                }
                Ok(())
            })?;
            Ok(true)
        }
        _ => Ok(false),
    })?;
    if footer.schema.iter().any(|children| *children < 0) {
        return Err("a column has a negative number of parts".to_owned());
    }
    Ok(footer)
}

fn group(input: &mut Input<'_>) -> Result<Group, Problem> {
    let mut group = Group::default();
    input.fields(|input, field, kind| match field {
        1 => {
            expect(kind, Kind::List)?;
            input.structs(|input| {
                let mut found = None;
                input.fields(|input, field, kind| match field {
                    1 => Err("it keeps a column in another file".to_owned()),
                    3 => {
                        expect(kind, Kind::Struct)?;
                        found = Some(chunk(input)?);
                        Ok(true)
                    }
                    _ => Ok(false),
                })?;
                group.chunks.push(found.ok_or_else(|| "a column lacks its description".to_owned())?);
                Ok(())
            })?;
            Ok(true)
        }
        3 => number(input, kind, &mut group.rows),
        _ => Ok(false),
    })?;
    Ok(group)
}

fn chunk(input: &mut Input<'_>) -> Result<Chunk, Problem> {
    let mut chunk = Chunk::default();
    input.fields(|input, field, kind| match field {
        2 => {
            expect(kind, Kind::List)?;
            let (kind, count) = input.list()?;
            for _ in 0..count {
                let mut encoding = None;
                number(input, kind, &mut encoding)?;
                chunk.encodings.extend(encoding);
            }
            Ok(true)
        }
        4 => number(input, kind, &mut chunk.codec),
        5 => number(input, kind, &mut chunk.values),
        7 => number(input, kind, &mut chunk.packed),
        9 => number(input, kind, &mut chunk.data),
        11 => number(input, kind, &mut chunk.dictionary),
        _ => Ok(false),
    })?;
    Ok(chunk)
}

fn page(input: &mut Input<'_>) -> Result<Page, Problem> {
    let mut page = Page::default();
    let (mut data, mut dictionary, mut second) = (Head::default(), Head::default(), Head::default());
    input.fields(|input, field, kind| match field {
        1 => number(input, kind, &mut page.kind),
        2 => number(input, kind, &mut page.unpacked),
        3 => number(input, kind, &mut page.packed),
        5 => data.read(input, kind, 2),
        7 => dictionary.read(input, kind, 2),
        8 => second.read(input, kind, 4),
        _ => Ok(false),
    })?;
    let head = match page.kind {
        Some(DATA_PAGE) => data,
        Some(DICTIONARY_PAGE) => dictionary,
        Some(DATA_PAGE_V2) => second,
        _ => Head::default(),
    };
    Ok(Page { values: head.values, encoding: head.encoding, ..page })
}

/// What the header of one kind of page says.
#[derive(Default)]
struct Head {
    values: Option<i64>,
    encoding: Option<i64>,
}

impl Head {
    fn read(&mut self, input: &mut Input<'_>, kind: Kind, encoding: i64) -> Result<bool, Problem> {
        expect(kind, Kind::Struct)?;
        input.fields(|input, field, kind| match field {
            1 => number(input, kind, &mut self.values),
            _ if field == encoding => number(input, kind, &mut self.encoding),
            _ => Ok(false),
        })?;
        Ok(true)
    }
}
