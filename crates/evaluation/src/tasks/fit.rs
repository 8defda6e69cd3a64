//! Whether a task can be put in the tokens of a model, found before anything runs.

use super::item_task::Lines;
use super::{Known, Source, TaskError, TaskRef, builtin, facts};
use crate::tokenizer::Tokenizer;

/// Whether something may keep a task from being put in the tokens of a model, as far as it can be told without encoding every text: a
/// tokenizer of words may not know a word, a text may be too short for what is cut out of it, a benchmark may have something to look at
/// (see [`Suspects`]). Loading the task tells.
///
/// # Errors
/// The task cannot be read, whatever the tokenizer.
pub fn is_suspicious(task: impl Into<TaskRef>, source: &Source, tokenizer: &Tokenizer) -> Result<bool, TaskError> {
    let task = task.into();
    Ok(match Known::find(&task)? {
        Known::Lines(lines) => {
            // A text that is too short for what is cut out of it is found in its tokens alone.
            let is_of_reference = matches!(lines.lines, Lines::Embedded(_))
                && tokenizer.digest() == builtin::reference_tokenizer()?.digest();
            lines.cut.is_some() || tokenizer.is_of_words() && !is_of_reference
        }
        Known::Benchmark(_) => {
            let suspects = facts(&task, source)?.suspects;
            // A token has a byte at least; a context whose last token changes gives some to the continuation.
            let long = suspects.longest_continuation + SLACK > source.prompting.max_length;
            let unprefixed = suspects.empty_context && tokenizer.prefix_token().is_err();
            long || unprefixed || suspects.short_book || tokenizer.is_of_words()
        }
    })
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
