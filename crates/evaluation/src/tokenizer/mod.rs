//! Text to token ids, through the model's own `tokenizer.json`.

use hint::Hint;
use serde_json::Value;
use thiserror::Error;

use crate::python::is_space;

mod files;

/// Why a tokenizer could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenizerError {
    /// The file is no tokenizer.
    #[error("cannot read tokenizer.json: {0}")]
    Unreadable(String),
    /// A text that cannot be encoded.
    #[error("cannot encode {text:?}: {error}")]
    Encode {
        /// The text.
        text: String,
        /// What the library says.
        error: String,
    },
    /// A word that a word-level tokenizer does not know, which would be scored as any other unknown one.
    #[error("the tokenizer does not know `{word}`")]
    Unknown {
        /// The word.
        word: String,
    },
    /// An id that stands for no token.
    #[error("the tokenizer has no token {id}")]
    NoToken {
        /// The id.
        id: u32,
    },
    /// A text without anything before it, and no token to put there.
    #[error("nothing stands before the text, and the tokenizer names no token that begins one")]
    NoPrefix,
    /// A model of pieces that leaves out merges by lot.
    #[error("tokenizer.json has `dropout` {dropout}: the same text becomes other tokens each time")]
    Random {
        /// Share of the merges that are left out.
        dropout: String,
    },
    /// A post-processor that ends every text.
    #[error("tokenizer.json puts `{token}` behind every text, so that no continuation could follow a context")]
    Behind {
        /// The token.
        token: String,
    },
    /// Two files that say different things of one setting.
    #[error("tokenizer_config.json says `{key}: {config}`, tokenizer.json says {file}")]
    Contradiction {
        /// The setting.
        key: &'static str,
        /// What the configuration says, or means where it says nothing.
        config: bool,
        /// What the tokenizer does.
        file: bool,
    },
    /// An id that the model has no embedding for.
    #[error("the tokenizer's ids go up to {largest}, the model embeds {model} tokens, 0 to {}", model.saturating_sub(1))]
    Vocabulary {
        /// The largest id of the tokenizer.
        largest: u32,
        /// Rows of the embedding.
        model: usize,
    },
}

impl Hint for TokenizerError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable(_) => Some("a model folder needs the tokenizer.json that it was trained with".to_owned()),
            Self::Vocabulary { .. } => Some(
                "tokenizer.json belongs to another model, or tokenizer_config.json adds tokens that this one does not know"
                    .to_owned(),
            ),
            Self::Random { .. } => {
                Some("dropout is for training: write `\"dropout\": null` into the `model` of tokenizer.json".to_owned())
            }
            Self::Behind { .. } => Some("remove it from the `post_processor` of tokenizer.json".to_owned()),
            Self::Contradiction { key, .. } => Some(format!(
                "versions of transformers differ in which of the two they follow; write the same into both: `{key}` of \
                 tokenizer_config.json, and {} of tokenizer.json",
                if *key == "add_prefix_space" { "the `pre_tokenizer`" } else { "the `post_processor`" }
            )),
            Self::Unknown { .. } => {
                Some("its vocabulary is a closed list of words; use a model with a subword tokenizer for this task".to_owned())
            }
            Self::NoPrefix => Some(
                "put the tokenizer_config.json that names `bos_token` or `eos_token` beside tokenizer.json".to_owned(),
            ),
            Self::Encode { .. } | Self::NoToken { .. } => None,
        }
    }
}

/// A text in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// `(start, end)` of each token in characters (not bytes) of the text.
    pub spans: Vec<(usize, usize)>,
}

/// A context and its continuation in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPair {
    /// At least one token.
    pub context: Vec<u32>,
    /// What follows; may be empty where the context's tokens cover it.
    pub continuation: Vec<u32>,
}

/// What begins a text where a tokenizer says nothing else: GPT-NeoX's, which its `tokenizer.json` does not call so.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Token for texts that nothing stands before, with its text.
    prefix: Option<(u32, String)>,
    /// What a word-level tokenizer makes of words that it does not know.
    unknown: Option<u32>,
    digest: String,
}

impl Tokenizer {
    /// Reads the content of a `tokenizer.json`. Truncation and padding that it may hold are left out, as transformers does.
    ///
    /// # Errors
    /// The text is no tokenizer, or one that cannot serve an evaluation.
    pub fn from_json(json: &str) -> Result<Self, TokenizerError> {
        let json = without_mark(json);
        let inner = json.parse::<tokenizers::Tokenizer>();
        let mut inner = inner.map_err(|error| TokenizerError::Unreadable(error.to_string()))?;
        let cleared = files::settle(&mut inner)?;
        let prefix = inner.token_to_id(END_OF_TEXT).map(|id| (id, END_OF_TEXT.to_owned()));
        let unknown = match inner.get_model() {
            tokenizers::ModelWrapper::WordLevel(words) => inner.token_to_id(&words.unk_token),
            _ => None,
        };
        let mut digest = short_digest(json);
        if !cleared.is_empty() {
            digest = short_digest(&format!("{digest} without {}", cleared.join(" and ")));
        }
        Ok(Self { inner, prefix, unknown, digest })
    }

    /// Takes from the content of a `tokenizer_config.json` the token that begins a text: `bos_token`, or `eos_token` where there
    /// is none, as lm-evaluation-harness does; and whatever else of it changes ids, as transformers does. What changes by it becomes part
    /// of the digest.
    ///
    /// # Errors
    /// No JSON, a token that the vocabulary does not have, or a setting that contradicts `tokenizer.json`.
    pub fn with_config(mut self, json: &str) -> Result<Self, TokenizerError> {
        let unreadable = |problem: String| TokenizerError::Unreadable(format!("tokenizer_config.json: {problem}"));
        let config: Value = serde_json::from_str(without_mark(json)).map_err(|error| unreadable(error.to_string()))?;
        let token = |key: &str| files::content_of(&config[key]).map(str::to_owned);
        if let Some(text) = token("bos_token").or_else(|| token("eos_token")) {
            let id = self.inner.token_to_id(&text);
            let id = id.ok_or_else(|| unreadable(format!("the vocabulary has no `{text}`")))?;
            if self.prefix.as_ref().is_none_or(|(known, _)| *known != id) {
                self.digest = short_digest(&format!("{} {id}", self.digest));
                self.prefix = Some((id, text));
            }
        }
        let changes = files::apply(&mut self.inner, &config)?;
        if !changes.is_empty() {
            self.digest = short_digest(&format!("{} {}", self.digest, changes.join(", ")));
        }
        Ok(self)
    }

    /// Whether its vocabulary is a closed list of words.
    #[must_use]
    pub fn is_of_words(&self) -> bool {
        self.unknown.is_some()
    }

    /// The token that stands before a text that begins without context.
    ///
    /// # Errors
    /// The tokenizer names none.
    pub fn prefix_token(&self) -> Result<u32, TokenizerError> {
        self.prefix.as_ref().map(|(id, _)| *id).ok_or(TokenizerError::NoPrefix)
    }

    /// Encodes a text as lm-evaluation-harness does by default (`HFLM.tok_encode`): with whatever special tokens the tokenizer
    /// adds, unless the text itself begins with the first of them.
    ///
    /// # Errors
    /// The library refuses the text, or a word-level tokenizer does not know a word.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let begins = self.prefix.as_ref().is_some_and(|(_, prefix)| text.starts_with(prefix));
        self.ids(text, !begins)
    }

    /// As [`Tokenizer::encode_text`], with the place of each token in the text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_text`].
    pub fn encode_text_spans(&self, text: &str) -> Result<Encoding, TokenizerError> {
        let begins = self.prefix.as_ref().is_some_and(|(_, prefix)| text.starts_with(prefix));
        self.known(text, self.spans(text, !begins)?)
    }

    fn ids(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, special);
        let encoding =
            encoding.map_err(|error| TokenizerError::Encode { text: text.to_owned(), error: error.to_string() })?;
        let ids = encoding.get_ids().to_vec();
        // Encoded once more, for the place of the word.
        if self.unknown.is_some_and(|unknown| ids.contains(&unknown)) {
            self.encode_known(text)?;
        }
        Ok(ids)
    }

    /// Encodes a context and its continuation as lm-evaluation-harness does (`LM.loglikelihood` and `TemplateLM._encode_pair`,
    /// 0.4.13): white space at the end of the context is encoded with the continuation, both are encoded together, and what
    /// lies beyond as many tokens as the context has alone is the continuation. An empty context is the token that begins a
    /// text, or the first token of the continuation where that is the same.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_text`], or an empty context and no token to put there.
    pub fn encode_pair(&self, context: &str, continuation: &str) -> Result<EncodedPair, TokenizerError> {
        self.encode_after(context, &self.encode_context(context)?, continuation)
    }

    /// The tokens of a context alone, as [`Tokenizer::encode_pair`] has them; none for an empty one.
    pub(crate) fn encode_context(&self, context: &str) -> Result<Vec<u32>, TokenizerError> {
        if context.is_empty() { Ok(Vec::new()) } else { self.encode_text(context.trim_end_matches(is_space)) }
    }

    /// As [`Tokenizer::encode_pair`], for a context that was encoded before: choices of one question share it.
    pub(crate) fn encode_after(
        &self,
        context: &str,
        encoded: &[u32],
        continuation: &str,
    ) -> Result<EncodedPair, TokenizerError> {
        if context.is_empty() {
            let prefix = self.prefix_token()?;
            let mut ids = self.ids(continuation, false)?;
            if ids.first() != Some(&prefix) {
                return Ok(EncodedPair { context: vec![prefix], continuation: ids });
            }
            let rest = ids.split_off(1);
            return Ok(EncodedPair { context: ids, continuation: rest });
        }
        let whole = self.encode_text(&format!("{context}{continuation}"))?;
        let continuation = whole.get(encoded.len()..).unwrap_or_default().to_vec();
        Ok(EncodedPair { context: encoded.to_vec(), continuation })
    }

    /// Encodes a text without adding special tokens.
    ///
    /// # Errors
    /// The library refuses the text.
    pub fn encode(&self, text: &str) -> Result<Encoding, TokenizerError> {
        self.spans(text, false)
    }

    /// As [`Tokenizer::encode`].
    ///
    /// # Errors
    /// The library refuses the text, or a word-level tokenizer does not know a word.
    pub fn encode_known(&self, text: &str) -> Result<Encoding, TokenizerError> {
        self.known(text, self.encode(text)?)
    }

    fn spans(&self, text: &str, special: bool) -> Result<Encoding, TokenizerError> {
        let encoding = self.inner.encode_char_offsets(text, special);
        let encoding =
            encoding.map_err(|error| TokenizerError::Encode { text: text.to_owned(), error: error.to_string() })?;
        Ok(Encoding { ids: encoding.get_ids().to_vec(), spans: encoding.get_offsets().to_vec() })
    }

    /// Refuses the encoding of a text with a word that a word-level tokenizer does not know.
    fn known(&self, text: &str, encoding: Encoding) -> Result<Encoding, TokenizerError> {
        match encoding.ids.iter().position(|id| Some(*id) == self.unknown) {
            Some(at) => {
                let (start, end) = encoding.spans[at];
                let word = text.chars().skip(start).take(end - start).collect();
                Err(TokenizerError::Unknown { word })
            }
            None => Ok(encoding),
        }
    }

    /// The text of some tokens, special ones included.
    ///
    /// # Errors
    /// An id that the tokenizer does not have.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        if let Some(id) = ids.iter().find(|id| self.inner.id_to_token(**id).is_none()) {
            return Err(TokenizerError::NoToken { id: *id });
        }
        self.inner.decode(ids, false).map_err(|error| TokenizerError::Unreadable(error.to_string()))
    }

    /// The text of each token, as the decoder of the tokenizer makes it of its pieces: one that begins a word begins with a space, if the
    /// tokenizer says so. A character of several tokens is the text of the last; the others are empty. A token that the vocabulary does not have
    /// is its number in angle brackets.
    #[must_use]
    pub fn token_texts(&self, tokens: &[u32]) -> Vec<String> {
        if self.inner.get_decoder().is_none() {
            let text = |token: &u32| self.inner.id_to_token(*token).unwrap_or_else(|| format!("<{token}>"));
            return tokens.iter().map(text).collect();
        }
        let decoded = |tokens: &[u32]| self.inner.decode(tokens, false).unwrap_or_default();
        let mut texts = Vec::with_capacity(tokens.len());
        // Tokens since the last one that ended with a whole character.
        let mut first = 0;
        for (index, token) in tokens.iter().enumerate() {
            if self.inner.id_to_token(*token).is_none() {
                texts.push(format!("<{token}>"));
                first = index + 1;
                continue;
            }
            // A decoder may drop a space at the beginning of a text: with a token before it there is none.
            let before = first.checked_sub(1).filter(|before| self.inner.id_to_token(tokens[*before]).is_some());
            let from = before.unwrap_or(first);
            let known = before.map_or_else(String::new, |before| decoded(&tokens[before..first]));
            let text = decoded(&tokens[from..=index]);
            let own = text.strip_prefix(known.as_str()).unwrap_or(&text);
            // Bytes of a character that is not whole yet; the end of a text may leave some.
            let is_part = own.ends_with(char::REPLACEMENT_CHARACTER) && index + 1 < tokens.len() && index - first < 3;
            texts.push(if is_part { String::new() } else { own.to_owned() });
            if !is_part {
                first = index + 1;
            }
        }
        texts
    }

    /// As [`Tokenizer::token_texts`], with the spaces that a tokenizer of whole words takes away: put together they are the text.
    #[must_use]
    pub fn spaced_texts(&self, tokens: &[u32]) -> Vec<String> {
        let mut texts = self.token_texts(tokens);
        // Without a decoder the library joins pieces with spaces.
        if self.inner.get_decoder().is_none() {
            texts.iter_mut().skip(1).for_each(|text| text.insert(0, ' '));
        }
        texts
    }

    /// Number of tokens, special ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The largest id that it can give: of its vocabulary, which may have gaps, of the tokens added to that, and of those that are put
    /// around a text, whose ids stand in the file a second time.
    #[must_use]
    pub fn largest_id(&self) -> Option<u32> {
        let around = self.inner.encode_fast("", true).map(|encoding| encoding.get_ids().to_vec()).unwrap_or_default();
        self.inner.get_vocab(true).into_values().chain(around).max()
    }

    /// Refuses a model that has no embedding for an id of the tokenizer.
    ///
    /// # Errors
    /// [`TokenizerError::Vocabulary`].
    pub fn check_vocab(&self, model: usize) -> Result<(), TokenizerError> {
        match self.largest_id() {
            Some(largest) if largest as usize >= model => Err(TokenizerError::Vocabulary { largest, model }),
            _ => Ok(()),
        }
    }

    /// Digest of the file; part of every cell id.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.clone()
    }
}

fn short_digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// A text without the mark that some editors put before it.
fn without_mark(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// People read text, and not the symbols that stand for bytes.
    #[test]
    fn tokens_are_shown_as_text() {
        let file = ssm_model::shipped::path("mamba2-books/tokenizer.json").unwrap();
        let pieces = Tokenizer::from_json(&std::fs::read_to_string(file).unwrap()).unwrap();
        let text = "Mr. Rassendyll said \u{201c}na\u{ef}ve caf\u{e9}\u{201d} \u{2014} \u{1f600}\nand smiled.";
        let ids = pieces.encode(text).unwrap().ids;
        let texts = pieces.token_texts(&ids);
        assert_eq!(texts.len(), ids.len());
        assert_eq!(texts.concat(), text);
        assert_eq!(texts[0], "Mr");
        assert!(texts.contains(&" smiled".to_owned()) && texts.iter().any(String::is_empty), "{texts:?}");
        assert_eq!(pieces.token_texts(&[0, 999_999]), ["<|endoftext|>", "<999999>"]);
        // One token a word, and no decoder that would put them together.
        let words = Tokenizer::from_json(ssm_model::catalog::builtins()[0].tokenizer_json).unwrap();
        let ids = words.encode("The pet of Theo").unwrap().ids;
        assert_eq!(words.token_texts(&ids), ["The", "pet", "of", "Theo"]);
        assert_eq!(words.spaced_texts(&ids), ["The", " pet", " of", " Theo"]);
        assert_eq!(pieces.spaced_texts(&pieces.encode(text).unwrap().ids).concat(), text);
    }

    /// Word pieces of a byte-level tokenizer with a merge across a space, and `<|endoftext|>` as 0.
    const PIECES: &str = r#"{
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null, "post_processor": null,
        "added_tokens": [{"id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": {"<|endoftext|>": 0, "a": 1, "b": 2, "\u0120": 3, "\u0120a": 4, "ab": 5},
            "merges": [["\u0120", "a"], ["a", "b"]]}
    }"#;

    fn pair(context: &str, continuation: &str) -> (Vec<u32>, Vec<u32>) {
        let pair = Tokenizer::from_json(PIECES).unwrap().encode_pair(context, continuation).unwrap();
        (pair.context, pair.continuation)
    }

    #[test]
    fn pairs_are_encoded_together_and_cut_where_the_context_ends() {
        assert_eq!(pair("b", " a"), (vec![2], vec![4]));
        assert_eq!(pair("b ", "a"), (vec![2], vec![4]), "white space moves to the continuation");
        // Together `ab` is one token: the context's own token stands, and nothing is left of the continuation.
        assert_eq!(pair("a", "b"), (vec![1], vec![]));
        assert_eq!(pair("a", "bb"), (vec![1], vec![2]));
    }

    #[test]
    fn an_empty_context_is_the_token_that_begins_a_text() {
        assert_eq!(pair("", "ba"), (vec![0], vec![2, 1]));
        assert_eq!(pair("", "<|endoftext|>b"), (vec![0], vec![2]));
        let words = Tokenizer::from_json(ssm_model::catalog::builtins()[0].tokenizer_json).unwrap();
        assert_eq!(words.encode_pair("", "the pet"), Err(TokenizerError::NoPrefix));
    }

    #[test]
    fn the_configuration_names_the_token_that_begins_a_text() {
        let with = |config: &str| Tokenizer::from_json(PIECES).unwrap().with_config(config);
        let plain = Tokenizer::from_json(PIECES).unwrap();
        assert_eq!(with(r#"{"bos_token": "b", "eos_token": "a"}"#).unwrap().prefix_token(), Ok(2));
        assert_eq!(with(r#"{"bos_token": null, "eos_token": {"content": "a"}}"#).unwrap().prefix_token(), Ok(1));
        assert_eq!(with("{}").unwrap().digest(), plain.digest());
        assert_eq!(with(r#"{"eos_token": "<|endoftext|>"}"#).unwrap().digest(), plain.digest());
        assert_ne!(with(r#"{"bos_token": "b"}"#).unwrap().digest(), plain.digest());
        assert!(matches!(with(r#"{"bos_token": "c"}"#), Err(TokenizerError::Unreadable(_))));
    }

    #[test]
    fn every_id_needs_an_embedding_whatever_their_number() {
        let check = |json: &str, model| Tokenizer::from_json(json).unwrap().check_vocab(model);
        assert_eq!((check(PIECES, 6), check(PIECES, 5).is_err()), (Ok(()), true));
        // As many tokens as before, with a gap below the last.
        let gap = PIECES.replace("\"ab\": 5", "\"ab\": 9");
        assert_eq!(check(&gap, 9), Err(TokenizerError::Vocabulary { largest: 9, model: 9 }));
        assert_eq!(check(&gap, 10), Ok(()));
        let around = r#"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {"a": {"id": "a", "ids": [12], "tokens": ["a"]}}}"#;
        let around = PIECES.replace("\"post_processor\": null", &format!("\"post_processor\": {around}"));
        assert_eq!(check(&around, 12), Err(TokenizerError::Vocabulary { largest: 12, model: 12 }));
    }

    #[test]
    fn a_word_that_a_word_level_tokenizer_does_not_know_is_named() {
        let words = Tokenizer::from_json(ssm_model::catalog::builtins()[0].tokenizer_json).unwrap();
        let error = words.encode_pair("the pet", " bryozoan").unwrap_err();
        assert_eq!(error, TokenizerError::Unknown { word: "bryozoan".to_owned() });
        assert!(error.hint().is_some());
    }
}
