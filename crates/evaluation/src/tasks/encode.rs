//! From a document to an item: its text in the tokens of a model, cut where it is too long.

use super::document::Document;
use super::{Context, Item, Request, TaskError, TaskKind};
use crate::tokenizer::{EncodedPair, Tokenizer, TokenizerError};

/// An item, and how many of its requests lost tokens on the left.
pub(super) struct Encoded {
    pub(super) item: Item,
    pub(super) truncated: usize,
}

/// The item of a document.
///
/// # Errors
/// A text that cannot be encoded, or a continuation that has no tokens or more than a model may read.
pub(super) fn item(
    document: &Document,
    kind: TaskKind,
    tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<Encoded, TaskError> {
    let mut item = Item {
        id: document.id.clone(),
        gold: document.gold,
        contexts: Vec::new(),
        requests: Vec::new(),
        facts: document.facts.clone(),
        ..Item::default()
    };
    let refused =
        |error: TokenizerError| TaskError::Tokenizer { file: document.place.0.clone(), line: document.place.1, error };
    if kind == TaskKind::RunningText {
        let tokens = tokenizer.encode_text(&document.requests[0].continuation).map_err(refused)?;
        let windows = windows(&tokens, tokenizer.prefix_token().map_err(refused)?, max_length);
        if windows.is_empty() {
            return Err(document.problem("the text has no tokens", "nothing would be scored; leave the row out"));
        }
        for Window { tokens, scored_from } in windows {
            item.contexts.push(Context { tokens, necessary: Vec::new() });
            item.facts.scored_from.push(scored_from);
        }
        return Ok(Encoded { item, truncated: 0 });
    }
    let mut truncated = 0;
    let mut known: Option<(&str, Vec<u32>)> = None;
    for request in &document.requests {
        let context = match known.take().filter(|(text, _)| *text == request.context) {
            Some((_, encoded)) => encoded,
            None => tokenizer.encode_context(&request.context).map_err(refused)?,
        };
        let pair = tokenizer.encode_after(&request.context, &context, &request.continuation);
        known = Some((&request.context, context));
        let mut pair = pair.map_err(refused)?;
        check(document, &pair, max_length)?;
        truncated += usize::from(truncate(&mut pair, max_length));
        // Choices of one question share one context, unless it was cut to make room for longer ones.
        if item.contexts.last().is_none_or(|last| last.tokens != pair.context) {
            item.contexts.push(Context { tokens: pair.context, necessary: Vec::new() });
        }
        item.requests.push(Request {
            context: item.contexts.len() - 1,
            scored: (0..pair.continuation.len() as u32).collect(),
            continuation: pair.continuation,
            characters: request.characters,
        });
    }
    Ok(Encoded { item, truncated })
}

fn check(document: &Document, pair: &EncodedPair, max_length: usize) -> Result<(), TaskError> {
    if pair.context.is_empty() {
        return Err(document.problem(
            "the context has no tokens",
            "a context needs at least one token: the first scored token is predicted from it",
        ));
    }
    if pair.continuation.is_empty() {
        return Err(document.problem(
            "the continuation has no tokens of its own",
            "nothing would be scored; correct the choices or the target of this row",
        ));
    }
    if pair.continuation.len() > max_length {
        return Err(document.problem(
            format!("a continuation of {} tokens exceeds `max_length` {max_length}", pair.continuation.len()),
            "raise `max_length` in the experiment file",
        ));
    }
    Ok(())
}

/// Takes tokens off the left of the context so that a model reads at most `max_length` tokens, the last of the continuation not
/// being read (`HFLM._loglikelihood_tokens`). Returns whether it was necessary.
fn truncate(pair: &mut EncodedPair, max_length: usize) -> bool {
    let surplus = (pair.context.len() + pair.continuation.len()).saturating_sub(max_length + 1);
    pair.context.drain(..surplus);
    surplus > 0
}

/// A stretch of a text that is read at once.
#[derive(Debug, PartialEq, Eq)]
struct Window {
    /// What is read, and the last token, which is only scored.
    tokens: Vec<u32>,
    /// The first token that is scored.
    scored_from: usize,
}

/// A text in windows of at most `max_length` tokens to read, each token scored once: the windows of
/// `lm_eval.utils.get_rolling_token_windows` with a context of 1, made disjoint. The first begins with `prefix`; the last reaches
/// back so far that it is full, and scores what no other did.
fn windows(tokens: &[u32], prefix: u32, max_length: usize) -> Vec<Window> {
    let text: Vec<u32> = std::iter::once(prefix).chain(tokens.iter().copied()).collect();
    let mut windows = Vec::new();
    // Places in `text`: token `done` of it is scored, with all before it.
    let mut done = 0;
    while done < tokens.len() {
        let end = (done + max_length).min(tokens.len());
        let start = end.saturating_sub(max_length).min(done);
        windows.push(Window { tokens: text[start..=end].to_vec(), scored_from: done + 1 - start });
        done = end;
    }
    windows
}

#[cfg(test)]
mod tests {
    use hint::Hint;

    use super::*;
    use crate::tasks::{ItemFacts, TextRequest};

    fn shown(n: u32, max_length: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
        let tokens: Vec<u32> = (1..=n).collect();
        let windows = windows(&tokens, 0, max_length).into_iter();
        windows.map(|w| (w.tokens[..w.scored_from].to_vec(), w.tokens[w.scored_from..].to_vec())).collect()
    }

    /// Values of `make_disjoint_window(get_rolling_token_windows(...))` of lm-evaluation-harness 0.4.13, prefix 0, context 1.
    #[test]
    fn windows_are_those_of_the_harness() {
        assert_eq!(shown(3, 4), [(vec![0], vec![1, 2, 3])]);
        assert_eq!(shown(4, 4), [(vec![0], vec![1, 2, 3, 4])]);
        assert_eq!(shown(5, 4), [(vec![0], vec![1, 2, 3, 4]), (vec![1, 2, 3, 4], vec![5])]);
        assert_eq!(
            shown(10, 4),
            [(vec![0], vec![1, 2, 3, 4]), (vec![4], vec![5, 6, 7, 8]), (vec![6, 7, 8], vec![9, 10])]
        );
        assert_eq!(shown(0, 4), []);
        assert_eq!(shown(2, 1), [(vec![0], vec![1]), (vec![1], vec![2])]);
    }

    fn words() -> Tokenizer {
        Tokenizer::from_json(ssm_model::catalog::builtins()[0].tokenizer_json).unwrap()
    }

    /// A question of 5 words with the answers given.
    fn question(answers: &[&str]) -> Document {
        let request = |answer: &&str| TextRequest {
            context: "The pet of Theo was".to_owned(),
            continuation: format!(" {answer}"),
            characters: answer.len(),
        };
        Document {
            id: "q".to_owned(),
            gold: Some(0),
            requests: answers.iter().map(request).collect(),
            facts: ItemFacts::default(),
            heading: String::new(),
            place: ("q.jsonl".to_owned(), 3),
        }
    }

    #[test]
    fn choices_share_a_context_unless_it_is_cut_for_some() {
        let encode = |max_length| {
            let document = question(&["a gecko", "gecko", "a gecko and an otter"]);
            item(&document, TaskKind::MultipleChoice, &words(), max_length).unwrap()
        };
        let whole = encode(2048);
        assert_eq!((whole.item.contexts.len(), whole.truncated), (1, 0));
        assert!(whole.item.requests.iter().all(|request| request.context == 0));
        // 5 + 5 tokens, of which 8 + 1 may be there: only the last choice costs its context a token.
        let cut = encode(8);
        let lengths: Vec<usize> = cut.item.contexts.iter().map(|context| context.tokens.len()).collect();
        assert_eq!((lengths, cut.truncated), (vec![5, 4], 1));
        let contexts: Vec<usize> = cut.item.requests.iter().map(|request| request.context).collect();
        assert_eq!(contexts, [0, 0, 1]);
        assert_eq!(cut.item.contexts[1].tokens, whole.item.contexts[0].tokens[1..]);
    }

    #[test]
    fn what_cannot_be_scored_is_refused_with_its_place() {
        let refusal = |document: &Document, max_length| {
            let error = item(document, TaskKind::MultipleChoice, &words(), max_length).err().unwrap();
            format!("{error}\nhint: {}", error.hint().unwrap())
        };
        insta::assert_snapshot!(refusal(&question(&["a gecko", "a gecko and an otter"]), 4), @"
        q.jsonl:3: a continuation of 5 tokens exceeds `max_length` 4
        hint: raise `max_length` in the experiment file
        ");
        insta::assert_snapshot!(refusal(&question(&["a gecko", " "]), 2048), @"
        q.jsonl:3: the continuation has no tokens of its own
        hint: nothing would be scored; correct the choices or the target of this row
        ");
        let mut blank = question(&["a gecko"]);
        blank.requests[0].context = " ".to_owned();
        insta::assert_snapshot!(refusal(&blank, 2048), @"
        q.jsonl:3: the context has no tokens
        hint: a context needs at least one token: the first scored token is predicted from it
        ");
        insta::assert_snapshot!(refusal(&question(&["a gecko", "a bryozoan"]), 2048), @"
        q.jsonl:3: the tokenizer does not know `bryozoan`
        hint: its vocabulary is a closed list of words; use a model with a subword tokenizer for this task
        ");
        let text = Document { requests: question(&["a gecko"]).requests, ..question(&[]) };
        let error = item(&text, TaskKind::RunningText, &words(), 8).err().unwrap();
        insta::assert_snapshot!(error, @"q.jsonl:3: nothing stands before the text, and the tokenizer names no token that begins one");
    }

    /// Without a prefix a text would lose its first token; with one every token is scored once.
    #[test]
    fn running_text_becomes_windows() {
        let tokenizer = words().with_config(r#"{"eos_token": "<eos>"}"#).unwrap();
        let mut text = question(&["a gecko"]);
        text.requests[0].continuation = "The pet of Theo was a gecko".to_owned();
        let item = item(&text, TaskKind::RunningText, &tokenizer, 5).unwrap().item;
        let tokens = tokenizer.encode_text("The pet of Theo was a gecko").unwrap();
        assert_eq!(item.contexts[0].tokens, [&[0_u32][..], &tokens[..5]].concat());
        assert_eq!(item.contexts[1].tokens, tokens[1..]);
        assert_eq!(item.facts.scored_from, [1, 4]);
    }

    #[test]
    fn a_long_context_loses_its_beginning() {
        let pair = |context: u32| EncodedPair { context: (0..context).collect(), continuation: vec![90, 91] };
        let mut fits = pair(3);
        assert!(!truncate(&mut fits, 4));
        let mut long = pair(5);
        assert!(truncate(&mut long, 4));
        assert_eq!((long.context, long.continuation), (vec![2, 3, 4], vec![90, 91]));
    }
}
