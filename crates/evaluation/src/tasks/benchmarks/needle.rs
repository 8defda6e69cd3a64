//! A made-up fact told in a book, with four answers to choose from.

use super::books::{Book, BookPlace};
use super::retrieval::{self, Drawn, Statement};
use crate::tasks::encode::Encoded;
use crate::tasks::{Item, ItemFacts, Request, TaskError};
use crate::tokenizer::Tokenizer;

const NAME: &str = "longdocs_needle";

const PLACES: [&str; 6] = ["Amberlow", "Corvell", "Dunmarsh", "Hollin Bay", "Tarrow", "Westering"];
const ANIMALS: [&str; 6] = ["badger", "heron", "otter", "raven", "stoat", "tortoise"];
const NAMES: [&str; 8] = ["Bertram", "Clover", "Duchess", "Juniper", "Marigold", "Pepper", "Quill", "Thimble"];

/// Answers to choose from.
const CHOICES: usize = 4;

pub(super) fn places(books: &[Book]) -> Vec<BookPlace> {
    retrieval::places(NAME, books)
}

pub(super) fn item(books: &[Book], place: &BookPlace, tokenizer: &Tokenizer) -> Result<Encoded, TaskError> {
    let book = &books[place.book];
    let mut drawn = Drawn::of_place(NAME, place, books);
    let (town, animal) = (PLACES[drawn.below(PLACES.len())], ANIMALS[drawn.below(ANIMALS.len())]);
    let mut names = NAMES.to_vec();
    let choices: Vec<&str> = (0..CHOICES).map(|_| names.swap_remove(drawn.below(names.len()))).collect();
    let gold = drawn.below(CHOICES);
    let text = format!("The gardener of {town} keeps a tame {animal}, and its name is {}.", choices[gold]);
    let word = |word: &str| text.find(word).map(|at| at..at + word.len());
    let necessary = [town, animal, choices[gold]].into_iter().filter_map(word).collect();
    let question =
        format!("Question: What is the name of the {animal} of the gardener of {town}?\nAnswer: Its name is");
    let hidden = retrieval::context(book, place, &Statement { text, necessary, question }, tokenizer)?;
    let refused = |error| TaskError::Tokenizer { file: book.place.0.clone(), line: book.place.1, error };
    let mut contexts = Vec::new();
    let mut requests = Vec::new();
    for choice in choices {
        let mut pair = tokenizer.encode_pair(&hidden.text, &format!(" {choice}")).map_err(refused)?;
        let continuation = std::mem::take(&mut pair.continuation);
        if contexts.is_empty() {
            contexts.push(hidden.encoded(book, pair, tokenizer)?);
        }
        requests.push(Request {
            context: 0,
            scored: (0..continuation.len() as u32).collect(),
            continuation,
            characters: choice.chars().count(),
        });
    }
    let facts = ItemFacts { length: Some(place.length as u32), depth: place.depth, ..ItemFacts::default() };
    let item = Item { id: place.id.clone(), gold: Some(gold as u32), contexts, requests, facts, ..Item::default() };
    Ok(Encoded { item, truncated: 0 })
}
