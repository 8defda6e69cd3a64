//! What lm-evaluation-harness asks, document by document: contexts, continuations, right answers and what metrics divide by.

use std::fs;
use std::path::Path;

use evaluation::tasks::{Data, Document, Source, Split, TextRequest, benchmarks, documents};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One task of the harness.
#[derive(Deserialize)]
struct Stored {
    task: String,
    metrics: Vec<String>,
    /// Documents that the whole task has.
    of: usize,
    /// Digest of the requests and right answers of all of them.
    whole: String,
    /// The first ones.
    documents: Vec<StoredDocument>,
}

#[derive(Debug, Deserialize)]
struct StoredDocument {
    /// Digest of each request.
    requests: Vec<String>,
    gold: Option<u32>,
    /// Length of each choice, where the task reports `acc_norm`.
    characters: Option<Vec<usize>>,
    words: Option<usize>,
    bytes: Option<usize>,
}

fn stored(file: &str) -> Vec<Stored> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(file);
    let text = fs::read_to_string(path).unwrap();
    // The first line says what made the others.
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first eight bytes of SHA-256.
fn short(text: impl AsRef<[u8]>) -> String {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(text)[..8]);
    format!("{:016x}", u64::from_be_bytes(first))
}

/// As `make_requests.py` has it.
fn digest(request: &TextRequest) -> String {
    short(format!("{}\u{1f}{}", request.context, request.continuation))
}

/// Digest of all documents, one a line.
fn whole(documents: &[Document]) -> String {
    let line = |document: &Document| {
        let gold = document.gold.map_or("None".to_owned(), |gold| gold.to_string());
        let requests: Vec<String> = document.requests.iter().map(digest).collect();
        format!("{} {gold} \n", requests.join(" "))
    };
    short(documents.iter().map(line).collect::<Vec<_>>().concat())
}

fn compare(place: &str, got: &Document, want: &StoredDocument) {
    let digests: Vec<String> = got.requests.iter().map(digest).collect();
    assert_eq!(digests, want.requests, "{place}: requests");
    assert_eq!(got.gold, want.gold, "{place}: right answer");
    if let Some(characters) = &want.characters {
        let got: Vec<usize> = got.requests.iter().map(|request| request.characters).collect();
        assert_eq!(&got, characters, "{place}: lengths of the choices");
    }
    if let (Some(words), Some(bytes)) = (want.words, want.bytes) {
        assert_eq!((got.facts.words, got.facts.bytes), (words, bytes), "{place}: words and bytes");
    }
}

fn agrees(file: &str, tasks: usize, data: Data) {
    let source = Source { data, ..Source::default() };
    let stored = stored(file);
    assert_eq!(stored.len(), tasks, "tasks");
    for task in stored {
        let all = documents(&task.task, &source, Split::All, None).unwrap();
        assert_eq!(all.len(), task.of, "{}: documents", task.task);
        assert_eq!(task.documents.len(), task.of.min(200), "{}: documents listed", task.task);
        for (index, (got, want)) in all.iter().zip(&task.documents).enumerate() {
            compare(&format!("{} {index}", task.task), got, want);
        }
        assert_eq!(whole(&all), task.whole, "{}: a document behind the first {}", task.task, task.documents.len());
        let benchmark = benchmarks().iter().find(|benchmark| benchmark.name == task.task).unwrap();
        let own: Vec<&str> = benchmark.measures.iter().map(|measure| measure.name()).collect();
        for metric in task.metrics {
            assert!(own.contains(&metric.as_str()), "{}: no {metric} among {own:?}", task.task);
        }
    }
}

/// Rows written for this test, which every branch of the preprocessing meets.
#[test]
fn own_rows_are_asked_as_the_harness_asks_them() {
    agrees("own_requests.jsonl", 11, Data::Folder(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/rows")));
}

#[test]
#[ignore = "needs the benchmark files"]
fn benchmarks_are_asked_as_the_harness_asks_them() {
    let data = std::env::var("SWEEP_DATA_DIR").expect("SWEEP_DATA_DIR names the folder with the benchmarks' files");
    agrees("requests.jsonl", 7, Data::Folder(data.into()));
}
