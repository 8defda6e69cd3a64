//! A five-digit key hidden in a book.

use super::books::{Book, BookPlace};
use super::retrieval::{self, Drawn, Statement};
use crate::tasks::encode::Encoded;
use crate::tasks::{Item, ItemFacts, Request, TaskError};
use crate::tokenizer::Tokenizer;

const NAME: &str = "longdocs_passkey";

pub(super) fn places(books: &[Book]) -> Vec<BookPlace> {
    retrieval::places(NAME, books)
}

pub(super) fn item(books: &[Book], place: &BookPlace, tokenizer: &Tokenizer) -> Result<Encoded, TaskError> {
    let book = &books[place.book];
    let mut drawn = Drawn::of_place(NAME, place, books);
    let key = 10_000 + drawn.below(90_000);
    let text = format!("The pass key is {key}. Remember it: {key} is the pass key.");
    let key = key.to_string();
    let necessary = text.match_indices(&key).map(|(at, key)| at..at + key.len()).collect();
    let question = "Question: What is the pass key?\nAnswer: The pass key is".to_owned();
    let hidden = retrieval::context(book, place, &Statement { text, necessary, question }, tokenizer)?;
    let refused = |error| TaskError::Tokenizer { file: book.place.0.clone(), line: book.place.1, error };
    let mut pair = tokenizer.encode_pair(&hidden.text, &format!(" {key}")).map_err(refused)?;
    let continuation = std::mem::take(&mut pair.continuation);
    let request =
        Request { context: 0, scored: (0..continuation.len() as u32).collect(), continuation, characters: key.len() };
    let facts = ItemFacts { length: Some(place.length as u32), depth: place.depth, ..ItemFacts::default() };
    let item = Item {
        id: place.id.clone(),
        gold: None,
        contexts: vec![hidden.encoded(book, pair, tokenizer)?],
        requests: vec![request],
        facts,
        ..Item::default()
    };
    Ok(Encoded { item, truncated: 0 })
}
