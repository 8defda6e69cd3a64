//! An entry of `bridges` as written: every key typed.

use super::error::{Fault, gather};
use super::node::{Located, Node};
use super::wire_selector::WireSelector;

/// An entry of `bridges`.
pub(super) struct WireBridge {
    pub(super) name: Located<String>,
    pub(super) steps: Vec<WireStep>,
}

/// An entry of `steps`.
pub(super) struct WireStep {
    pub(super) factor: String,
    pub(super) selector: WireSelector,
}

impl WireBridge {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let fields = node.fields("an entry of `bridges`", &["name", "steps"])?;
        let name = fields.need("name", "a word that figures and tables are called by")?.text("`name`")?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !name.value.chars().all(allowed) {
            return Err(name
                .fault(format!("`{}` cannot be part of a file name", name.value))
                .hint("use lower-case letters, digits, `-` and `_`"));
        }
        let list =
            fields.need("steps", "the first arm and what changes: `- { factor: .., from: { strategy: .. } }`")?;
        let steps = list.list("`steps`")?;
        if steps.len() < 2 {
            return Err(list.fault("a bridge of one arm").hint("add what changes: `- { factor: .., change: { .. } }`"));
        }
        let steps = steps.iter().enumerate().map(|(index, node)| WireStep::read(node, index == 0));
        Ok(Self { name, steps: gather(steps)? })
    }
}

impl WireStep {
    fn read(node: &Node, is_first: bool) -> Result<Self, Fault> {
        let (key, hint) = if is_first {
            ("from", "select the first arm, for example `{ strategy: top_k, protocol: context }`")
        } else {
            ("change", "one key with its new value, for example `{ source: block_output }`")
        };
        let fields = node.fields("an entry of `steps`", &["factor", key])?;
        let factor = fields.need("factor", "what changes, in words")?.text("`factor`")?.value;
        let selector = WireSelector::read(fields.need(key, hint)?, key)?;
        Ok(Self { factor: factor.trim().to_owned(), selector })
    }
}
