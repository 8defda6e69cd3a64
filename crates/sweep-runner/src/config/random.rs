//! `--random`: every model of the hub gives way to random weights of its size.

use records::names::RANDOM;
use ssm_model::catalog;

use super::error::Fault;
use super::node::{Node, Value};

/// What a reference to a model of the hub begins with.
const HUB: &str = "hub:";

/// What is added to the name of the experiment, so that its results get a folder of their own.
const SUFFIX: &str = "-random";

/// Replaces the models of the hub wherever the file names them, and renames the experiment.
pub(super) fn replace_models(file: &mut Node) -> Result<(), Fault> {
    let replaced = replace(file)?;
    let span = file.span;
    let Value::Map(entries) = &mut file.value else { return Ok(()) };
    if replaced == 0 {
        let models = entries.iter().find(|(key, _)| key.value == "models");
        let span = models.map_or(span, |(key, _)| key.span);
        return Err(Fault::new(span, "--random has nothing to replace: the experiment names no model of the hub")
            .label("none of the hub")
            .hint("leave --random out, or list models as hub:<owner>/<name>@<revision>"));
    }
    for (_, value) in entries.iter_mut().filter(|(key, _)| key.value == "name") {
        if let Value::Text(name) = &mut value.value {
            name.push_str(SUFFIX);
        }
    }
    Ok(())
}

/// Number of references that were replaced.
fn replace(node: &mut Node) -> Result<usize, Fault> {
    let reference = match &mut node.value {
        Value::List(items) => return items.iter_mut().map(replace).sum(),
        Value::Map(entries) => {
            // A tokenizer may be of the hub, and stays.
            let models = entries.iter_mut().filter(|(key, _)| key.value != "tokenizer");
            return models.map(|(_, value)| replace(value)).sum();
        }
        Value::Text(text) if text.starts_with(HUB) => text[HUB.len()..].to_owned(),
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => return Ok(0),
    };
    let name = reference.split('@').next().unwrap_or_default();
    match catalog::find_published(name) {
        Some(published) => {
            node.value = Value::Text(format!("{RANDOM}{}", published.short_name()));
            Ok(1)
        }
        None => Err(node
            .fault(format!("--random does not know the size of `{name}`"))
            .label("not a model of `sweep models`")
            .hint("name a published model, or random:<short name> of one that has this size")),
    }
}
