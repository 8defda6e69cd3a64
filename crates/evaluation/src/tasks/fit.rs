//! Whether a task can be put in the tokens of a model, found before anything runs.

use super::{Known, Source, Split, TaskError, builtin, facts, find, load};
use crate::tokenizer::Tokenizer;

/// Why a task cannot be put in the tokens of a model.
#[derive(Debug)]
pub enum Unfit {
    /// The tokenizer does not cut the words of a reference task as the task needs them.
    Tokenizer(TaskError),
    /// An item of a benchmark has no place in the model, or no tokens.
    Item(TaskError),
}

/// What keeps a task from being scored by a model, as far as it can be told without encoding every text: reference tasks on another
/// tokenizer, and of the benchmarks those that have something to look at (see [`Suspects`]), which are then loaded as a run would.
///
/// # Errors
/// The task cannot be read, whatever the tokenizer.
pub fn unfit(
    name: &str,
    source: &Source,
    tokenizer: &Tokenizer,
    split: Split,
    limit: Option<usize>,
) -> Result<Option<Unfit>, TaskError> {
    match find(name)? {
        Known::Builtin(task) => {
            if tokenizer.digest() == builtin::reference_tokenizer()?.digest() {
                return Ok(None);
            }
            let limit = limit.unwrap_or(usize::MAX);
            Ok(builtin::load(task, tokenizer, split, limit).err().map(Unfit::Tokenizer))
        }
        Known::Benchmark(_) => {
            let suspects = facts(name, source)?.suspects;
            // A token has a byte at least; a context whose last token changes gives some to the continuation.
            let long = suspects.longest_continuation + SLACK > source.prompting.max_length;
            let unprefixed = suspects.empty_context && tokenizer.prefix_token().is_err();
            if long || unprefixed || suspects.short_book || tokenizer.is_of_words() {
                return Ok(load(name, source, tokenizer, split, limit).err().map(Unfit::Item));
            }
            Ok(None)
        }
    }
}

/// Tokens that a continuation may have beyond its bytes.
const SLACK: usize = 16;

/// What of a task may not fit some tokenizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// Bytes of the longest continuation.
    pub longest_continuation: usize,
    /// Whether some request begins with its continuation.
    pub empty_context: bool,
    /// Whether a book may be shorter than what is to be cut out of it.
    pub short_book: bool,
}
