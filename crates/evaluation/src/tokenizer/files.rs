//! What in the files of a tokenizer changes ids beside its vocabulary: done as the fast tokenizers of transformers do it (4.57 and 5.24),
//! or refused where they would draw lots or do not agree.
//!
//! Every change that is made here is put into words, which become part of the digest: ids of cells must not be those of a tokenizer
//! that was read in another way.

use serde_json::Value;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

use super::TokenizerError;

/// Names under which `tokenizer_config.json` holds one special token.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Names under which it holds several.
const LISTED: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// Clears what `tokenizer.json` keeps of an earlier call and no text is encoded with: a truncation cuts every text, a padding fills it up.
/// transformers clears both before it encodes. Returns what was cleared.
///
/// # Errors
/// A tokenizer that draws lots, or puts something behind every text.
pub(super) fn settle(tokenizer: &mut Tokenizer) -> Result<Vec<&'static str>, TokenizerError> {
    if let ModelWrapper::BPE(pieces) = tokenizer.get_model()
        && let Some(dropout) = pieces.dropout.filter(|dropout| *dropout > 0.0)
    {
        return Err(TokenizerError::Random { dropout: dropout.to_string() });
    }
    if let Some(token) = around(tokenizer).1.into_iter().next() {
        return Err(TokenizerError::Behind { token });
    }
    let mut cleared = Vec::new();
    if tokenizer.get_truncation().is_some() {
        cleared.push("truncation");
        tokenizer.with_truncation(None).map_err(|error| TokenizerError::Unreadable(error.to_string()))?;
    }
    if tokenizer.get_padding().is_some() {
        cleared.push("padding");
        tokenizer.with_padding(None);
    }
    Ok(cleared)
}

/// What the post-processor puts before and behind a text.
fn around(tokenizer: &Tokenizer) -> (Vec<String>, Vec<String>) {
    let processor = tokenizer.get_post_processor().and_then(|processor| serde_json::to_value(processor).ok());
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    if let Some(processor) = processor {
        add_around(&processor, &mut before, &mut behind);
    }
    (before, behind)
}

fn add_around(processor: &Value, before: &mut Vec<String>, behind: &mut Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match processor["type"].as_str() {
        Some("TemplateProcessing") => {
            let mut is_behind = false;
            for piece in processor["single"].as_array().into_iter().flatten() {
                match piece.get("SpecialToken") {
                    Some(token) if is_behind => behind.push(text(&token["id"])),
                    Some(token) => before.push(text(&token["id"])),
                    None => is_behind = true,
                }
            }
        }
        Some("BertProcessing" | "RobertaProcessing") => {
            before.push(text(&processor["cls"][0]));
            behind.push(text(&processor["sep"][0]));
        }
        Some("Sequence") => {
            for processor in processor["processors"].as_array().into_iter().flatten() {
                add_around(processor, before, behind);
            }
        }
        _ => {}
    }
}

/// Does what a `tokenizer_config.json` says beside naming the token that begins a text. Returns what was changed.
///
/// # Errors
/// A file that contradicts `tokenizer.json`, or tokens that are none.
pub(super) fn apply(tokenizer: &mut Tokenizer, config: &Value) -> Result<Vec<String>, TokenizerError> {
    refuse_contradictions(tokenizer, config)?;
    let mut changes = Vec::new();
    if config["split_special_tokens"].as_bool() == Some(true) {
        tokenizer.set_encode_special_tokens(true);
        changes.push("special tokens are split".to_owned());
    }
    let missing = missing_tokens(tokenizer, config)?;
    for token in &missing {
        changes.push(format!("token {token:?}"));
    }
    if !missing.is_empty() {
        let added = tokenizer.add_tokens(missing);
        added.map_err(|error| TokenizerError::Unreadable(format!("tokenizer_config.json: {error}")))?;
    }
    Ok(changes)
}

/// Settings that stand in both files. Where they differ, versions and classes of transformers do not agree which of them counts.
fn refuse_contradictions(tokenizer: &Tokenizer, config: &Value) -> Result<(), TokenizerError> {
    let differs = |key: &'static str, config: bool, file: bool| {
        if config == file { Ok(()) } else { Err(TokenizerError::Contradiction { key, config, file }) }
    };
    let says = |key: &str| config[key].as_bool();
    let pre_tokenizer = tokenizer.get_pre_tokenizer().and_then(|own| serde_json::to_value(own).ok());
    let own = pre_tokenizer.filter(|own| own["type"] == "ByteLevel");
    if let Some(own) = own.and_then(|own| own["add_prefix_space"].as_bool()) {
        // Where nothing is said, transformers takes it for false.
        differs("add_prefix_space", says("add_prefix_space").unwrap_or(false), own)?;
    }
    // The class of GPT-NeoX adds what its settings say, whatever the post-processor is; the others leave that to the post-processor
    // where nothing is said.
    let class = config["tokenizer_class"].as_str().unwrap_or_default();
    let default = class.starts_with("GPTNeoXTokenizer").then_some(false);
    let (before, behind) = around(tokenizer);
    for (key, adds) in [("add_bos_token", !before.is_empty()), ("add_eos_token", !behind.is_empty())] {
        if let Some(wanted) = says(key).or(default) {
            differs(key, wanted, adds)?;
        }
    }
    Ok(())
}

/// Tokens of a configuration that the vocabulary has not, or has in another form: in the order of their ids, and named special ones
/// behind them.
fn missing_tokens(tokenizer: &Tokenizer, config: &Value) -> Result<Vec<AddedToken>, TokenizerError> {
    let known: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
    let named: Vec<&Value> = NAMED
        .iter()
        .map(|name| &config[*name])
        .chain(LISTED.iter().filter_map(|name| config[*name].as_array()).flatten())
        .collect();
    let is_named = |content: &str| named.iter().any(|value| content_of(value) == Some(content));
    let mut listed: Vec<(u64, AddedToken)> = Vec::new();
    for (id, value) in config["added_tokens_decoder"].as_object().into_iter().flatten() {
        let unreadable = || {
            TokenizerError::Unreadable(format!("tokenizer_config.json: `{id}` of `added_tokens_decoder` is no token"))
        };
        let place = id.parse().map_err(|_| unreadable())?;
        listed.push((place, added_token(value).ok_or_else(unreadable)?));
    }
    listed.sort_by_key(|(id, _)| *id);
    let mut missing: Vec<AddedToken> =
        listed.into_iter().map(|(_, token)| token).filter(|token| !known.contains(token)).collect();
    for value in &named {
        let Some(content) = content_of(value) else { continue };
        if known.iter().chain(&missing).all(|token| token.content != content) {
            missing.push(added_token(value).unwrap_or_else(|| AddedToken::from(content, true)));
        }
    }
    for token in &mut missing {
        token.special |= is_named(&token.content);
    }
    Ok(missing)
}

/// The text of a token, which is written alone or in an object.
pub(super) fn content_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// A token that is written as an object.
fn added_token(value: &Value) -> Option<AddedToken> {
    let flag = |name: &str| value[name].as_bool().unwrap_or(false);
    let special = flag("special");
    let token = AddedToken::from(value["content"].as_str()?, special);
    Some(
        token
            .single_word(flag("single_word"))
            .lstrip(flag("lstrip"))
            .rstrip(flag("rstrip"))
            .normalized(value["normalized"].as_bool().unwrap_or(!special)),
    )
}

#[cfg(test)]
mod tests;
