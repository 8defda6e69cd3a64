//! Single numbers in a document, from the CSV files of a results folder:
//!
//! ```text
//! <!-- VALUE: c02:figures/probe_state_divergence_other.csv; value .2; layer=13; distance=8 -->0.19<!-- /VALUE -->
//! ```
//!
//! File, column (`value*100` in percent) with its decimals, and what tells the row from all others. As with blocks, a value that names
//! another experiment is another report's.

use std::path::{Component, Path};

const BEGIN: &str = "<!-- VALUE: ";
const CLOSE: &str = " -->";
const END: &str = "<!-- /VALUE -->";

/// Fills in every value of `experiment`; returns the text and how many there were.
///
/// # Errors
/// A value that cannot be read, whose file has no such column, or for which not exactly one row fits.
pub(super) fn fill(
    text: &str,
    experiment: &str,
    content: impl Fn(&str) -> Result<String, String>,
) -> Result<(String, usize), String> {
    let problem = |what: &str, why: String| format!("the value `{what}` {why}");
    let (mut out, mut rest, mut filled) = (String::with_capacity(text.len()), text, 0);
    while let Some(start) = rest.find(BEGIN) {
        let from = start + BEGIN.len();
        let length = rest[from..].find(CLOSE).ok_or_else(|| problem("", "is not closed".to_owned()))?;
        let (what, body) = (&rest[from..from + length], from + length + CLOSE.len());
        let old = rest[body..].find(END).ok_or_else(|| problem(what, format!("has no `{END}`")))?;
        // The end of another value belongs to that one.
        if rest[body..body + old].contains(BEGIN) {
            return Err(problem(what, format!("has no `{END}`")));
        }
        out.push_str(&rest[..body]);
        let wish = Wish::parse(what).map_err(|why| problem(what, why))?;
        if wish.experiment.is_none_or(|wanted| wanted == experiment) {
            filled += 1;
            let number = content(wish.file).and_then(|text| wish.find(&text)).map_err(|why| problem(what, why))?;
            out.push_str(&number);
        } else {
            out.push_str(&rest[body..body + old]);
        }
        out.push_str(END);
        rest = &rest[body + old + END.len()..];
    }
    out.push_str(rest);
    Ok((out, filled))
}

/// What stands between `VALUE:` and `-->`.
struct Wish<'a> {
    experiment: Option<&'a str>,
    file: &'a str,
    column: &'a str,
    scale: f64,
    decimals: usize,
    conditions: Vec<(&'a str, &'a str)>,
}

impl<'a> Wish<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut parts = text.split(';').map(str::trim);
        let (place, column) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (experiment, file) = match place.split_once(':') {
            Some((experiment, file)) => (Some(experiment), file),
            None => (None, place),
        };
        let inside = Path::new(file).components().all(|component| matches!(component, Component::Normal(_)));
        if file.is_empty() || !inside {
            return Err("names no file of the results folder".to_owned());
        }
        let shape = "says no column with its decimals, for example `value .2` or `value*100 .1`";
        let (column, decimals) = column.rsplit_once(" .").ok_or(shape)?;
        let decimals = decimals.parse().ok().filter(|decimals: &usize| *decimals < 10).ok_or(shape)?;
        let (column, scale) = match column.split_once('*') {
            Some((column, scale)) => (column, scale.parse().map_err(|_| shape)?),
            None => (column, 1.0),
        };
        let condition =
            |part: &'a str| part.split_once('=').ok_or_else(|| format!("has `{part}`, which is no `column=value`"));
        let conditions = parts.filter(|part| !part.is_empty()).map(condition).collect::<Result<_, _>>()?;
        Ok(Self { experiment, file, column, scale, decimals, conditions })
    }

    fn find(&self, csv: &str) -> Result<String, String> {
        let mut lines = records(csv).into_iter();
        let header = lines.next().unwrap_or_default();
        let place = |name: &str| {
            header
                .iter()
                .position(|column| column == name)
                .ok_or_else(|| format!("asks for `{name}`, which is no column"))
        };
        let column = place(self.column)?;
        let conditions: Vec<(usize, &str)> =
            self.conditions.iter().map(|(name, value)| Ok((place(name)?, *value))).collect::<Result<_, String>>()?;
        let fits = |line: &Vec<String>| {
            conditions.iter().all(|(place, value)| line.get(*place).is_some_and(|field| same(field, value)))
        };
        let found: Vec<Vec<String>> = lines.filter(fits).collect();
        let [line] = found.as_slice() else {
            return Err(format!("fits {} rows of {}, not one", found.len(), self.file));
        };
        let field = line.get(column).map_or("", String::as_str);
        let number: f64 = field.parse().map_err(|_| format!("is `{field}`, which is no number"))?;
        Ok(format!("{:.*}", self.decimals, number * self.scale))
    }
}

/// Equal as text or as numbers.
fn same(field: &str, wanted: &str) -> bool {
    let numbers = field.parse::<f64>().ok().zip(wanted.parse::<f64>().ok());
    field == wanted || numbers.is_some_and(|(a, b)| a.total_cmp(&b).is_eq())
}

/// The records of a CSV file, with quoted fields unquoted.
fn records(csv: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, csv.chars().peekable());
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            ('"', _) => quoted = !quoted,
            (',', false) => record.push(std::mem::take(&mut field)),
            ('\r', false) => {}
            ('\n', false) => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            _ => field.push(c),
        }
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "series,layer,value\n\"top_k (clip, of y)\",13,0.18812\nutrc,13,0.255\nutrc,9,inf\n";

    fn filled(text: &str) -> Result<(String, usize), String> {
        let content = |name: &str| {
            assert_eq!(name, "figures/x.csv");
            Ok(CSV.to_owned())
        };
        fill(text, "c02", content)
    }

    fn value(what: &str) -> Result<String, String> {
        let (text, count) = filled(&format!("from <!-- VALUE: {what} -->old<!-- /VALUE --> on"))?;
        assert_eq!(count, 1);
        let number = text.strip_prefix(&format!("from <!-- VALUE: {what} -->")).unwrap();
        Ok(number.strip_suffix("<!-- /VALUE --> on").unwrap().to_owned())
    }

    #[test]
    fn a_number_of_one_row_is_filled_in() {
        assert_eq!(value("figures/x.csv; value .2; layer=13; series=utrc").unwrap(), "0.26");
        assert_eq!(value("c02:figures/x.csv; value*100 .1; series=top_k (clip, of y)").unwrap(), "18.8");
        let (text, count) = filled("<!-- VALUE: c03:figures/y.csv; value .2 -->0.5<!-- /VALUE -->").unwrap();
        assert_eq!((text.as_str(), count), ("<!-- VALUE: c03:figures/y.csv; value .2 -->0.5<!-- /VALUE -->", 0));
    }

    #[test]
    fn what_is_not_one_number_is_refused() {
        for (what, why) in [
            ("figures/x.csv; value .2; layer=13", "fits 2 rows"),
            ("figures/x.csv; value .2; layer=14", "fits 0 rows"),
            ("figures/x.csv; values .2; layer=9", "`values`, which is no column"),
            ("figures/x.csv; series .2; layer=9", "`utrc`, which is no number"),
            ("figures/x.csv; value; layer=9", "no column with its decimals"),
            ("../x.csv; value .2", "no file of the results folder"),
            ("/etc/passwd; value .2", "no file of the results folder"),
            ("figures/x.csv; value .2; layer", "no `column=value`"),
        ] {
            let error = value(what).unwrap_err();
            assert!(error.contains(why), "{what}: {error}");
        }
        let unclosed = "<!-- VALUE: figures/x.csv; value .2; series=utrc -->0<!-- VALUE: figures/x.csv; value .2 -->1<!-- /VALUE -->";
        assert!(filled(unclosed).unwrap_err().contains("has no `<!-- /VALUE -->`"));
    }
}
