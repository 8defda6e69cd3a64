//! The books that the long-document tasks are cut from.

use super::nothing_to_ask;
use crate::tasks::TaskError;
use crate::tasks::data::Files;
use crate::tasks::ids::Ids;
use crate::tasks::part::Part;
use crate::tasks::rows::rows;
use crate::tokenizer::{Encoding, Tokenizer};

/// The books: rows with `id` and `text`.
pub(super) const PART: Part = Part::rows(&["longdocs/gutenberg-test.jsonl"]);

/// Lengths in tokens for which items are made.
pub(super) const LENGTHS: [usize; 5] = [1024, 2048, 4096, 8192, 16384];

/// Characters of a book that are looked at for a token: twice what English needs with tokens of pieces.
const CHARACTERS: usize = 8;

/// A book without its beginning, which is titles, prefaces and contents.
pub(crate) struct Book {
    pub(super) id: String,
    /// From the first paragraph that begins in the second tenth of the text.
    pub(super) body: String,
    /// File and line, for messages.
    pub(super) place: (String, usize),
}

/// An item that can be made of the books.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BookPlace {
    pub(crate) id: String,
    /// Index of the book.
    pub(super) book: usize,
    /// Tokens that the item is made for.
    pub(super) length: usize,
    /// Where what is asked for stands, 0 to 1; none for running text.
    pub(super) depth: Option<f64>,
    /// Number of the item within the task: what is drawn for it depends on this.
    pub(super) index: u64,
}

/// All books of the data directory.
pub(crate) fn books(files: &mut Files<'_>) -> Result<Vec<Book>, TaskError> {
    let file = files.rows(&PART)?;
    let mut ids = Ids::default();
    let books: Vec<Book> = rows(&file)
        .map(|row| {
            let row = row?;
            let (name, line) = row.place();
            ids.add(row.filled("id")?, &name, line)?;
            let text = row.filled("text")?;
            let tenth = (0..=text.len() / 10).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            let start = text[tenth..].find("\n\n").map_or(tenth, |at| tenth + at + 2);
            Ok(Book { id: row.filled("id")?.to_owned(), body: text[start..].to_owned(), place: row.place() })
        })
        .collect::<Result<_, TaskError>>()?;
    if books.is_empty() {
        return Err(nothing_to_ask(file.name));
    }
    Ok(books)
}

impl BookPlace {
    /// Tokens that it is made for.
    pub(crate) fn tokens(&self) -> usize {
        self.length
    }

    /// Whether its book has fewer characters than are looked at for so many tokens, so that they may not be enough.
    pub(crate) fn may_lack_tokens(&self, books: &[Book]) -> bool {
        let body = &books[self.book].body;
        first_characters(body, CHARACTERS * self.length).len() == body.len()
    }
}

impl Book {
    /// The first `length` tokens of the body: their ids and character spans.
    ///
    /// # Errors
    /// A book that is too short, or one that the tokenizer refuses.
    pub(super) fn tokens(&self, length: usize, tokenizer: &Tokenizer) -> Result<Encoding, TaskError> {
        let refused = |error| TaskError::Tokenizer { file: self.place.0.clone(), line: self.place.1, error };
        // More where that was not enough. The last tokens may be those of a cut
        // word, and are not among the first `length` of a longer piece.
        let mut characters = CHARACTERS * length;
        loop {
            let piece = first_characters(&self.body, characters);
            let mut encoding = tokenizer.encode_known(piece).map_err(refused)?;
            if encoding.ids.len() > length {
                encoding.ids.truncate(length);
                encoding.spans.truncate(length);
                return Ok(encoding);
            }
            if piece.len() == self.body.len() {
                return Err(TaskError::Row {
                    file: self.place.0.clone(),
                    line: self.place.1,
                    problem: format!("the book has {} tokens, an item is to have {length}", encoding.ids.len()),
                    hint: "remove the book from the file: every book serves every length".to_owned(),
                });
            }
            characters *= 2;
        }
    }
}

/// The first `n` characters of a text.
pub(super) fn first_characters(text: &str, n: usize) -> &str {
    text.char_indices().nth(n).map_or(text, |(end, _)| &text[..end])
}
