//! From the text of an item to its tokens.

use super::{Place, RunningText, Span, TextItem};
use crate::python::count_words;
use crate::tasks::reference::Cut;
use crate::tasks::{Context, Item, ItemFacts, Request, TaskError, words};
use crate::tokenizer::{Encoding, Tokenizer, TokenizerError};

/// The item in the tokens of a model. A context and its continuation are encoded as lm-evaluation-harness does
/// ([`Tokenizer::encode_pair`]); a span marks the tokens that overlap it.
///
/// # Errors
/// A text that the tokenizer refuses, a continuation without tokens of its own, a span that no token overlaps, a running text that is
/// shorter than what is cut out of it.
pub(in crate::tasks) fn encode(
    place: Place<'_>,
    item: &TextItem,
    tokenizer: &Tokenizer,
    cut: Option<Cut>,
) -> Result<Item, TaskError> {
    let encoder = Encoder { place, tokenizer };
    let mut encoded = Item {
        id: item.id.clone(),
        gold: item.gold,
        facts: ItemFacts { length: item.length, depth: item.depth, ..ItemFacts::default() },
        ..Item::default()
    };
    if let Some(running) = &item.text {
        let spans = encoder.running_text(running, &mut encoded)?;
        if let Some(cut) = cut {
            encoder.cut(running, &spans, &mut encoded, cut)?;
        }
        return Ok(encoded);
    }
    for context in &item.contexts {
        let tokens = encoder.spanned(context.text.trim_end_matches(crate::python::is_space))?;
        let necessary = encoder.positions(&tokens, &context.necessary, "necessary", 0)?;
        encoded.contexts.push(Context { tokens: tokens.ids, necessary });
    }
    for request in &item.requests {
        let context = &encoded.contexts[request.context].tokens;
        encoded.requests.push(encoder.request(&item.contexts[request.context].text, context, request)?);
    }
    Ok(encoded)
}

struct Encoder<'a> {
    place: Place<'a>,
    tokenizer: &'a Tokenizer,
}

impl Encoder<'_> {
    fn spanned(&self, text: &str) -> Result<Encoding, TaskError> {
        self.tokenizer.encode_text_spans(text).map_err(|error| self.refused(error))
    }

    fn request(&self, context_text: &str, context: &[u32], request: &super::TextRequest) -> Result<Request, TaskError> {
        let whole = self.spanned(&format!("{context_text}{}", request.text))?;
        let continuation = whole.ids.get(context.len()..).unwrap_or_default().to_vec();
        if continuation.is_empty() {
            return Err(self.place.problem_with(
                "the continuation has no tokens of its own: nothing would be scored",
                "the last token of the context reaches over it; begin the target, or the choice, at a word, with the space before it",
            ));
        }
        let scored = match &request.scored {
            None => (0..continuation.len() as u32).collect(),
            Some(spans) => {
                let own = Encoding { ids: continuation.clone(), spans: whole.spans[context.len()..].to_vec() };
                self.positions(&own, spans, "scored", context_text.chars().count())?
            }
        };
        let characters = request.text.trim_start().chars().count();
        Ok(Request { context: request.context, continuation, scored, characters })
    }

    /// Puts the text into the item, and returns the place of each token in it.
    fn running_text(&self, running: &RunningText, encoded: &mut Item) -> Result<Vec<Span>, TaskError> {
        let tokens = self.spanned(&running.text)?;
        if tokens.ids.len() < 2 {
            return Err(self.place.problem_with(
                "`text` has fewer than two tokens: nothing would be scored",
                "the first token only predicts the second; write a longer text",
            ));
        }
        encoded.recalls = self.positions(&tokens, &running.recalls, "recalls", 0)?;
        if !running.distances.is_empty() {
            let mut recalled: Vec<(Span, u32)> =
                running.recalls.iter().copied().zip(running.distances.iter().copied()).collect();
            recalled.sort_unstable();
            let distance = |position: &u32| {
                let (_, end) = tokens.spans[*position as usize];
                let after = recalled.partition_point(|((start, _), _)| *start < end);
                recalled[after - 1].1
            };
            encoded.recall_distances = encoded.recalls.iter().map(distance).collect();
        }
        encoded.classes = words::classes(&running.text, &tokens.spans, &encoded.recalls);
        encoded.facts.words = count_words(running.text.trim());
        encoded.facts.bytes = running.text.len();
        encoded.contexts.push(Context { tokens: tokens.ids, necessary: Vec::new() });
        Ok(tokens.spans)
    }

    /// Keeps the stretch of a running text that is asked.
    fn cut(&self, running: &RunningText, spans: &[Span], encoded: &mut Item, cut: Cut) -> Result<(), TaskError> {
        let (from, to) = (cut.start - cut.context, cut.start + cut.continuation);
        let tokens = &mut encoded.contexts[0].tokens;
        if tokens.len() < to {
            return Err(self.place.problem_with(
                &format!("`text` has {} tokens, but the longest context and the continuation need {to}", tokens.len()),
                "ask for shorter contexts with `context`, or lower `start` or `continuation`; every text of the file must be long enough",
            ));
        }
        let scored = spans[to - 1].1.saturating_sub(spans[cut.start - 1].1);
        let text: String = running.text.chars().skip(spans[cut.start - 1].1).take(scored).collect();
        *tokens = tokens[from..to].to_vec();
        encoded.classes = encoded.classes[from..to].to_vec();
        let inside = |position: &u32| (from..to).contains(&(*position as usize));
        let kept: Vec<usize> = (0..encoded.recalls.len()).filter(|&index| inside(&encoded.recalls[index])).collect();
        if !encoded.recall_distances.is_empty() {
            encoded.recall_distances = kept.iter().map(|&index| encoded.recall_distances[index]).collect();
        }
        encoded.recalls = kept.iter().map(|&index| encoded.recalls[index] - from as u32).collect();
        encoded.facts.scored_from = vec![cut.context];
        encoded.facts.is_cut = true;
        encoded.facts.bytes = text.len();
        encoded.facts.words = count_words(text.trim());
        Ok(())
    }

    /// Positions of the tokens that overlap the spans, ascending. `before`: characters before the text that the spans count from.
    fn positions(&self, tokens: &Encoding, spans: &[Span], field: &str, before: usize) -> Result<Vec<u32>, TaskError> {
        let mut positions = Vec::with_capacity(spans.len());
        // Tokens that the tokenizer adds have no place in the text. Those of the text ascend.
        let placed: Vec<(u32, Span)> =
            (0..).zip(tokens.spans.iter().copied()).filter(|(_, span)| span.0 < span.1).collect();
        for &(start, end) in spans {
            let (from, to) = (start + before, end + before);
            let first = placed.partition_point(|(_, token)| token.1 <= from);
            let overlapping = placed[first..].iter().take_while(|(_, token)| token.0 < to);
            let known = positions.len();
            positions.extend(overlapping.map(|(position, _)| *position));
            if positions.len() == known {
                return Err(self.place.problem_with(
                    &format!("`{field}` has [{start}, {end}], which no token overlaps"),
                    "white space at the end of a context counts to the continuation; end the span before it",
                ));
            }
        }
        positions.sort_unstable();
        positions.dedup();
        Ok(positions)
    }

    fn refused(&self, error: TokenizerError) -> TaskError {
        TaskError::Tokenizer { file: self.place.file.to_owned(), line: self.place.line, error }
    }
}
