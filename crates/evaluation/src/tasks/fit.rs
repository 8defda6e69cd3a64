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

/// About how many tokens the longest item of a user's file has, where that is more than a model reads of a benchmark at once: what has no
/// context that could be cut and no windows is read whole. None for other tasks.
///
/// # Errors
/// The file cannot be read.
pub fn longer_than_max_length(task: &TaskRef, source: &Source) -> Result<Option<usize>, TaskError> {
    let Known::Lines(task) = Known::find(task)? else { return Ok(None) };
    if task.cut.is_some() || !matches!(task.lines, Lines::File(_)) {
        return Ok(None);
    }
    let characters = |item: &super::lines::TextItem| {
        let context = item.contexts.iter().map(|context| context.text.chars().count()).max();
        let request = item.requests.iter().map(|request| request.text.chars().count()).max();
        let text = item.text.as_ref().map(|text| text.text.chars().count());
        context.unwrap_or(0) + request.unwrap_or(0) + text.unwrap_or(0)
    };
    let longest = task.checked()?.items.iter().map(|(_, item)| characters(item)).max().unwrap_or(0);
    let tokens = (longest as f64 / facts::CHARACTERS_PER_TOKEN) as usize;
    Ok(Some(tokens).filter(|tokens| *tokens > source.prompting.max_length))
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
