//! Perplexity by length: running text of books, cut to given numbers of tokens.

use super::books::{Book, BookPlace, LENGTHS};
use crate::tasks::encode::Encoded;
use crate::tasks::{Context, Item, ItemFacts, TaskError};
use crate::tokenizer::Tokenizer;

/// Each book in each length, all from the same place: the shorter texts begin the longer ones, so that lengths differ in length alone.
pub(super) fn places(books: &[Book]) -> Vec<BookPlace> {
    let places = books.iter().enumerate().flat_map(|(book, content)| {
        LENGTHS.map(|length| BookPlace {
            id: format!("longdocs_ppl-{}-{length}", content.id),
            book,
            length,
            depth: None,
            index: 0,
        })
    });
    places.collect()
}

pub(super) fn item(books: &[Book], place: &BookPlace, tokenizer: &Tokenizer) -> Result<Encoded, TaskError> {
    let tokens = books[place.book].tokens(place.length, tokenizer)?.ids;
    let item = Item {
        id: place.id.clone(),
        gold: None,
        contexts: vec![Context { tokens, necessary: Vec::new() }],
        requests: Vec::new(),
        facts: ItemFacts { length: Some(place.length as u32), ..ItemFacts::default() },
        ..Item::default()
    };
    Ok(Encoded { item, truncated: 0 })
}
