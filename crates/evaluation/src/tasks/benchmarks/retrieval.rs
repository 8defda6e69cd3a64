//! A statement hidden in a book at a given depth, and a question about it at the end.

use reduction_strategies::Draw;
use reduction_strategies::blocks::random::{Purpose, uniform};

use super::books::{Book, BookPlace, LENGTHS};
use crate::tasks::{Context, TaskError};
use crate::tokenizer::{EncodedPair, Tokenizer};

/// Seed of all draws. Fixed for good: another seed is another task.
const SEED: u64 = 0;

/// Depths of the statement: 0 before the book's first sentence, 1 after the last.
const DEPTHS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// Items of each length and depth.
const SAMPLES: usize = 4;

/// Tokens that are left free for the longest continuation.
const CONTINUATION: usize = 16;

/// All items of a task, so ordered that a limit takes every length and depth alike.
pub(super) fn places(task: &str, books: &[Book]) -> Vec<BookPlace> {
    let mut places = Vec::new();
    for sample in 0..SAMPLES {
        for length in LENGTHS {
            for depth in DEPTHS {
                let index = places.len() as u64;
                let book = Drawn::new(task, index).below(books.len());
                let id = format!("{task}-{length}-{depth}-{sample}");
                places.push(BookPlace { id, book, length, depth: Some(depth), index });
            }
        }
    }
    places
}

/// Whole numbers that are drawn for one item of one task.
pub(super) struct Drawn(std::vec::IntoIter<f32>);

impl Drawn {
    fn new(task: &str, index: u64) -> Self {
        // Tasks do not share draws: their name is the place where others have a layer.
        let name = blake3::hash(task.as_bytes());
        let site = usize::from(u16::from_le_bytes([name.as_bytes()[0], name.as_bytes()[1]]));
        Self(uniform(Draw { seed: SEED, item: index, site }, Purpose::Other, 32).into_iter())
    }

    /// The numbers of a place behind the first one, which chose its book.
    pub(super) fn of_place(task: &str, place: &BookPlace, books: &[Book]) -> Self {
        let mut drawn = Self::new(task, place.index);
        drawn.below(books.len());
        drawn
    }

    /// A whole number below `n`, the next one.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let number = self.0.next().unwrap_or_else(|| unreachable!("no item draws as many"));
        (f64::from(number) * n as f64) as usize
    }
}

/// What is hidden and asked.
pub(super) struct Statement {
    pub(super) text: String,
    /// The words of it that the answer needs: byte ranges.
    pub(super) necessary: Vec<std::ops::Range<usize>>,
    pub(super) question: String,
}

/// The book with the statement in it and the question behind it: at most as many tokens as the place says, a continuation included.
///
/// # Errors
/// A book that is too short or that the tokenizer refuses.
pub(super) fn context(
    book: &Book,
    place: &BookPlace,
    statement: &Statement,
    tokenizer: &Tokenizer,
) -> Result<Hidden, TaskError> {
    let refused = |error| TaskError::Tokenizer { file: book.place.0.clone(), line: book.place.1, error };
    let around = tokenizer.encode_known(&format!("{} \n\n{}", statement.text, statement.question)).map_err(refused)?;
    let budget = place.length - around.ids.len() - CONTINUATION;
    let cut = book.tokens(budget, tokenizer)?.spans.last().map_or(0, |span| span.1);
    let haystack = super::books::first_characters(&book.body, cut);
    let ends = sentence_ends(haystack);
    let last = ends.last().copied().unwrap_or(0);
    let aim = place.depth.unwrap_or(0.0) * last as f64;
    let distance = |end: &usize| (*end as f64 - aim).abs();
    let at = ends.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0);
    let (before, after) = haystack[..last].split_at(at);
    let text = format!("{before}{} {}\n\n{}", statement.text, after.trim_end(), statement.question);
    let necessary = statement.necessary.iter().map(|range| at + range.start..at + range.end).collect();
    Ok(Hidden { text, necessary })
}

/// A context as text.
pub(super) struct Hidden {
    pub(super) text: String,
    /// Byte ranges of the words that the answer needs.
    necessary: Vec<std::ops::Range<usize>>,
}

impl Hidden {
    /// The context in tokens, with those that the answer needs, from what a pair has of it.
    ///
    /// # Errors
    /// A text that the tokenizer refuses.
    pub(super) fn encoded(&self, book: &Book, pair: EncodedPair, tokenizer: &Tokenizer) -> Result<Context, TaskError> {
        let refused = |error| TaskError::Tokenizer { file: book.place.0.clone(), line: book.place.1, error };
        let spans = tokenizer.encode_known(&self.text).map_err(refused)?.spans;
        let characters = |byte: usize| self.text[..byte].chars().count();
        let necessary: Vec<_> = self.necessary.iter().map(|r| characters(r.start)..characters(r.end)).collect();
        // Special tokens before the text have no span.
        let added = pair.context.len() - spans.len();
        let is_needed =
            |span: &(usize, usize)| necessary.iter().any(|range| span.0 < range.end && range.start < span.1);
        let positions = spans.iter().enumerate().filter(|(_, span)| is_needed(span));
        Ok(Context { necessary: positions.map(|(index, _)| (added + index) as u32).collect(), tokens: pair.context })
    }
}

/// Byte offsets behind the white space after each sentence, and 0: where a sentence can be put in.
fn sentence_ends(text: &str) -> Vec<usize> {
    let mut ends = vec![0];
    let mut stopped = false;
    let mut spaced = false;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            spaced = stopped;
            continue;
        }
        if spaced {
            ends.push(at);
        }
        spaced = false;
        stopped = matches!(c, '.' | '!' | '?');
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_at_marks_with_white_space_behind_them() {
        let text = "One. Two (2.5)? \n\nThree! Fo";
        let ends: Vec<&str> = sentence_ends(text).into_iter().map(|end| &text[end..]).collect();
        assert_eq!(ends, [text, "Two (2.5)? \n\nThree! Fo", "Three! Fo", "Fo"]);
    }

    #[test]
    fn draws_depend_on_task_and_item_alone() {
        let draw = |task, index| -> Vec<usize> {
            let mut drawn = Drawn::new(task, index);
            (0..8).map(|_| drawn.below(1000)).collect()
        };
        assert_eq!(draw("a", 1), draw("a", 1));
        assert_ne!(draw("a", 1), draw("a", 2));
        assert_ne!(draw("a", 1), draw("b", 1));
        assert!(draw("a", 7).iter().all(|number| *number < 1000));
    }
}
