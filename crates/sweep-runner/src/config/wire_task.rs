//! Entries of `tasks` as written: a name, a file or a folder, and the stretch of running texts that is asked.

use super::error::{Fault, gather};
use super::node::{Located, Node, Value};

/// An entry of `tasks`.
pub(super) struct WireTask {
    pub(super) source: Located<String>,
    pub(super) cut: Option<WireCut>,
}

/// `primary` as written.
pub(super) enum WirePrimary {
    /// One metric for every task.
    Every(Located<String>),
    /// A metric for each of some tasks.
    ByTask(Vec<(Located<String>, Located<String>)>),
}

/// Lengths of the context before one continuation.
pub(super) struct WireCut {
    pub(super) contexts: Vec<Located<usize>>,
    pub(super) start: Option<Located<usize>>,
    pub(super) continuation: Option<usize>,
}

/// Bounds the arithmetic on places in a text; a file of items is smaller.
const MOST_TOKENS: usize = 1 << 28;

impl WirePrimary {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let Value::Map(entries) = &node.value else { return node.text("`primary`").map(Self::Every) };
        let metric = |(task, node): &(Located<String>, Node)| Ok((task.clone(), node.text("a metric of `primary`")?));
        gather(entries.iter().map(metric)).map(Self::ByTask)
    }
}

impl WireTask {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let Value::Map(entries) = &node.value else {
            return Ok(Self { source: node.text("an entry of `tasks`")?, cut: None });
        };
        let [(source, options)] = entries.as_slice() else {
            let second = entries.get(1).map_or(node.span, |(key, _)| key.span);
            return Err(Fault::new(second, "an entry of `tasks` is a map of one task to its options")
                .label("a second key")
                .hint("for example `- books_long: { context: [256, 1024, 4096] }`"));
        };
        let fields = options.fields("the options of a task", &["context", "start", "continuation"])?;
        let contexts = fields.need("context", "tokens of the context, for example `context: [256, 1024, 4096]`")?;
        let tokens = |node: &Node, what: &str| {
            let whole = node.whole(what, 1)?;
            match usize::try_from(whole.value).ok().filter(|tokens| *tokens <= MOST_TOKENS) {
                Some(tokens) => Ok(whole.with(tokens)),
                None => Err(node.fault(format!("{what} {} is longer than any text", whole.value)).label("too large")),
            }
        };
        let contexts = gather(contexts.one_or_more("`context`")?.iter().map(|node| tokens(node, "`context`")))?;
        let start = fields.get("start").map(|node| tokens(node, "`start`")).transpose()?;
        let continuation = fields.get("continuation").map(|node| tokens(node, "`continuation`")).transpose()?;
        let continuation = continuation.map(|tokens| tokens.value);
        Ok(Self { source: source.clone(), cut: Some(WireCut { contexts, start, continuation }) })
    }
}
