//! Puts generated tables into a document: `<!-- BEGIN: tables/main.md -->` ... `<!-- END -->`.

use std::fs;
use std::path::Path;

use super::error::ReportError;

const BEGIN: &str = "<!-- BEGIN: ";
const END: &str = "<!-- END -->";

/// Replaces every block of `document` that names a file of the results folder by that file's content.
///
/// # Errors
/// A document without blocks, a block without end, a named file that is not there, or a document that cannot be written.
pub fn splice(folder: &Path, document: &Path) -> Result<(), ReportError> {
    let read =
        |path: &Path| fs::read_to_string(path).map_err(|source| ReportError::Read { path: path.to_owned(), source });
    let text = read(document)?;
    let shown = document.display().to_string();
    let spliced = replace(&text, &shown, |name| read(&folder.join(name)))?;
    let aside = document.with_extension("md.tmp");
    let written = fs::write(&aside, spliced).and_then(|()| fs::rename(&aside, document));
    written.map_err(|source| ReportError::Write { path: document.to_owned(), source })
}

fn replace(
    text: &str,
    document: &str,
    content: impl Fn(&str) -> Result<String, ReportError>,
) -> Result<String, ReportError> {
    let problem = |problem: String| ReportError::Splice { document: document.to_owned(), problem };
    let mut out = String::new();
    let mut rest = text;
    if !rest.contains(BEGIN) {
        return Err(problem(format!("no line says `{BEGIN}tables/<name>.md -->`")));
    }
    while let Some(start) = rest.find(BEGIN) {
        let name_at = start + BEGIN.len();
        let name_end =
            rest[name_at..].find(" -->").ok_or_else(|| problem("a block's first line is not closed".into()))?;
        let name = &rest[name_at..name_at + name_end];
        let body = name_at + name_end + " -->".len();
        let end = rest[body..].find(END).ok_or_else(|| problem(format!("the block of {name} has no `{END}`")))?;
        out.push_str(&rest[..body]);
        out.push_str("\n\n");
        out.push_str(content(name)?.trim());
        out.push_str("\n\n");
        out.push_str(END);
        rest = &rest[body + end + END.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_replaced_and_the_rest_is_left() {
        let text = "a\n<!-- BEGIN: t.md -->\nold\n<!-- END -->\nb\n<!-- BEGIN: u.md --><!-- END -->";
        let once = replace(text, "d", |name| Ok(format!("new {name}\n"))).unwrap();
        assert_eq!(
            once,
            "a\n<!-- BEGIN: t.md -->\n\nnew t.md\n\n<!-- END -->\nb\n<!-- BEGIN: u.md -->\n\nnew u.md\n\n<!-- END -->"
        );
        assert_eq!(replace(&once, "d", |name| Ok(format!("new {name}\n"))).unwrap(), once);
    }

    #[test]
    fn a_block_without_end_is_refused() {
        assert!(replace("<!-- BEGIN: t.md -->", "d", |_| Ok(String::new())).is_err());
        assert!(replace("nothing", "d", |_| Ok(String::new())).is_err());
    }
}
