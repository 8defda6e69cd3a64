//! Located values, and the readers that turn them into typed ones.

use reduction_strategies::spelling::nearest;

use super::error::{Fault, Faults, Span};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T> Located<T> {
    pub(super) fn with<U>(&self, value: U) -> Located<U> {
        Located { value, span: self.span }
    }

    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.span, message)
    }
}

/// Any YAML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Located<String>, Node)>),
}

pub(super) type Node = Located<Value>;

impl Node {
    fn described(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Number(value) => format!("the number {value}"),
            Value::Text(value) => format!("the text `{value}`"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }

    /// A value of the wrong type, with an example of the right one.
    pub(super) fn wrong(&self, what: &str, expected: &str) -> Fault {
        let fault = self
            .fault(format!("{what} must be {expected}, not {}", self.described()))
            .label(format!("expected {expected}"));
        match expected {
            "text" => fault.hint("write a word, or several in quotes"),
            "a number" => fault.hint("write it plainly, for example 0.2"),
            "a whole number" => fault.hint("write it plainly, for example 50"),
            "a list" => fault.hint("write [first, second], or one entry per line after `- `"),
            "a map" => fault.hint("write { key: value }, or one `key: value` per line"),
            _ => fault,
        }
    }

    /// Text; a bare number or boolean is not quietly taken for one.
    pub(super) fn text(&self, what: &str) -> Result<Located<String>, Fault> {
        match &self.value {
            Value::Text(text) if !text.trim().is_empty() => Ok(self.with(text.clone())),
            Value::Text(_) => Err(self.fault(format!("{what} is empty"))),
            Value::Bool(_) | Value::Integer(_) | Value::Number(_) => {
                Err(self.wrong(what, "text").hint("put it in quotes if text is meant"))
            }
            _ => Err(self.wrong(what, "text")),
        }
    }

    pub(super) fn number(&self, what: &str) -> Result<Located<f64>, Fault> {
        match &self.value {
            Value::Integer(value) => Ok(self.with(*value as f64)),
            Value::Number(value) => Ok(self.with(*value)),
            Value::Text(text) => {
                let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
                let fault = self.wrong(what, "a number");
                Err(match percent {
                    Some(percent) => fault.hint(format!("write {} for {percent} %", percent / 100.0)),
                    None => fault,
                })
            }
            _ => Err(self.wrong(what, "a number")),
        }
    }

    /// A whole number of at least `min`.
    pub(super) fn whole(&self, what: &str, min: u64) -> Result<Located<u64>, Fault> {
        match &self.value {
            Value::Integer(value) => match u64::try_from(*value).ok().filter(|value| *value >= min) {
                Some(value) => Ok(self.with(value)),
                None => Err(self
                    .fault(format!("{what} must be at least {min}, not {value}"))
                    .label("too small")
                    .hint(format!("write {min} or more, or leave the key out"))),
            },
            Value::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => Err(self
                .fault(format!("{what} must be a whole number, without a point or an exponent"))
                .label("written as a fraction")
                .hint(format!("write {number:.0}"))),
            Value::Text(text) if text.trim().parse::<u64>().is_ok() => Err(self
                .fault(format!("{what} must be a whole number, not text"))
                .label("text, because of the quotes")
                .hint(format!("write it without quotes: {}", text.trim()))),
            _ => Err(self.wrong(what, "a whole number")),
        }
    }

    pub(super) fn index(&self, what: &str) -> Result<Located<usize>, Fault> {
        self.whole(what, 0).map(|whole| whole.with(whole.value as usize))
    }

    /// A list with at least one entry.
    pub(super) fn list(&self, what: &str) -> Result<&[Node], Fault> {
        match &self.value {
            Value::List(items) if items.is_empty() => {
                Err(self.fault(format!("{what} is an empty list")).hint("remove the key, or list at least one value"))
            }
            Value::List(items) => Ok(items),
            Value::Text(text) => Err(self.wrong(what, "a list").hint(format!("write [{text}]"))),
            Value::Integer(number) => Err(self.wrong(what, "a list").hint(format!("write [{number}]"))),
            Value::Number(number) => Err(self.wrong(what, "a list").hint(format!("write [{number}]"))),
            _ => Err(self.wrong(what, "a list")),
        }
    }

    /// A list, or one value standing for a list of one.
    pub(super) fn one_or_more(&self, what: &str) -> Result<&[Node], Fault> {
        match &self.value {
            Value::List(_) => self.list(what),
            _ => Ok(std::slice::from_ref(self)),
        }
    }

    pub(super) fn entries(&self, what: &str) -> Result<&[(Located<String>, Node)], Fault> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.wrong(what, "a map")),
        }
    }

    /// A map that has no keys but `known` ones.
    pub(super) fn fields<'n>(&'n self, what: &str, known: &[&str]) -> Result<Fields<'n>, Fault> {
        let entries = self.entries(what)?;
        let mut faults = Faults::default();
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.value.as_str())) {
            faults.add(unknown_key(key, what, known));
        }
        faults.done(Fields { span: self.span, entries })
    }
}

/// A map; unknown keys are refused elsewhere.
pub(super) struct Fields<'n> {
    pub(super) span: Span,
    pub(super) entries: &'n [(Located<String>, Node)],
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.value == name).map(|(_, value)| value)
    }

    pub(super) fn key(&self, name: &str) -> Option<Span> {
        self.entries.iter().find(|(key, _)| key.value == name).map(|(key, _)| key.span)
    }

    pub(super) fn need(&self, name: &str, hint: &str) -> Result<&'n Node, Fault> {
        self.get(name)
            .ok_or_else(|| Fault::new(self.span, format!("`{name}` is missing")).label("in this map").hint(hint))
    }
}

/// An unknown key, with the nearest known one; the banned word of the field gets its own explanation.
pub(super) fn unknown_key(key: &Located<String>, what: &str, known: &[&str]) -> Fault {
    if key.value == "reduce_ratio" {
        return key
            .fault("`reduce_ratio` is not a key: the word is used for both the kept and the removed share")
            .label("ambiguous")
            .hint("use keep_ratio (the share that is kept) or flops_reduction (the share of FLOPs saved)");
    }
    let hint = match nearest(&key.value, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known keys: {}", known.join(", ")),
    };
    key.fault(format!("unknown key `{}` in {what}", key.value)).label("unknown").hint(hint)
}

/// Refuses the second of two equal values of an axis.
pub(super) fn refuse_duplicates<T>(
    items: &[Located<T>],
    what: &str,
    same: impl Fn(&T, &T) -> bool,
    show: impl Fn(&T) -> String,
) -> Result<(), Fault> {
    for (index, item) in items.iter().enumerate() {
        if items[..index].iter().any(|earlier| same(&earlier.value, &item.value)) {
            return Err(item
                .fault(format!("{what} lists `{}` twice", show(&item.value)))
                .label("again here")
                .hint("remove one of them"));
        }
    }
    Ok(())
}
