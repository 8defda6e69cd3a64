//! The benchmarks in the tokens of GPT-NeoX, against what lm-evaluation-harness and the tokenizers library make of the same files.
//!
//! Needs the benchmark files: `SWEEP_DATA_DIR=... just test-data`. `make_tokens.py` makes `tokens.json`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use evaluation::tasks::{Data, Item, Prompting, Source, Split, Task, TaskKind, benchmarks, facts, load};
use evaluation::tokenizer::Tokenizer;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn source() -> Source {
    let folder = std::env::var_os("SWEEP_DATA_DIR").expect("SWEEP_DATA_DIR names the folder of the benchmark files");
    Source { data: Data::Folder(folder.into()), prompting: Prompting::default() }
}

fn tokenizer(source: &Source) -> Tokenizer {
    let path = source.data.folder().unwrap().join("neox-tokenizer/20B_tokenizer.json");
    Tokenizer::from_json(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn whole(name: &str) -> Task {
    let source = source();
    load(name, &source, &tokenizer(&source), Split::All, None).unwrap()
}

/// Context and continuation of every request of an item, windows of running text among them.
fn requests(kind: TaskKind, item: &Item) -> Vec<(&[u32], &[u32])> {
    if kind == TaskKind::RunningText {
        let windows = item.contexts.iter().enumerate();
        return windows.map(|(index, context)| context.tokens.split_at(item.scored_from(index))).collect();
    }
    let pairs = item.requests.iter();
    pairs.map(|request| (&item.contexts[request.context].tokens[..], &request.continuation[..])).collect()
}

fn hex(hash: Sha256) -> String {
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[test]
#[ignore = "needs the benchmark files"]
fn ids_of_all_requests_are_those_of_the_harness() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/benchmark_tokens/tokens.json");
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (name, expected) in expected["tasks"].as_object().unwrap() {
        let task = whole(name);
        let (mut hash, mut counts) = (Sha256::new(), Sha256::new());
        let mut n = 0;
        for item in &task.items {
            for (context, continuation) in requests(task.kind, item) {
                n += 1;
                for ids in [context, continuation] {
                    hash.update((ids.len() as u32).to_le_bytes());
                    for id in ids {
                        hash.update(id.to_le_bytes());
                    }
                }
            }
            counts.update((item.facts.words as u32).to_le_bytes());
            counts.update((item.facts.bytes as u32).to_le_bytes());
        }
        assert_eq!(expected["documents"], task.items.len(), "{name}");
        assert_eq!(expected["requests"], n, "{name}");
        assert_eq!(expected["sha256"], hex(hash), "{name}");
        if let Some(expected) = expected.get("words_and_bytes") {
            assert_eq!(*expected, hex(counts), "{name}");
        }
    }
}

#[test]
#[ignore = "needs the benchmark files"]
fn choices_share_a_context_and_ids_are_unique() {
    for benchmark in benchmarks() {
        let task = whole(benchmark.name);
        let facts = facts(benchmark.name, &source()).unwrap();
        assert_eq!(facts.items_in(Split::All), task.items.len(), "{}", task.name);
        let ids: BTreeSet<&str> = task.items.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(ids.len(), task.items.len(), "{}", task.name);
        assert_eq!(task.truncated, 0, "{}", task.name);
        if task.kind != TaskKind::RunningText && task.name != "winogrande" {
            assert!(task.items.iter().all(|item| item.contexts.len() == 1), "{}", task.name);
        }
        if facts.mean_context_tokens > 0.0 {
            let contexts = task.items.iter().flat_map(|item| &item.contexts);
            let items = task.items.len() as f64;
            let tokens: usize = contexts.map(|context| context.tokens.len()).sum();
            let per_item = tokens as f64 / items / if task.name == "winogrande" { 2.0 } else { 1.0 };
            let ratio = per_item / facts.mean_context_tokens;
            assert!((0.8..1.25).contains(&ratio), "{}: the estimate is off by {ratio}", task.name);
        }
    }
}

/// Long-document items are as long as they say, and what the answer needs is where they say.
#[test]
#[ignore = "needs the benchmark files"]
fn long_documents_have_their_length_and_depth() {
    let source = source();
    let tokenizer = tokenizer(&source);
    for name in ["longdocs_ppl", "longdocs_passkey", "longdocs_needle"] {
        for item in whole(name).items {
            let length = item.facts.length.unwrap() as usize;
            let context = &item.contexts[0];
            let longest = item.requests.iter().map(|request| request.continuation.len()).max().unwrap_or(0);
            let total = context.tokens.len() + longest;
            assert!(total <= length && total + length / 10 + 60 >= length, "{}: {total} tokens", item.id);
            let Some(depth) = item.facts.depth else { continue };
            assert!(context.necessary.is_sorted_by(|a, b| a < b), "{}", item.id);
            let place = f64::from(context.necessary[0]) / context.tokens.len() as f64;
            assert!((place - depth).abs() < 0.12, "{}: at {place}", item.id);
            // The words that are marked are those of the answer.
            let necessary: Vec<u32> = context.necessary.iter().map(|at| context.tokens[*at as usize]).collect();
            let text = tokenizer.token_texts(&necessary);
            let gold = &item.requests[item.gold.unwrap_or(0) as usize].continuation;
            let gold: String = tokenizer.token_texts(gold).concat();
            assert!(text.concat().contains(gold.trim_start()), "{}: {text:?} and {gold}", item.id);
        }
    }
}
