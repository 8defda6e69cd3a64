//! Items: what a task asks, in the tokens of a model, and how it is scored.

/// How a task is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Several continuations, one of them right.
    MultipleChoice,
    /// One continuation that should be the greedy one.
    Target,
    /// Running text, every token scored.
    RunningText,
}

/// What a token of running text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenClass {
    /// Of a word that an earlier place of the text tells, too far back for neighbours to help.
    Recalled,
    /// Of another word with a meaning of its own.
    Content,
    /// Of a function word: article, pronoun, preposition, conjunction, auxiliary.
    Function,
    /// Punctuation and line breaks.
    Other,
}

/// A context of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Positions of the tokens that the answer needs, ascending.
    pub necessary: Vec<u32>,
}

/// One continuation of one context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Index into [`Item::contexts`].
    pub context: usize,
    /// Token ids; at least one.
    pub continuation: Vec<u32>,
    /// Indices into the continuation of the tokens that count, ascending.
    pub scored: Vec<u32>,
    /// Length of the choice in characters, without the space that joins it to the context: the divisor of `acc_norm`.
    pub characters: usize,
}

/// What an item counts and varies, beside its tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemFacts {
    /// Words of a running text, as `word_perplexity` counts them; 0 where it is not asked for.
    pub words: usize,
    /// UTF-8 bytes of a running text, as `byte_perplexity` counts them; 0 where it is not asked for.
    pub bytes: usize,
    /// Of each context of a running text that is read in windows, the first token that is scored (at least 1: something must
    /// stand before it). Empty where the text is one window that is scored from its second token.
    pub scored_from: Vec<usize>,
    /// Whether an experiment cut context and continuation out of a running text. All tokens before the scored ones are the context
    /// then, not the first half.
    pub is_cut: bool,
    /// Length in tokens for which the item was made, where its task varies it.
    pub length: Option<u32>,
    /// Where in the context the decisive words stand (0 at the start, 1 at the end), where its task varies it.
    pub depth: Option<f64>,
}

/// One example.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Item {
    /// Identifier within the task.
    pub id: String,
    /// Index of the right request, where one of several is right.
    pub gold: Option<u32>,
    /// One or more contexts; for running text the document, or its windows.
    pub contexts: Vec<Context>,
    /// The continuations to score; none for running text.
    pub requests: Vec<Request>,
    /// Positions of the tokens of recalled words of running text, ascending: words that an earlier place of the text tells.
    pub recalls: Vec<u32>,
    /// Of each of them, words back to the nearest earlier mention; empty where the task does not say.
    pub recall_distances: Vec<u32>,
    /// Class of each token of running text; empty where the task does not tell classes apart.
    pub classes: Vec<TokenClass>,
    /// What it counts and varies.
    pub facts: ItemFacts,
}

impl Item {
    /// The first token of a context of running text that is scored.
    #[must_use]
    pub fn scored_from(&self, context: usize) -> usize {
        self.facts.scored_from.get(context).copied().unwrap_or(1)
    }

    /// The item as one running text: its first context and continuation.
    #[must_use]
    pub fn as_running_text(&self) -> Self {
        let mut tokens = self.contexts[0].tokens.clone();
        tokens.extend(self.requests.first().into_iter().flat_map(|request| &request.continuation));
        Self { id: self.id.clone(), contexts: vec![Context { tokens, necessary: Vec::new() }], ..Self::default() }
    }
}
