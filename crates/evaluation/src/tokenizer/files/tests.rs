//! Ids that transformers 4.57.6 and 5.24.0 give for the same two files, read by `AutoTokenizer` with the classes `PreTrainedTokenizerFast`
//! and `GPTNeoXTokenizer`. Where these four do not agree the files are refused.

use hint::Hint;
use serde_json::{Value, json};

use crate::tokenizer::{Tokenizer, TokenizerError};

const TEXTS: [&str; 5] = ["ab a", "a ba ab", "<|endoftext|>b", "b a<|endoftext|>a", "aba b"];

fn token(content: &str, special: bool) -> Value {
    json!({"content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special})
}

/// Pieces of bytes with `ab` and a merge across a space, some of its parts replaced.
fn pieces(parts: &[(&str, Value)]) -> String {
    let mut end = token("<|endoftext|>", true);
    end["id"] = json!(0);
    let mut file = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null, "post_processor": null,
        "added_tokens": [end],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": {"<|endoftext|>": 0, "a": 1, "b": 2, "\u{120}": 3, "\u{120}a": 4, "ab": 5},
            "merges": [["\u{120}", "a"], ["a", "b"]]}
    });
    for (part, value) in parts {
        *file.pointer_mut(part).unwrap() = value.clone();
    }
    file.to_string()
}

fn read(parts: &[(&str, Value)], config: &Value) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_json(&pieces(parts))?.with_config(&config.to_string())
}

fn ids(tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    TEXTS.iter().map(|text| tokenizer.ids(text, true).unwrap()).collect()
}

const PLAIN: [&[u32]; 5] = [&[5, 4], &[1, 3, 2, 1, 4, 2], &[0, 2], &[2, 4, 0, 1], &[5, 1, 3, 2]];

fn truncation() -> Value {
    json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0})
}

fn padding() -> Value {
    json!({"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<|endoftext|>"})
}

/// Puts `before` and `behind` around a text.
fn template(before: bool, behind: bool) -> Value {
    let end = json!({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single: Vec<Value> =
        before.then(|| end.clone()).into_iter().chain([text]).chain(behind.then(|| end.clone())).collect();
    json!({"type": "TemplateProcessing", "single": single,
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}})
}

fn prefix_space() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})
}

#[test]
fn neither_truncation_nor_padding_changes_a_text() {
    let plain = read(&[], &json!({})).unwrap();
    assert_eq!(ids(&plain), PLAIN);
    let both: [&[(&str, Value)]; 3] = [
        &[("/truncation", truncation())],
        &[("/padding", padding())],
        &[("/truncation", truncation()), ("/padding", padding())],
    ];
    let mut digests = vec![plain.digest()];
    for parts in both {
        let tokenizer = read(parts, &json!({})).unwrap();
        assert_eq!(ids(&tokenizer), PLAIN);
        assert_eq!(tokenizer.encode("aba ba b").unwrap(), plain.encode("aba ba b").unwrap());
        assert_eq!(tokenizer.encode_pair("b b b", " a b").unwrap(), plain.encode_pair("b b b", " a b").unwrap());
        assert!(!digests.contains(&tokenizer.digest()), "what was cut before must not look like this");
        digests.push(tokenizer.digest());
        // Nor has it the digest of the file alone, with which texts were cut.
        assert_ne!(tokenizer.digest(), blake3::hash(pieces(parts).as_bytes()).to_hex()[..16]);
    }
}

#[test]
fn a_configuration_changes_ids_as_in_transformers() {
    let with = |parts: &[(&str, Value)], config: Value| {
        let tokenizer = read(parts, &config).unwrap();
        let plain = Tokenizer::from_json(&pieces(parts)).unwrap();
        (ids(&tokenizer), tokenizer.digest() == plain.digest())
    };
    let split: [&[u32]; 5] = [&[5, 4], &[1, 3, 2, 1, 4, 2], &[2], &[2, 4, 1], &[5, 1, 3, 2]];
    assert_eq!(with(&[], json!({"split_special_tokens": true})), (split.map(<[u32]>::to_vec).to_vec(), false));
    let named: [&[u32]; 5] = [&[5, 4], &[1, 3, 2, 1, 3, 5], &[0, 2], &[2, 4, 0, 1], &[5, 1, 3, 2]];
    assert_eq!(with(&[], json!({"unk_token": "ab"})), (named.map(<[u32]>::to_vec).to_vec(), false));
    let beyond: [&[u32]; 5] = [&[5, 4], &[1, 3, 6, 4, 2], &[0, 2], &[2, 4, 0, 1], &[1, 6, 3, 2]];
    assert_eq!(with(&[], json!({"pad_token": "ba"})), (beyond.map(<[u32]>::to_vec).to_vec(), false));
    let mut added = token("ba", false);
    added["lstrip"] = json!(true);
    let decoder = json!({"added_tokens_decoder": {"0": token("<|endoftext|>", true), "6": added}});
    let stripped: [&[u32]; 5] = [&[5, 4], &[1, 6, 4, 2], &[0, 2], &[2, 4, 0, 1], &[1, 6, 3, 2]];
    assert_eq!(with(&[], decoder), (stripped.map(<[u32]>::to_vec).to_vec(), false));
    let begun: [&[u32]; 5] = [&[0, 5, 4], &[0, 1, 3, 2, 1, 4, 2], &[0, 0, 2], &[0, 2, 4, 0, 1], &[0, 5, 1, 3, 2]];
    let begun = begun.map(<[u32]>::to_vec).to_vec();
    let template = [("/post_processor", template(true, false))];
    let says = json!({"add_bos_token": true, "bos_token": "<|endoftext|>"});
    assert_eq!(with(&template, says), (begun.clone(), true));
    assert_eq!(with(&template, json!({"tokenizer_class": "PreTrainedTokenizerFast"})), (begun, true));
    let spaced: [&[u32]; 5] = [&[4, 2, 4], &[4, 3, 2, 1, 4, 2], &[0, 3, 2], &[3, 2, 4, 0, 4], &[4, 2, 1, 3, 2]];
    let says = json!({"add_prefix_space": true});
    assert_eq!(with(&[("/pre_tokenizer", prefix_space())], says), (spaced.map(<[u32]>::to_vec).to_vec(), true));
    // What every repository of a GPT-NeoX says changes nothing.
    let usual = json!({"add_prefix_space": false, "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>", "tokenizer_class": "GPTNeoXTokenizer", "model_max_length": 2048,
        "added_tokens_decoder": {"0": token("<|endoftext|>", true)}});
    assert_eq!(with(&[], usual), (PLAIN.map(<[u32]>::to_vec).to_vec(), true));
}

#[test]
fn what_versions_of_transformers_do_differently_is_refused() {
    let refusal = |parts: &[(&str, Value)], config: Value| {
        let error = read(parts, &config).err().unwrap();
        format!("{error}\nhint: {}", error.hint().unwrap())
    };
    insta::assert_snapshot!(refusal(&[], json!({"add_prefix_space": true})), @"
    tokenizer_config.json says `add_prefix_space: true`, tokenizer.json says false
    hint: versions of transformers differ in which of the two they follow; write the same into both: `add_prefix_space` of tokenizer_config.json, and the `pre_tokenizer` of tokenizer.json
    ");
    insta::assert_snapshot!(refusal(&[("/pre_tokenizer", prefix_space())], json!({})), @"
    tokenizer_config.json says `add_prefix_space: false`, tokenizer.json says true
    hint: versions of transformers differ in which of the two they follow; write the same into both: `add_prefix_space` of tokenizer_config.json, and the `pre_tokenizer` of tokenizer.json
    ");
    let contradicts = |parts: &[(&str, Value)], config| {
        matches!(
            read(parts, &config),
            Err(TokenizerError::Contradiction { key: "add_bos_token" | "add_eos_token", .. })
        )
    };
    let template = [("/post_processor", template(true, false))];
    assert!(contradicts(&[], json!({"add_bos_token": true})));
    assert!(contradicts(&[], json!({"add_eos_token": true})));
    assert!(contradicts(&template, json!({"add_bos_token": false})));
    assert!(contradicts(&template, json!({"tokenizer_class": "GPTNeoXTokenizerFast"})));
}

#[test]
fn what_no_score_can_rest_on_is_refused() {
    let refusal = |part: &str, value: Value| {
        let error = Tokenizer::from_json(&pieces(&[(part, value)])).err().unwrap();
        format!("{error}\nhint: {}", error.hint().unwrap())
    };
    insta::assert_snapshot!(refusal("/model/dropout", json!(0.1)), @r#"
    tokenizer.json has `dropout` 0.1: the same text becomes other tokens each time
    hint: dropout is for training: write `"dropout": null` into the `model` of tokenizer.json
    "#);
    assert!(Tokenizer::from_json(&pieces(&[("/model/dropout", json!(0.0))])).is_ok());
    insta::assert_snapshot!(refusal("/post_processor", template(true, true)), @"
    tokenizer.json puts `<|endoftext|>` behind every text, so that no continuation could follow a context
    hint: remove it from the `post_processor` of tokenizer.json
    ");
    let bert = json!({"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]});
    assert!(refusal("/post_processor", bert).starts_with("tokenizer.json puts `a` behind every text"));
    let nested = json!({"type": "Sequence", "processors": [template(false, true)]});
    assert!(refusal("/post_processor", nested).starts_with("tokenizer.json puts `<|endoftext|>` behind every text"));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_files() {
    let plain = Tokenizer::from_json(&pieces(&[])).unwrap();
    let marked = Tokenizer::from_json(&format!("\u{feff}{}", pieces(&[]))).unwrap().with_config("\u{feff}{}").unwrap();
    assert_eq!(marked.digest(), plain.digest());
}
