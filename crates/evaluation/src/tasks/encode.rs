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
        recalls: Vec::new(),
        facts: document.facts.clone(),
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
    use super::*;

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
