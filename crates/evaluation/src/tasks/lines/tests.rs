use hint::Hint;

use super::{Author, Place, encode, read};
use crate::tasks::reference::Cut;
use crate::tasks::{Item, TaskError, TaskKind};
use crate::tokenizer::Tokenizer;

const PLACE: Place<'_> = Place { file: "task.jsonl", line: 3 };

/// One token a word.
fn words() -> Tokenizer {
    Tokenizer::from_json(ssm_model::catalog::builtins()[0].tokenizer_json).unwrap()
}

/// Pieces of words.
fn pieces() -> Tokenizer {
    let file = ssm_model::shipped::path("mamba2-books/tokenizer.json").unwrap();
    Tokenizer::from_json(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn encoded(line: &str, tokenizer: &Tokenizer, cut: Option<Cut>) -> Result<Item, TaskError> {
    read(PLACE, Author::User, line).and_then(|(_, item)| encode(PLACE, &item, tokenizer, cut))
}

fn refusal(line: &str) -> String {
    let error = encoded(line, &pieces(), None).unwrap_err();
    assert!(error.hint().is_some());
    error.to_string()
}

#[test]
fn lines_that_are_no_items_are_refused_by_line_and_field() {
    let forms = "an item has `context` and `target`, or `context`, `choices` and `gold`, or `contexts`, `target` and `gold`, or `text`";
    for (line, problem) in [
        ("{", "column 1: EOF while parsing an object"),
        ("null", "a line must be an object, `{…}`, not `null`"),
        (r#"["a", "A", " b"]"#, r#"a line must be an object, `{…}`, not `["a", "A", " b"]`"#),
        (r#"{"context": "A", "target": " b"}"#, "missing field `id`"),
        (r#"{"id": "", "context": "A", "target": " b"}"#, "`id` is empty"),
        (r#"{"id": 7, "context": "A", "target": " b"}"#, "`id` must be a text, not 7"),
        (r#"{"id": "a", "id": "b", "context": "A", "target": " b"}"#, "column 16: duplicate field `id`"),
        (r#"{"id": "a", "context": "A"}"#, forms),
        (r#"{"id": "a", "context": "A", "choices": [" b", " c"], "target": " b"}"#, forms),
        (r#"{"id": "a", "target": " b"}"#, "missing field `context`"),
        (r#"{"id": "a", "context": "", "target": " b"}"#, "`context` is empty"),
        (r#"{"id": "a", "context": "A", "target": " "}"#, "`target` is white space only"),
        (r#"{"id": "a", "context": ["A"], "target": " b"}"#, r#"`context` must be a text, not ["A"]"#),
        (r#"{"id": "a", "context": "A", "choices": [" b", " c"]}"#, "missing field `gold`"),
        (r#"{"id": "a", "context": "A", "choices": [" b", ""], "gold": 0}"#, "`choices` has an empty text"),
        (
            r#"{"id": "a", "context": "A", "choices": " b", "gold": 0}"#,
            r#"`choices` must be a list of texts, not " b""#,
        ),
        (
            r#"{"id": "a", "context": "A", "choices": [" b"], "gold": 0}"#,
            "`choices` has one text; two or more are needed",
        ),
        (
            r#"{"id": "a", "context": "A", "choices": [" b", " c"], "gold": 2}"#,
            "`gold` is 2, but `choices` has 2 texts, counted from 0",
        ),
        (
            r#"{"id": "a", "context": "A", "choices": [" b", " c"], "gold": -1}"#,
            "`gold` must be a whole number from 0, not -1",
        ),
        (
            r#"{"id": "a", "context": "A", "choices": [" b", " c"], "gold": "b"}"#,
            r#"`gold` must be a whole number from 0, not "b""#,
        ),
        (
            r#"{"id": "a", "context": "A", "target": " b", "gold": 0}"#,
            "`gold` has no meaning in an item with a `target`",
        ),
        (
            r#"{"id": "a", "context": "A", "target": " b", "scored": []}"#,
            "`scored` is an empty list; leave it out if all of the target counts",
        ),
        (
            r#"{"id": "a", "context": "A", "target": " b", "scored": [[0, 9]]}"#,
            "`scored` has [0, 9], but its text has 2 characters",
        ),
        (
            r#"{"id": "a", "context": "A", "target": " b", "necessary": [[1, 1]]}"#,
            "`necessary` must be a list of spans [start, end) in characters, for example [[0, 4], [10, 16]], not [[1,1]]",
        ),
        (
            r#"{"id": "a", "context": "A  b", "target": " b", "necessary": [[3, 5]]}"#,
            "`necessary` has [3, 5], but its text has 4 characters",
        ),
        (
            r#"{"id": "a", "contexts": ["A", "B"], "target": " c", "necessary_by_option": [[]], "gold": 0}"#,
            "`necessary_by_option` has 1 lists of spans, but `contexts` has 2 texts",
        ),
        (r#"{"id": "a", "text": "A b", "necessary": []}"#, "`necessary` has no meaning in an item of running text"),
        (
            r#"{"id": "a", "text": "A b", "recalls": [[0, 1]], "distances": []}"#,
            "`distances` has 0 numbers, but `recalls` has 1 spans",
        ),
        (r#"{"id": "a", "text": "A"}"#, "`text` has fewer than two tokens: nothing would be scored"),
        (r#"{"id": "a", "context": "A", "target": " b", "depth": 2}"#, "`depth` must be a number from 0 to 1, not 2"),
    ] {
        assert_eq!(refusal(line), format!("task.jsonl:3: {problem}"), "{line}");
    }
    let unknown = refusal(r#"{"id": "a", "contxt": "A", "target": " b"}"#);
    assert!(
        unknown.starts_with("task.jsonl:3: column 20: unknown field `contxt`, expected one of `id`, `context`"),
        "{unknown}"
    );
}

/// serde reads a list as the fields of a struct, one after the other.
#[test]
fn a_list_is_no_item_however_long_it_is() {
    for fields in 0..40 {
        let mut values = vec!["null"; fields];
        if let [id, context, target, ..] = values.as_mut_slice() {
            (*id, *context, *target) = (r#""a""#, r#""A""#, r#"" b""#);
        }
        let refused = refusal(&format!("[{}]", values.join(", ")));
        assert!(refused.starts_with("task.jsonl:3: a line must be an object"), "{refused}");
    }
}

/// What the program's own tasks note of their items is not part of the format.
#[test]
fn notes_are_read_in_tasks_of_the_program_alone() {
    let target = r#"{"id": "a", "context": "A", "target": " b", "NOTE": 1}"#;
    for note in ["kind", "fact", "pairs", "book", "words", "distance", "p", "necessary_by_query", "options"] {
        let line = target.replace("NOTE", note);
        assert!(read(PLACE, Author::Program, &line).is_ok(), "{note}");
        let refused = refusal(&line);
        let begin = format!("task.jsonl:3: column {}: unknown field `{note}`, expected one of ", 46 + note.len());
        let known = "`id`, `context`, `target`, `choices`, `contexts`, `gold`, `text`, `scored`, `necessary`, \
                     `necessary_by_option`, `recalls`, `distances`, `length`, `depth`, `meta`";
        assert_eq!(refused, format!("{begin}{known}"));
    }
    for (field, value) in [("context", r#""A""#), ("necessary", "[[0, 1]]")] {
        let line = format!(r#"{{"id": "a", "contexts": ["A", "B"], "target": " c", "gold": 0, "{field}": {value}}}"#);
        assert!(read(PLACE, Author::Program, &line).is_ok());
        let refused = format!("task.jsonl:3: `{field}` has no meaning in an item with `contexts`");
        assert_eq!(refusal(&line), refused);
    }
}

/// The page on the format does not help there.
#[test]
fn what_the_tokens_of_a_line_lack_has_a_hint_of_its_own() {
    for (line, hint) in [
        (r#"{"id": "a", "text": "A"}"#, "write a longer text"),
        (r#"{"id": "a", "context": "A b  ", "target": "c", "necessary": [[4, 5]]}"#, "end the span before it"),
    ] {
        let error = encoded(line, &pieces(), None).unwrap_err();
        assert!(error.hint().unwrap().ends_with(hint), "{error}: {:?}", error.hint());
    }
    let error = encoded(r#"{"id": "a", "context": "unbeliev", "target": "able"}"#, &pieces(), None);
    if let Err(error) = error {
        assert!(error.hint().unwrap().contains("begin the target"), "{error}");
    }
    let text = r#"{"id": "a", "text": "The old man smiled at the gate."}"#;
    let cut = Cut { context: 100, start: 100, continuation: 10 };
    let error = encoded(text, &pieces(), Some(cut)).unwrap_err();
    assert!(error.hint().unwrap().starts_with("ask for shorter contexts"), "{error}");
}

/// It would be scored as any other unknown word.
#[test]
fn a_word_that_the_tokenizer_does_not_know_is_refused() {
    let line = r#"{"id": "a", "context": "The bryozoan", "target": " job"}"#;
    let error = encoded(line, &words(), None).unwrap_err();
    assert_eq!(error.to_string(), "task.jsonl:3: the tokenizer does not know `bryozoan`");
    assert!(encoded(line, &pieces(), None).is_ok());
}

#[test]
fn spans_count_characters_and_not_bytes() {
    // A space of three bytes.
    let line = r#"{"id": "a", "context": "A\u2003pet", "necessary": [[2, 5]], "target": " job"}"#;
    let item = encoded(line, &words(), None).unwrap();
    assert_eq!(item.contexts[0].necessary, [1]);
    assert_eq!(item.requests[0].characters, 3);
}

#[test]
fn a_span_marks_the_tokens_that_overlap_it() {
    let tokenizer = pieces();
    let line = r#"{"id": "a", "context": "Mr. Rassendyll smiled", "necessary": [[4, 14]], "target": " at Rischenheim.", "scored": [[4, 15]]}"#;
    let item = encoded(line, &tokenizer, None).unwrap();
    let text = |tokens: &[u32], at: &[u32]| -> String {
        tokenizer.token_texts(&at.iter().map(|at| tokens[*at as usize]).collect::<Vec<_>>()).concat()
    };
    let context = &item.contexts[0];
    assert!(context.necessary.len() > 1, "the name is of several pieces");
    assert_eq!(text(&context.tokens, &context.necessary), " Rassendyll");
    let request = &item.requests[0];
    assert_eq!(text(&request.continuation, &request.scored), " Rischenheim");
}

/// White space at the end of a context belongs to the continuation, as in lm-evaluation-harness.
#[test]
fn a_context_that_ends_in_a_space_is_that_without() {
    let tokenizer = pieces();
    let with = encoded(r#"{"id": "a", "context": "The old man ", "target": "smiled"}"#, &tokenizer, None).unwrap();
    let without = encoded(r#"{"id": "a", "context": "The old man", "target": " smiled"}"#, &tokenizer, None).unwrap();
    assert_eq!(with.contexts, without.contexts);
    assert_eq!(with.requests[0].continuation, without.requests[0].continuation);
}

#[test]
fn a_cut_keeps_the_scored_tokens_whatever_the_context() {
    let tokenizer = pieces();
    let words: Vec<String> = (0..60).map(|index| format!("word{index}")).collect();
    let text = words.join(" ");
    let recall = text.find("word40").unwrap();
    let line = format!(r#"{{"id": "a", "text": "{text}", "recalls": [[{recall}, {}]], "distances": [7]}}"#, recall + 6);
    let whole = encoded(&line, &tokenizer, None).unwrap();
    let cut = |context| encoded(&line, &tokenizer, Some(Cut { context, start: 80, continuation: 60 })).unwrap();
    for context in [10, 80] {
        let item = cut(context);
        assert_eq!(item.contexts[0].tokens, whole.contexts[0].tokens[80 - context..140]);
        assert_eq!(item.facts.scored_from, [context]);
        assert_eq!(item.classes.len(), context + 60);
        let moved: Vec<u32> = item.recalls.iter().map(|position| position + 80 - context as u32).collect();
        assert_eq!(moved, whole.recalls);
        assert_eq!(item.recall_distances, whole.recall_distances);
        assert_eq!(item.facts.bytes, cut(20).facts.bytes, "those of the scored stretch");
    }
    let error = encoded(&line, &tokenizer, Some(Cut { context: 10, start: 900, continuation: 60 })).unwrap_err();
    assert!(error.to_string().contains("the longest context and the continuation need 960"), "{error}");
}

#[test]
fn each_form_of_a_line_is_a_kind() {
    for (line, kind) in [
        (r#"{"id": "a", "context": "A", "target": " b", "meta": {"source": 1}}"#, TaskKind::Target),
        (r#"{"id": "a", "context": "A", "choices": [" b", " c"], "gold": 1}"#, TaskKind::MultipleChoice),
        (r#"{"id": "a", "contexts": ["A", "B"], "target": " c", "gold": 1}"#, TaskKind::MultipleChoice),
        (r#"{"id": "a", "text": "A b"}"#, TaskKind::RunningText),
    ] {
        assert_eq!(read(PLACE, Author::User, line).unwrap().0, kind, "{line}");
    }
}
