//! Puts generated tables into a document: `<!-- BEGIN: tables/main.md -->` ... `<!-- END -->`. Where a document shows several
//! experiments, a block names its own: `<!-- BEGIN: ablation:tables/main.md -->` is filled by the report of `ablation` alone.
//! Single numbers are filled in as well ([`super::values`]).

use std::fs;
use std::path::Path;

use super::error::ReportError;
use super::values;

const BEGIN: &str = "<!-- BEGIN: ";
const END: &str = "<!-- END -->";

/// Replaces every block of `document` that names a file of the results folder by that file's content.
///
/// # Errors
/// A document without blocks for this experiment, a block without end, a named file that is not there, or a document that cannot be written.
pub fn splice(folder: &Path, experiment: &str, document: &Path) -> Result<(), ReportError> {
    let read =
        |path: &Path| fs::read_to_string(path).map_err(|source| ReportError::Read { path: path.to_owned(), source });
    let text = read(document)?;
    let shown = document.display().to_string();
    let spliced = replace(&text, &shown, experiment, |name| read(&folder.join(name)))?;
    let aside = document.with_extension("md.tmp");
    let written = fs::write(&aside, spliced).and_then(|()| fs::rename(&aside, document));
    written.map_err(|source| ReportError::Write { path: document.to_owned(), source })
}

/// Fills values and blocks; a document without any is refused.
fn replace(
    text: &str,
    document: &str,
    experiment: &str,
    content: impl Fn(&str) -> Result<String, ReportError>,
) -> Result<String, ReportError> {
    let (text, values) = values::fill(text, document, experiment, &content)?;
    let (text, blocks) = blocks(&text, document, experiment, &content)?;
    if values + blocks == 0 {
        return Err(ReportError::Splice {
            document: document.to_owned(),
            problem: format!(
                "no line says `{BEGIN}tables/<name>.md -->` or `{BEGIN}{experiment}:tables/<name>.md -->`"
            ),
        });
    }
    Ok(text)
}

/// Fills the blocks of `experiment`; returns the text and how many there were.
fn blocks(
    text: &str,
    document: &str,
    experiment: &str,
    content: impl Fn(&str) -> Result<String, ReportError>,
) -> Result<(String, usize), ReportError> {
    let problem = |problem: String| ReportError::Splice { document: document.to_owned(), problem };
    let mut out = String::new();
    let (mut rest, mut filled) = (text, 0);
    while let Some(start) = rest.find(BEGIN) {
        let name_at = start + BEGIN.len();
        let name_end =
            rest[name_at..].find(" -->").ok_or_else(|| problem("a block's first line is not closed".into()))?;
        let name = &rest[name_at..name_at + name_end];
        let body = name_at + name_end + " -->".len();
        let length = rest[body..].find(END).ok_or_else(|| problem(format!("the block of {name} has no `{END}`")))?;
        let end = body + length;
        let own = match name.split_once(':') {
            Some((other, _)) if other != experiment => None,
            Some((_, name)) => Some(name),
            None => Some(name),
        };
        if let Some(name) = own {
            filled += 1;
            out.push_str(&rest[..body]);
            out.push_str("\n\n");
            out.push_str(content(name)?.trim());
            out.push_str("\n\n");
        } else {
            out.push_str(&rest[..end]);
        }
        out.push_str(END);
        rest = &rest[end + END.len()..];
    }
    out.push_str(rest);
    Ok((out, filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_replaced_and_the_rest_is_left() {
        let text = "a\n<!-- BEGIN: t.md -->\nold\n<!-- END -->\nb\n<!-- BEGIN: u.md --><!-- END -->";
        let once = replace(text, "d", "x", |name| Ok(format!("new {name}\n"))).unwrap();
        assert_eq!(
            once,
            "a\n<!-- BEGIN: t.md -->\n\nnew t.md\n\n<!-- END -->\nb\n<!-- BEGIN: u.md -->\n\nnew u.md\n\n<!-- END -->"
        );
        assert_eq!(replace(&once, "d", "x", |name| Ok(format!("new {name}\n"))).unwrap(), once);
    }

    #[test]
    fn blocks_of_other_experiments_are_left_alone() {
        let text = "<!-- BEGIN: x:t.md -->old<!-- END -->\n<!-- BEGIN: y:t.md -->\nkept\n<!-- END -->";
        let spliced = replace(text, "d", "x", |name| Ok(name.to_owned())).unwrap();
        assert_eq!(
            spliced,
            "<!-- BEGIN: x:t.md -->\n\nt.md\n\n<!-- END -->\n<!-- BEGIN: y:t.md -->\nkept\n<!-- END -->"
        );
        assert!(replace(text, "d", "z", |name| Ok(name.to_owned())).is_err());
    }

    #[test]
    fn a_block_without_end_is_refused() {
        assert!(replace("<!-- BEGIN: t.md -->", "d", "x", |_| Ok(String::new())).is_err());
        assert!(replace("nothing", "d", "x", |_| Ok(String::new())).is_err());
    }
    #[test]
    fn values_stand_beside_blocks() {
        let text = "<!-- BEGIN: y:t.md -->kept<!-- END --> <!-- VALUE: x:f.csv; value .1; layer=3 -->?<!-- /VALUE -->";
        let spliced = replace(text, "d", "x", |_| Ok("layer,value\n3,0.25\n".to_owned())).unwrap();
        assert_eq!(spliced, text.replace('?', "0.2"));
    }
}
