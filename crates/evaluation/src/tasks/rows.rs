//! Rows of a file with one JSON object a line, and errors that name file, line and field.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::TaskError;
use super::data::DataFile;

/// One row.
pub(super) struct Row<'a> {
    file: &'a str,
    line: usize,
    fields: Map<String, Value>,
}

/// All rows of a file, in order; empty lines at its end are none.
pub(super) fn rows(file: &DataFile) -> impl Iterator<Item = Result<Row<'_>, TaskError>> {
    file.text.trim_end().lines().enumerate().map(|(index, text)| {
        let mut row = Row { file: &file.name, line: index + 1, fields: Map::new() };
        if text.trim().is_empty() {
            return Err(row.problem("the line is empty", "each line of the file is one JSON object; remove this one"));
        }
        if !text.trim_start().starts_with('{') {
            return Err(row.problem("expected an object", "each line of the file is one JSON object"));
        }
        match serde_json::from_str(text) {
            Ok(Fields(fields)) => {
                row.fields = fields;
                Ok(row)
            }
            // JSON that says two things under one name.
            Err(error) if error.is_data() => {
                Err(row.problem(&error.to_string(), "nothing says which of the two is meant; remove one of them"))
            }
            Err(error) => Err(row.problem(
                &format!("not JSON: {error}"),
                "the file is damaged or cut off; copy it again from where its SOURCES.md says",
            )),
        }
    })
}

/// The fields of an object, each of which occurs once.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = object.next_entry::<String, Value>()? {
                    if fields.contains_key(&name) {
                        return Err(A::Error::custom(format!("`{name}` stands twice in the row")));
                    }
                    fields.insert(name, value);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Each)
    }
}

impl<'a> Row<'a> {
    /// File and 1-based line.
    pub(super) fn place(&self) -> (String, usize) {
        (self.file.to_owned(), self.line)
    }

    /// 0-based number of the row.
    pub(super) fn index(&self) -> usize {
        self.line - 1
    }

    pub(super) fn problem(&self, problem: &str, hint: &str) -> TaskError {
        TaskError::Row {
            file: self.file.to_owned(),
            line: self.line,
            problem: problem.to_owned(),
            hint: hint.to_owned(),
        }
    }

    /// Whether the row has a field that is not null.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|value| !value.is_null())
    }

    fn value(&self, field: &str) -> Result<&Value, TaskError> {
        let found = self.fields.get(field).filter(|value| !value.is_null());
        found.ok_or_else(|| {
            let fields: Vec<&str> = self.fields.keys().map(String::as_str).collect();
            self.problem(
                &format!("missing field `{field}`"),
                &format!("the row has {}; docs/models-and-data.md lists the forms that are read", fields.join(", ")),
            )
        })
    }

    /// A text.
    pub(super) fn text(&self, field: &str) -> Result<&str, TaskError> {
        self.value(field)?.as_str().ok_or_else(|| self.wrong(field, "a text"))
    }

    /// A text that is not empty.
    pub(super) fn filled(&self, field: &str) -> Result<&str, TaskError> {
        let text = self.text(field)?;
        if text.is_empty() {
            let hint = "nothing could be asked; correct the row, or leave it out";
            return Err(self.problem(&format!("`{field}` is empty"), hint));
        }
        Ok(text)
    }

    /// A list of texts.
    pub(super) fn texts(&self, field: &str) -> Result<Vec<&str>, TaskError> {
        let list = self.value(field)?.as_array().ok_or_else(|| self.wrong(field, "a list of texts"))?;
        list.iter().map(|text| text.as_str().ok_or_else(|| self.wrong(field, "a list of texts"))).collect()
    }

    /// A whole number, or a text that holds one.
    pub(super) fn whole(&self, field: &str) -> Result<u64, TaskError> {
        let value = self.value(field)?;
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        number.ok_or_else(|| self.wrong(field, "a whole number"))
    }

    /// `true` or `false`, where the field holds one of them.
    pub(super) fn truth(&self, field: &str) -> Option<bool> {
        self.fields.get(field)?.as_bool()
    }

    /// The object in a field as a row of its own.
    pub(super) fn object(&self, field: &str) -> Result<Row<'a>, TaskError> {
        let fields = self.value(field)?.as_object().ok_or_else(|| self.wrong(field, "an object"))?;
        Ok(Row { file: self.file, line: self.line, fields: fields.clone() })
    }

    /// The objects in a field as rows.
    pub(super) fn objects(&self, field: &str) -> Result<Vec<Row<'a>>, TaskError> {
        let wrong = || self.wrong(field, "a list of objects");
        let list = self.value(field)?.as_array().ok_or_else(wrong)?;
        list.iter()
            .map(|value| {
                let fields = value.as_object().ok_or_else(wrong)?;
                Ok(Row { file: self.file, line: self.line, fields: fields.clone() })
            })
            .collect()
    }

    /// Whether the field holds an object.
    pub(super) fn is_object(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(Value::is_object)
    }

    fn wrong(&self, field: &str, expected: &str) -> TaskError {
        self.problem(
            &format!("`{field}` is not {expected}"),
            "docs/models-and-data.md lists the forms of rows that are read",
        )
    }
}
