//! Parquet files as lines of JSON, the form in which benchmarks read their rows. Tests: `tests/datasets/`.

use std::fs::File;
use std::path::Path;

use polars::prelude::*;
use serde_json::{Map, Value};

/// All rows of a file, in order, as one JSON object a line: texts, whole numbers, truth values, lists and structs of them, nulls.
///
/// # Errors
/// The file cannot be read, or holds values of another kind.
pub fn json_lines(path: &Path) -> PolarsResult<String> {
    let frame = ParquetReader::new(File::open(path)?).finish()?;
    let mut lines = String::new();
    for row in 0..frame.height() {
        let mut object = Map::new();
        for column in frame.columns() {
            object.insert(column.name().to_string(), json(&column.get(row)?)?);
        }
        lines += &Value::Object(object).to_string();
        lines.push('\n');
    }
    Ok(lines)
}

fn json(value: &AnyValue<'_>) -> PolarsResult<Value> {
    Ok(match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => Value::Bool(*value),
        AnyValue::List(series) => Value::Array(series.iter().map(|value| json(&value)).collect::<PolarsResult<_>>()?),
        AnyValue::Struct(_, _, fields) => object(fields, value._iter_struct_av())?,
        // That of a frame with one row.
        AnyValue::StructOwned(owned) => object(&owned.1, owned.0.iter().cloned())?,
        _ => match (value.get_str(), value.extract::<i64>()) {
            (Some(text), _) => Value::String(text.to_owned()),
            (None, Some(number)) if value.dtype().is_integer() => Value::from(number),
            _ => polars_bail!(InvalidOperation: "values of type {} are not read", value.dtype()),
        },
    })
}

fn object<'a>(fields: &[Field], values: impl Iterator<Item = AnyValue<'a>>) -> PolarsResult<Value> {
    let named = fields.iter().zip(values).map(|(field, value)| Ok((field.name().to_string(), json(&value)?)));
    Ok(Value::Object(named.collect::<PolarsResult<_>>()?))
}
