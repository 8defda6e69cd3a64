use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use hint::Hint;
use polars::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::inspect::Refused;
use super::{LIMITS, Limits, PATIENCE, json_lines, json_lines_of, walled};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/datasets").join(name)
}

/// The files of a folder with their bytes, by name.
fn files(name: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn written(column: Vec<String>) -> Vec<u8> {
    let mut frame = DataFrame::new(column.len(), vec![Column::new("text".into(), column)]).unwrap();
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
    bytes
}

/// Each of these made the library panic, or ask for gigabytes.
#[test]
fn damaged_files_are_refused_by_name() {
    for (name, _) in files("damaged") {
        let error = json_lines(&folder("damaged").join(&name)).expect_err(&name);
        assert!(error.to_string().contains(&name), "{error}");
        assert_eq!(error.hint().unwrap(), "delete the file and fetch it again");
    }
}

#[test]
fn whole_files_pass() {
    for (name, bytes) in files("own").into_iter().chain(files("world")) {
        json_lines_of(bytes, &LIMITS).unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
    }
}

#[test]
fn what_a_file_asks_for_is_limited_before_it_is_unpacked() {
    let large = |bytes: &[u8], limits: Limits| match json_lines_of(bytes.to_vec(), &limits) {
        Err(Refused::Large(limit)) => limit,
        other => panic!("{other:?}"),
    };
    // 2000 rows that mean one text of 1000 letters: some kilobytes in the file, two million letters as rows.
    let often = written(vec!["a".repeat(1000); 2000]);
    assert!(often.len() < 10_000, "{}", often.len());
    assert_eq!(large(&often, Limits { rows: 1999, ..LIMITS }), "1999 rows");
    assert_eq!(large(&often, Limits { values: 1999, ..LIMITS }), "1999 values");
    assert_eq!(large(&often, Limits { bytes: 100_000, ..LIMITS }), "100000 bytes of text");
    // One long text, packed.
    let long = written(vec!["a".repeat(3_000_000)]);
    assert!(long.len() < 10_000, "{}", long.len());
    assert_eq!(large(&long, Limits { bytes: 100_000, ..LIMITS }), "100000 bytes once unpacked");
    assert_eq!(json_lines_of(often, &LIMITS).unwrap().lines().count(), 2000);
}

/// Numbers that the library would believe: it reserves as many bytes, or elements, at once.
#[test]
fn lengths_that_do_not_fit_are_refused() {
    let refused = |bytes: Vec<u8>| match json_lines_of(bytes, &LIMITS) {
        Err(Refused::Damaged(problem)) => problem,
        other => panic!("{other:?}"),
    };
    let (_, whole) = files("own").remove(0);
    let n = whole.len();
    assert_eq!(refused(whole[..n - 1].to_vec()), "it does not begin and end as Parquet files do");
    assert_eq!(refused(b"PAR1".to_vec()), "it does not begin and end as Parquet files do");
    let mut footer = whole.clone();
    footer[n - 8..n - 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(refused(footer), "its footer is longer than the file");
    // The schema, a list, announces 2^31 - 1 elements.
    let length = u32::from_le_bytes(whole[n - 8..n - 4].try_into().unwrap()) as usize;
    let start = n - 8 - length;
    assert_eq!(whole[start..start + 3], [0x15, 4, 0x19]);
    let mut list = whole[..start + 3].to_vec();
    list.extend([0xfc, 0xff, 0xff, 0xff, 0xff, 0x07]);
    list.extend(&whole[start + 4..n - 8]);
    list.extend((length as u32 + 5).to_le_bytes());
    list.extend(b"PAR1");
    assert!(refused(list).starts_with("in its footer: a list of 2147483647 elements in "));
}

/// A wall for what is not thought of: the panic says nothing by itself and becomes an error.
#[test]
fn a_panic_of_the_reader_is_an_error() {
    let told = |reader: fn() -> Result<(), Refused>| walled(PATIENCE, reader).unwrap_err();
    assert_eq!(told(|| panic!("no")), Refused::Damaged("the reader gave up: no".to_owned()));
    assert_eq!(told(|| panic!("{} times", 3)), Refused::Damaged("the reader gave up: 3 times".to_owned()));
    assert_eq!(told(|| panic::panic_any(3)), Refused::Damaged("the reader gave up: without a word".to_owned()));
    let endless = walled(Duration::from_millis(10), || -> Result<(), Refused> {
        thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    assert_eq!(endless, Err(Refused::Unknown("unpacking it takes more than 0 s".to_owned())));
}

/// Any change of a byte or two, a cut, or a doubled stretch: read or refused, and nothing else.
#[test]
fn changed_files_are_read_or_refused() {
    let rounds = std::env::var("PARQUET_ROUNDS").map_or(60, |rounds| rounds.parse().unwrap());
    let seed = std::env::var("PARQUET_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut read, mut refused, mut told) = (0, 0, 0);
    for (_, bytes) in files("own") {
        for _ in 0..rounds {
            let mut changed = bytes.clone();
            let n = changed.len();
            // Footers and page headers say what is made of the rest: half of the changes are there.
            let place = |random: &mut ChaCha8Rng| {
                if random.random_bool(0.5) { random.random_range(n / 2..n) } else { random.random_range(0..n) }
            };
            for _ in 0..random.random_range(1..=3) {
                let at = place(&mut random);
                match random.random_range(0..6) {
                    0 => changed[at] ^= 1 << random.random_range(0..8),
                    1 => changed[at] = random.random(),
                    2 => changed[at] = 0xff,
                    3 => changed[at] = changed[at].wrapping_add(1),
                    4 => changed[at] = changed[place(&mut random)],
                    _ => {
                        for byte in &mut changed[at..(at + 4).min(n)] {
                            *byte = 0xff;
                        }
                    }
                }
            }
            if random.random_bool(0.05) {
                changed.drain(8..place(&mut random).max(9));
            }
            match json_lines_of(changed, &LIMITS) {
                Ok(_) => read += 1,
                Err(Refused::Damaged(problem)) if problem.starts_with("the reader gave up") => told += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 0 && refused > told, "{read} read, {refused} refused, {told} behind the wall");
}
