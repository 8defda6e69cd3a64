//! Classes of the tokens of an English text: words that an earlier place recalls, other content words, function words.

use super::item::TokenClass;

/// Function words of English: articles, pronouns, prepositions, conjunctions, auxiliaries, and adverbs that only connect or negate.
/// In alphabetical order, in lower case; forms with an apostrophe are words of their own.
static FUNCTION_WORDS: &[&str] = &[
    "a",
    "about",
    "above",
    "across",
    "after",
    "against",
    "all",
    "along",
    "although",
    "am",
    "among",
    "an",
    "and",
    "another",
    "any",
    "anything",
    "are",
    "aren't",
    "around",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "behind",
    "being",
    "below",
    "beneath",
    "beside",
    "between",
    "beyond",
    "both",
    "but",
    "by",
    "can",
    "can't",
    "cannot",
    "could",
    "couldn't",
    "did",
    "didn't",
    "do",
    "does",
    "doesn't",
    "don't",
    "down",
    "during",
    "each",
    "either",
    "else",
    "every",
    "everything",
    "except",
    "few",
    "for",
    "from",
    "had",
    "hadn't",
    "has",
    "hasn't",
    "have",
    "haven't",
    "having",
    "he",
    "he'd",
    "he'll",
    "he's",
    "her",
    "hers",
    "herself",
    "him",
    "himself",
    "his",
    "how",
    "however",
    "i",
    "i'd",
    "i'll",
    "i'm",
    "i've",
    "if",
    "in",
    "into",
    "is",
    "isn't",
    "it",
    "it's",
    "its",
    "itself",
    "may",
    "me",
    "might",
    "mine",
    "more",
    "most",
    "much",
    "must",
    "my",
    "myself",
    "near",
    "neither",
    "no",
    "nor",
    "not",
    "nothing",
    "of",
    "off",
    "on",
    "one",
    "onto",
    "or",
    "other",
    "ought",
    "our",
    "ours",
    "ourselves",
    "out",
    "over",
    "own",
    "per",
    "shall",
    "she",
    "she'd",
    "she'll",
    "she's",
    "should",
    "shouldn't",
    "since",
    "so",
    "some",
    "something",
    "such",
    "than",
    "that",
    "that's",
    "the",
    "their",
    "theirs",
    "them",
    "themselves",
    "then",
    "there",
    "there's",
    "these",
    "they",
    "they'd",
    "they'll",
    "they're",
    "they've",
    "this",
    "those",
    "though",
    "through",
    "till",
    "to",
    "too",
    "toward",
    "towards",
    "under",
    "unless",
    "until",
    "up",
    "upon",
    "us",
    "was",
    "wasn't",
    "we",
    "we'd",
    "we'll",
    "we're",
    "we've",
    "were",
    "weren't",
    "what",
    "whatever",
    "when",
    "where",
    "whether",
    "which",
    "while",
    "who",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "within",
    "without",
    "won't",
    "would",
    "wouldn't",
    "yet",
    "you",
    "you'd",
    "you'll",
    "you're",
    "you've",
    "your",
    "yours",
    "yourself",
];

/// The class of each token, from the character spans of tokens and of recalled words. A token belongs to the first word that it
/// overlaps; one that overlaps a recalled word is recalled.
pub(super) fn classes(text: &str, tokens: &[(usize, usize)], recalls: &[u32]) -> Vec<TokenClass> {
    let words = words(text);
    let mut next = 0;
    tokens
        .iter()
        .enumerate()
        .map(|(index, &(start, end))| {
            if recalls.binary_search(&(index as u32)).is_ok() {
                return TokenClass::Recalled;
            }
            // Tokens and words are in order: words that end before this token end before all that follow.
            while words.get(next).is_some_and(|(span, _)| span.1 <= start) {
                next += 1;
            }
            match words.get(next).filter(|(span, _)| span.0 < end) {
                None => TokenClass::Other,
                Some((_, true)) => TokenClass::Function,
                Some((_, false)) => TokenClass::Content,
            }
        })
        .collect()
}

/// Character spans of the words of a text, letters with apostrophes between them, and whether each is a function word.
fn words(text: &str) -> Vec<((usize, usize), bool)> {
    let characters: Vec<char> = text.chars().map(|c| if c == '\u{2019}' { '\'' } else { c }).collect();
    let in_word = |at: usize| {
        let letter = |at: usize| characters.get(at).is_some_and(|c| c.is_alphanumeric());
        letter(at) || characters[at] == '\'' && at > 0 && letter(at - 1) && letter(at + 1)
    };
    let mut words = Vec::new();
    let mut at = 0;
    while at < characters.len() {
        let start = at;
        while at < characters.len() && in_word(at) {
            at += 1;
        }
        if at == start {
            at += 1;
            continue;
        }
        let word: String = characters[start..at].iter().flat_map(|c| c.to_lowercase()).collect();
        words.push(((start, at), FUNCTION_WORDS.binary_search(&word.as_str()).is_ok()));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use TokenClass::{Content, Function, Other, Recalled};

    #[test]
    fn the_list_is_in_order() {
        assert!(FUNCTION_WORDS.is_sorted());
    }

    #[test]
    fn tokens_belong_to_the_words_they_overlap() {
        // "He", " didn", "\u{2019}t", " see", " Tom", ",", " the", " dog"; "dog" in two pieces.
        let text = "He didn\u{2019}t see Tom, the dog";
        let tokens = [(0, 2), (2, 7), (7, 9), (9, 13), (13, 17), (17, 18), (18, 22), (22, 24), (24, 26)];
        let got = classes(text, &tokens, &[4]);
        assert_eq!(got, [Function, Function, Function, Content, Recalled, Other, Function, Content, Content]);
    }
}
