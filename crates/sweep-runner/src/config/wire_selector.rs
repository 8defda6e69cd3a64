//! A selector as written: a map of conditions.

use super::error::{Fault, Span};
use super::node::{Located, Node};

/// One map of `exclude` or `zip`.
pub(super) struct WireSelector {
    pub(super) span: Span,
    pub(super) conditions: Vec<(Located<String>, Node)>,
    pub(super) reason: Option<String>,
}

impl WireSelector {
    pub(super) fn read(node: &Node, list: &str) -> Result<Self, Fault> {
        let entries = node.entries(&format!("an entry of `{list}`"))?;
        let mut selector = Self { span: node.span, conditions: Vec::new(), reason: None };
        for (key, value) in entries {
            if list == "exclude" && key.value == "reason" {
                selector.reason = Some(value.text("`reason`")?.value);
            } else {
                selector.conditions.push((key.clone(), value.clone()));
            }
        }
        if selector.conditions.is_empty() {
            return Err(node
                .fault(format!("an entry of `{list}` names nothing"))
                .hint("give at least one key, for example `strategy`"));
        }
        Ok(selector)
    }
}
