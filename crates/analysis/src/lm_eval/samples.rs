//! `samples_<task>_<date>.jsonl` of one cell: one document a line.

use records::schema::{CellRecord, ItemRecord};
use serde_json::{Map, Value, json};

use super::measured::{Measured, output_type};

/// The samples of a cell. `data`: digest of the task's data.
///
/// A record holds no text, so `arguments`, `prompt_hash` and `target_hash` are absent, `doc` names the item, and `doc_hash` is that of
/// the task's data and the item's name: equal where both are, as the harness's is for equal documents.
pub(super) fn samples(cell: &CellRecord, metrics: &[Measured], data: &str) -> String {
    let mut text = String::new();
    for (index, item) in cell.items.iter().enumerate() {
        text.push_str(&sample(cell, metrics, data, index, item).to_string());
        text.push('\n');
    }
    text
}

fn sample(cell: &CellRecord, metrics: &[Measured], data: &str, index: usize, item: &ItemRecord) -> Value {
    let responses = responses(cell, item);
    let mut sample = Map::new();
    let mut put = |key: &str, value: Value| sample.insert(key.to_owned(), value);
    put("doc_id", json!(index));
    put("doc", json!({ "id": item.item_id }));
    put("doc_hash", json!(doc_hash(data, &item.item_id)));
    // The harness writes targets as text. That of a single continuation is not in the record.
    if let Some(gold) = item.gold {
        put("target", json!(gold.to_string()));
    }
    put("filter", json!("none"));
    // One request was answered once; a filter that changes nothing takes the first answer.
    put("resps", responses.iter().map(|response| json!([response])).collect());
    put("filtered_resps", Value::Array(responses));
    put("metrics", metrics.iter().map(|metric| json!(metric.name)).collect());
    for metric in metrics {
        put(&metric.name, metric.sample(index));
    }
    Value::Object(sample)
}

/// What the model said to each request, as the text to which the harness turns it: log-likelihood and whether the continuation is the
/// greedy one; of running text the log-likelihood of all of it.
fn responses(cell: &CellRecord, item: &ItemRecord) -> Vec<Value> {
    if output_type(cell) == "loglikelihood_rolling" {
        return vec![json!(number(item.loglikelihoods.iter().sum()))];
    }
    let pairs = item.loglikelihoods.iter().zip(&item.greedy);
    pairs.map(|(&value, &greedy)| json!([number(value), if greedy { "True" } else { "False" }])).collect()
}

/// The shortest text that reads as the same number.
fn number(value: f64) -> String {
    format!("{value:?}")
}

fn doc_hash(data: &str, item_id: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(data.as_bytes()).update(&[0]).update(item_id.as_bytes());
    hasher.finalize().to_hex().to_string()
}
