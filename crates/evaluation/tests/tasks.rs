//! The reference tasks, as they are loaded.

use std::sync::LazyLock;

use evaluation::tasks::{Source, Split, Task, TaskError, TaskKind, builtin_tasks, facts, in_split};
use evaluation::tokenizer::{Tokenizer, TokenizerError};
use hint::Hint;
use insta::assert_snapshot;
use serde_json::Value;

fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: LazyLock<Tokenizer> =
        LazyLock::new(|| Tokenizer::from_json(ssm_model::catalog::builtins()[0].tokenizer_json).unwrap());
    &TOKENIZER
}

fn load(name: &str, split: Split, limit: Option<usize>) -> Result<Task, TaskError> {
    evaluation::tasks::load(name, &Source::default(), tokenizer(), split, limit)
}

fn task(name: &str, limit: Option<usize>) -> Task {
    load(name, Split::All, limit).unwrap()
}

fn words(tokens: impl IntoIterator<Item = u32>) -> String {
    tokenizer().token_texts(&tokens.into_iter().collect::<Vec<_>>()).join(" ")
}

/// The lines of a task's file, without the types that the crate reads them into.
fn lines(name: &str) -> Vec<Value> {
    let path = format!("{}/assets/reference-tasks/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The words at `[start, end)` character spans.
fn words_at(text: &Value, spans: &Value) -> String {
    let text: Vec<char> = text.as_str().unwrap().chars().collect();
    let mut spans: Vec<(usize, usize)> = serde_json::from_value(spans.clone()).unwrap();
    spans.sort_unstable();
    spans.into_iter().map(|(start, end)| text[start..end].iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_limit_counts_the_items_of_the_split() {
    let all = task("world_piqa", None);
    let own: Vec<_> = all.items.iter().filter(|item| in_split(Split::HeldOut, &item.id)).take(9).cloned().collect();
    assert_eq!(load("world_piqa", Split::HeldOut, Some(9)).unwrap().items, own);
}

#[test]
fn sizes_of_the_sets() {
    let rows = builtin_tasks().iter().map(|task| {
        let facts = facts(task.name, &Source::default()).unwrap();
        format!(
            "{} {:?} {} items={} context={:.1} continuation={:.1} choices={}",
            task.name,
            facts.kind,
            task.primary_metric,
            facts.items_in(Split::All),
            facts.mean_context_tokens,
            facts.mean_continuation_tokens,
            facts.choices
        )
    });
    assert_snapshot!(rows.collect::<Vec<_>>().join("\n"), @r"
    world_lambada Target acc items=500 context=83.6 continuation=1.0 choices=1
    world_hellaswag MultipleChoice acc_norm items=500 context=66.6 continuation=20.0 choices=4
    world_piqa MultipleChoice acc items=500 context=24.7 continuation=11.0 choices=2
    world_arc_easy MultipleChoice acc items=500 context=11.3 continuation=2.0 choices=4
    world_arc_challenge MultipleChoice acc items=500 context=43.1 continuation=2.4 choices=4
    world_winogrande MultipleChoice acc items=500 context=23.7 continuation=5.4 choices=2
    mqar Target token_acc items=240 context=225.0 continuation=15.0 choices=1
    induction Target token_acc items=240 context=125.0 continuation=4.0 choices=1
    passkey Target token_acc items=100 context=783.0 continuation=5.0 choices=1
    world_text RunningText perplexity items=60 context=942.4 continuation=0.0 choices=1
    ");
}

#[test]
fn first_item_of_every_set() {
    let rows = builtin_tasks().iter().map(|builtin| {
        let item = &task(builtin.name, Some(1)).items[0];
        let necessary = item.contexts.iter().map(|c| words(c.necessary.iter().map(|at| c.tokens[*at as usize])));
        let scored = item.requests.iter().map(|r| words(r.scored.iter().map(|at| r.continuation[*at as usize])));
        let characters: Vec<_> = item.requests.iter().map(|r| r.characters).collect();
        format!(
            "{} gold={:?} necessary: {}; scored: {}; characters {characters:?}; recalls: {}",
            item.id,
            item.gold,
            necessary.collect::<Vec<_>>().join(" | "),
            scored.collect::<Vec<_>>().join(" | "),
            words(item.recalls.iter().map(|at| item.contexts[0].tokens[*at as usize]))
        )
    });
    assert_snapshot!(rows.collect::<Vec<_>>().join("\n"), @r"
    world_lambada-0000 gold=None necessary: Edith mask mask; scored: Edith; characters [5]; recalls: 
    world_hellaswag-0000 gold=Some(2) necessary: orange coat coat garage; scored: Finally Max wanted the yellow coat , so he walked to the garage and stayed there for a long time . | Finally Max wanted the orange coat , so he walked to the mill and stayed there for a long time . | Finally Max wanted the orange coat , so he walked to the garage and stayed there for a long time . | Finally Max wanted the red flag , so he walked to the mill and stayed there for a long time .; characters [96, 94, 96, 91]; recalls: 
    world_piqa-0000 gold=Some(1) necessary: wash the hands; scored: He uses a wrench to wash the hands . | He uses the soap to wash the hands .; characters [35, 35]; recalls: 
    world_arc_easy-0000 gold=Some(3) necessary: fox; scored: plates | scales | legs | fur; characters [6, 6, 4, 3]; recalls: 
    world_arc_challenge-0000 gold=Some(2) necessary: Max parrot Max; scored: it eats reeds | it eats wool | it eats fruit | it eats spiders; characters [13, 12, 13, 15]; recalls: 
    world_winogrande-0000 gold=Some(1) necessary: Vincent curious Igor hot Igor | Vincent curious Igor hot Vincent; scored: asked many questions . | asked many questions .; characters [21, 21]; recalls: 
    mqar-0000 gold=None necessary: barber garage boot Southgate knife soap butterfly bowl; scored: garage Southgate soap bowl; characters [54]; recalls: 
    induction-0000 gold=None necessary: iron cow hare telescope plate cushion iron cow; scored: hare telescope plate cushion; characters [28]; recalls: 
    passkey-0000 gold=None necessary: Dora 9 6 5 0 0 Dora; scored: 9 6 5 0 0; characters [9]; recalls: 
    world_text-0000 gold=None necessary: ; scored: ; characters []; recalls: otter pink pink bedroom otter
    ");
}

/// Positions say the same words as the file's spans, for every item of every set, and every span is one token.
#[test]
fn positions_are_the_words_of_the_spans() {
    for builtin in builtin_tasks() {
        let task = task(builtin.name, None);
        let lines = lines(builtin.name);
        assert_eq!(task.items.len(), lines.len());
        for (item, line) in task.items.iter().zip(&lines) {
            assert_eq!(line["id"], item.id);
            assert_eq!(line.get("gold").and_then(Value::as_u64), item.gold.map(u64::from));
            for (index, context) in item.contexts.iter().enumerate() {
                let at = |positions: &[u32]| words(positions.iter().map(|at| context.tokens[*at as usize]));
                if task.kind == TaskKind::RunningText {
                    assert_eq!(at(&item.recalls), words_at(&line["text"], &line["recalls"]), "{}", item.id);
                } else if let Some(contexts) = line.get("contexts") {
                    let expected = words_at(&contexts[index], &line["necessary_by_option"][index]);
                    assert_eq!(at(&context.necessary), expected, "{}", item.id);
                } else {
                    assert_eq!(at(&context.necessary), words_at(&line["context"], &line["necessary"]), "{}", item.id);
                }
                assert!(context.necessary.is_sorted_by(|a, b| a < b));
            }
            for request in &item.requests {
                if let Some(spans) = line.get("scored") {
                    let scored = words(request.scored.iter().map(|at| request.continuation[*at as usize]));
                    assert_eq!(scored, words_at(&line["target"], spans), "{}", item.id);
                } else {
                    assert_eq!(request.scored.len(), request.continuation.len());
                }
            }
        }
    }
}

/// The tokenizer knows every word, and tokenizing context and continuation apart changes nothing.
#[test]
fn contexts_and_continuations_meet_at_a_token_boundary() {
    let tokenizer = tokenizer();
    let unknown = 1;
    for builtin in builtin_tasks().iter().filter(|task| task.kind != TaskKind::RunningText) {
        for (item, line) in task(builtin.name, None).items.iter().zip(lines(builtin.name)) {
            for (index, request) in item.requests.iter().enumerate() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let context = line.get("contexts").map_or(&line["context"], |contexts| &contexts[index]);
                let continuation = line.get("choices").map_or(&line["target"], |choices| &choices[index]);
                let together = tokenizer.encode(&(text(context) + &text(continuation))).unwrap().ids;
                let apart = [&item.contexts[request.context].tokens[..], &request.continuation].concat();
                assert_eq!(together, apart, "{}", item.id);
                assert!(!apart.contains(&unknown), "{}", item.id);
            }
        }
    }
}

#[test]
fn a_limit_takes_items_from_the_front() {
    let (few, all) = (task("world_piqa", Some(7)), task("world_piqa", None));
    assert_eq!(few.items, all.items[..7]);
    assert_eq!(task("world_text", Some(1000)).items.len(), 60);
}

#[test]
fn unknown_tasks_are_refused_with_the_nearest_name() {
    let error = load("world_lambda", Split::All, None).unwrap_err();
    assert_snapshot!(error, @"unknown task `world_lambda`");
    assert_snapshot!(error.hint().unwrap(), @"did you mean `world_lambada`?");
}

#[test]
fn tokenizers() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.vocab_size(), 1104);
    tokenizer.check_vocab(1104).unwrap();
    assert_eq!(tokenizer.check_vocab(1103), Err(TokenizerError::Vocabulary { largest: 1103, model: 1103 }));
    let encoding = tokenizer.encode("É: the pet.").unwrap();
    assert_eq!(encoding.spans, [(0, 1), (1, 2), (3, 6), (7, 10), (10, 11)]);
    assert_eq!(words(encoding.ids), "<unk> : the pet .");
    assert!(matches!(Tokenizer::from_json("{}"), Err(TokenizerError::Unreadable(_))));
}
