//! Text to token ids, through the model's own `tokenizer.json`.

use thiserror::Error;

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
    /// An id that the model has no embedding for.
    #[error("the tokenizer has {tokenizer} tokens, the model embeds {model}")]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        model: usize,
    },
}

impl TokenizerError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable(_) => Some("a model folder needs the tokenizer.json that it was trained with".to_owned()),
            Self::Vocabulary { .. } => Some("this tokenizer.json belongs to another model".to_owned()),
            Self::Encode { .. } => None,
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

/// A tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    digest: String,
}

impl Tokenizer {
    /// Reads the content of a `tokenizer.json`.
    ///
    /// # Errors
    /// The text is no tokenizer.
    pub fn from_json(json: &str) -> Result<Self, TokenizerError> {
        let inner = json.parse::<tokenizers::Tokenizer>();
        let inner = inner.map_err(|error| TokenizerError::Unreadable(error.to_string()))?;
        Ok(Self { inner, digest: blake3::hash(json.as_bytes()).to_hex()[..16].to_owned() })
    }

    /// Encodes a text without adding special tokens.
    ///
    /// # Errors
    /// The library refuses the text.
    pub fn encode(&self, text: &str) -> Result<Encoding, TokenizerError> {
        let encoding = self.inner.encode_char_offsets(text, false);
        let encoding =
            encoding.map_err(|error| TokenizerError::Encode { text: text.to_owned(), error: error.to_string() })?;
        Ok(Encoding { ids: encoding.get_ids().to_vec(), spans: encoding.get_offsets().to_vec() })
    }

    /// The text of a token, where there is such a token.
    #[must_use]
    pub fn token_text(&self, token: u32) -> Option<String> {
        self.inner.id_to_token(token)
    }

    /// Number of tokens, special ones included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Refuses a model that has fewer embeddings than the tokenizer has tokens.
    ///
    /// # Errors
    /// [`TokenizerError::Vocabulary`].
    pub fn check_vocab(&self, model: usize) -> Result<(), TokenizerError> {
        let tokenizer = self.vocab_size();
        if tokenizer > model { Err(TokenizerError::Vocabulary { tokenizer, model }) } else { Ok(()) }
    }

    /// Digest of the file; part of every cell id.
    #[must_use]
    pub fn digest(&self) -> String {
        self.digest.clone()
    }
}
