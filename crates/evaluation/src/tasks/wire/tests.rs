use hint::Hint;
use insta::assert_snapshot;

use super::{TaskKind, item};
use crate::tokenizer::Tokenizer;

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(ssm_model::catalog::builtins()[0].tokenizer_json).unwrap()
}

fn refusal(kind: TaskKind, line: &str) -> String {
    let error = item("task", 3, line, kind, &tokenizer()).unwrap_err();
    assert!(error.hint().is_some());
    error.to_string()
}

#[test]
fn lines_that_are_no_items() {
    let choice = |line| refusal(TaskKind::MultipleChoice, line);
    assert_snapshot!(choice("{"), @"task.jsonl:3: EOF while parsing an object at line 1 column 1");
    assert_snapshot!(choice(r#"{"context": "A"}"#), @"task.jsonl:3: missing field `id` at line 1 column 16");
    assert_snapshot!(choice(r#"{"id": "a", "contxt": "A"}"#), @"task.jsonl:3: unknown field `contxt`, expected one of `id`, `context`, `choices`, `contexts`, `options`, `target`, `gold`, `scored`, `necessary`, `necessary_by_option`, `text`, `recalls`, `necessary_by_query`, `kind`, `fact`, `pairs`, `length`, `depth` at line 1 column 20");
    assert_snapshot!(choice(r#"{"id": "a", "context": "A", "target": " pet"}"#), @"task.jsonl:3: an item of this task has `context`, `choices` and `gold`, or `contexts`, `target` and `gold`");
    assert_snapshot!(choice(r#"{"id": "a", "context": "A", "necessary": [], "choices": [" pet", " job"]}"#), @"task.jsonl:3: missing field `gold`");
    assert_snapshot!(choice(r#"{"id": "a", "context": "A", "necessary": [], "choices": [" pet", " job"], "gold": 2}"#), @"task.jsonl:3: `gold` is 2, but there are 2 choices");
    assert_snapshot!(choice(r#"{"id": "a", "context": "A", "necessary": [], "choices": [" pet"], "gold": 0}"#), @"task.jsonl:3: an item to choose from has 1 choices, expected two or more");
    assert_snapshot!(choice(r#"{"id": "a", "context": "A", "necessary": [], "choices": [" ", " job"], "gold": 0}"#), @"task.jsonl:3: `choices` has an empty text");
    assert_snapshot!(choice(r#"{"id": "a", "context": "", "necessary": [], "choices": [" pet", " job"], "gold": 0}"#), @"task.jsonl:3: `context` has an empty text");
    assert_snapshot!(choice(r#"{"id": "a", "context": "A", "choices": [" pet", " job"], "gold": 0}"#), @"task.jsonl:3: missing field `necessary`");
    let two = r#"{"id": "a", "contexts": ["A", "The"], "target": " pet", "necessary_by_option": [[]], "gold": 0}"#;
    assert_snapshot!(choice(two), @"task.jsonl:3: `contexts`, `options` and `necessary_by_option` differ in length");

    let target = |line| refusal(TaskKind::Target, line);
    assert_snapshot!(target(r#"{"id": "a", "context": "A", "necessary": [], "choices": [" pet", " job"], "gold": 0}"#), @"task.jsonl:3: an item of this task has `context` and `target`");
    assert_snapshot!(target(r#"{"id": "a", "context": "The pet", "necessary": [[4, 6]], "target": " job"}"#), @"task.jsonl:3: `necessary` has (4, 6), which is not exactly one token");
    assert_snapshot!(target(r#"{"id": "a", "context": "The pet", "necessary": [[0, 7]], "target": " job"}"#), @"task.jsonl:3: `necessary` has (0, 7), which is not exactly one token");
    assert_snapshot!(target(r#"{"id": "a", "context": "A", "necessary": [], "target": " job", "scored": [[0, 4]]}"#), @"task.jsonl:3: `scored` has (0, 4), which is not exactly one token");
    assert_snapshot!(target(r#"{"id": "a", "context": "A", "necessary": [], "target": " job", "scored": []}"#), @"task.jsonl:3: `scored` names no token");
    assert_snapshot!(target(r#"{"id": "a", "context": "A", "necessary": [], "target": " job", "gold": 0}"#), @"task.jsonl:3: `gold` has no meaning here");

    let text = |line| refusal(TaskKind::RunningText, line);
    assert_snapshot!(text(r#"{"id": "a", "text": "The", "recalls": []}"#), @"task.jsonl:3: `text` has fewer than two tokens");
    assert_snapshot!(text(r#"{"id": "a", "text": "The pet"}"#), @"task.jsonl:3: missing field `recalls`");
    assert_snapshot!(text(r#"{"id": "a", "text": "The pet", "recalls": [], "necessary": []}"#), @"task.jsonl:3: `necessary` has no meaning here");
}

/// It would be scored as any other unknown word.
#[test]
fn a_word_that_the_tokenizer_does_not_know_is_refused() {
    let line = r#"{"id": "a", "context": "The bryozoan", "necessary": [], "target": " job"}"#;
    assert_snapshot!(refusal(TaskKind::Target, line), @"task.jsonl:3: the tokenizer does not know `bryozoan`");
}

#[test]
fn spans_count_characters_and_not_bytes() {
    // A space of three bytes.
    let line = r#"{"id": "a", "context": "A\u2003pet", "necessary": [[2, 5]], "target": " job"}"#;
    let item = item("task", 1, line, TaskKind::Target, &tokenizer()).unwrap();
    assert_eq!(item.contexts[0].necessary, [1]);
    assert_eq!(item.requests[0].characters, 3);
}
