//! Puts generated tables into a document: `<!-- BEGIN: tables/main.md -->` ... `<!-- END -->`. Where a document shows several
//! experiments, a block names its own: `<!-- BEGIN: ablation:tables/main.md -->` is filled by the report of `ablation` alone.
//! Single numbers are filled in as well ([`super::values`]).
//!
//! The document is somebody's work. Unless every place in it is whole, nothing is written.

use std::fs;
use std::ops::Range;
use std::path::{Component, Path};

use records::files::{self, Durability};
use records::regular;

use super::error::ReportError;
use super::values;

const BEGIN: &str = "<!-- BEGIN: ";
const CLOSE: &str = " -->";
const END: &str = "<!-- END -->";

/// Largest document, and largest text of a block.
const MAX_BYTES: u64 = 64 << 20;

/// A block of a document.
#[derive(Debug, PartialEq, Eq)]
struct Block<'t> {
    /// What its first mark names.
    name: &'t str,
    /// Line of its first mark, from 1.
    line: usize,
    /// What stands between its marks.
    body: Range<usize>,
}

/// Refuses a document that [`splice`] would refuse for its marks, before work is done for it.
///
/// # Errors
/// A document that cannot be read or written, or whose blocks are not whole.
pub fn check_document(document: &Path) -> Result<(), ReportError> {
    blocks(&read(document)?, document)?;
    files::check(document).map_err(|source| ReportError::Write { path: document.to_owned(), source })
}

/// As [`check_document`], for a document that must have one block.
///
/// # Errors
/// As there; or the block is missing.
pub fn check_block(document: &Path, block: &str) -> Result<(), ReportError> {
    check_document(document)?;
    if blocks(&read(document)?, document)?.iter().any(|own| own.name == block) {
        return Ok(());
    }
    let problem = format!("no line says `{BEGIN}{block}{CLOSE}`");
    Err(ReportError::Splice { document: document.display().to_string(), problem })
}

/// Replaces every block of `document` that names a file of the results folder by that file's content.
///
/// # Errors
/// A document without blocks for this experiment, a block without end or with another one inside, a name that leads out of the results
/// folder or to no file, or a document that cannot be written.
pub fn splice(folder: &Path, experiment: &str, document: &Path) -> Result<(), ReportError> {
    let text = read(document)?;
    let spliced = replace(&text, document, experiment, |name| content(folder, name))?;
    files::write(document, spliced.as_bytes(), Durability::Synced)
        .map_err(|source| ReportError::Write { path: document.to_owned(), source })
}

fn read(path: &Path) -> Result<String, ReportError> {
    regular::read_text(path, MAX_BYTES).map_err(|source| ReportError::Read { path: path.to_owned(), source })
}

/// The content of a file in the results folder; or what is wrong with the name.
fn content(folder: &Path, name: &str) -> Result<String, String> {
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let leads_out = || format!("`{name}` leads out of the results folder");
    if name.is_empty() || !Path::new(name).components().all(plain) {
        return Err(leads_out());
    }
    let cannot = |error: std::io::Error| format!("cannot read `{name}` in {}: {error}", folder.display());
    let path = folder.join(name);
    let (root, real) = (fs::canonicalize(folder).map_err(cannot)?, fs::canonicalize(&path).map_err(cannot)?);
    if !real.starts_with(root) {
        return Err(leads_out());
    }
    let content = regular::read_text(&real, MAX_BYTES).map_err(cannot)?;
    if content.contains(BEGIN) || content.contains(END) {
        return Err(format!("`{name}` holds marks of blocks itself"));
    }
    Ok(content)
}

/// Finds the blocks of a document. Marks in code, between backticks or fences, show how one is written and are text.
fn blocks<'t>(text: &'t str, document: &Path) -> Result<Vec<Block<'t>>, ReportError> {
    let problem = |line: usize, problem: String| ReportError::Splice {
        document: format!("{}:{line}", document.display()),
        problem,
    };
    let mut blocks = Vec::new();
    let mut open: Option<Block<'t>> = None;
    let (mut start, mut fence) = (0, None);
    for (number, line) in text.split_inclusive('\n').enumerate().map(|(index, line)| (index + 1, line)) {
        // Generated text opens no fence that it does not close.
        if open.is_none() {
            fence = after(fence, line);
        }
        let mut at = if fence.is_some() { line.len() } else { 0 };
        if let Some(Block { name, .. }) = &open
            && is_nearly_an_end(line)
        {
            return Err(problem(number, format!("the block of `{name}` ends with `{END}`, written like that")));
        }
        while let Some((found, is_end)) = next_mark(line, at) {
            if is_end {
                let Some(mut block) = open.take() else {
                    return Err(problem(number, format!("`{END}` ends no block")));
                };
                block.body.end = start + found;
                blocks.push(block);
                at = found + END.len();
                continue;
            }
            let name_at = found + BEGIN.len();
            let Some(length) = line[name_at..].find(CLOSE) else {
                return Err(problem(number, format!("the mark of a block has no `{}`", CLOSE.trim())));
            };
            let name = &line[name_at..name_at + length];
            if let Some(Block { name: outer, line, .. }) = open {
                return Err(problem(
                    line,
                    format!("the block of `{outer}` has no `{END}` before the block of `{name}` in line {number}"),
                ));
            }
            at = name_at + length + CLOSE.len();
            open = Some(Block { name, line: number, body: start + at..start + at });
        }
        start += line.len();
    }
    match open {
        Some(Block { name, line, .. }) => Err(problem(line, format!("the block of `{name}` has no `{END}`"))),
        None => Ok(blocks),
    }
}

/// A comment that a person takes for the end of a block: `<!--END-->`, `<!-- END: name -->`.
fn is_nearly_an_end(line: &str) -> bool {
    line.match_indices("<!--").any(|(at, _)| {
        let comment = line[at..].split("-->").next().unwrap_or_default();
        let word = comment.trim_start_matches("<!--").trim_start();
        let is_end = word.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("end"));
        is_end && !word[3..].starts_with(|c: char| c.is_alphanumeric()) && !line[at..].starts_with(END)
    })
}

/// The next mark of a line, and whether it ends a block.
fn next_mark(line: &str, from: usize) -> Option<(usize, bool)> {
    let find = |mark: &str| {
        let found = line[from..].match_indices(mark).map(|(at, _)| from + at);
        found.into_iter().find(|at| !line[..*at].ends_with('`'))
    };
    match (find(BEGIN), find(END)) {
        (Some(begin), Some(end)) => Some((begin.min(end), end < begin)),
        (begin, end) => begin.map(|at| (at, false)).or(end.map(|at| (at, true))),
    }
}

/// The fence that is open after a line, as its character and how often it stands there.
fn after(fence: Option<(char, usize)>, line: &str) -> Option<(char, usize)> {
    let line = line.trim();
    let run = |mark: char| line.chars().take_while(|character| *character == mark).count();
    match fence {
        Some((mark, length)) => (run(mark) < length || run(mark) < line.len()).then_some((mark, length)),
        None => ['`', '~'].into_iter().map(|mark| (mark, run(mark))).find(|(mark, length)| {
            // ```a``` is code within a line.
            *length >= 3 && (*mark == '~' || !line[*length..].contains('`'))
        }),
    }
}

/// Fills values and blocks; a document without any is refused.
fn replace(
    text: &str,
    document: &Path,
    experiment: &str,
    content: impl Fn(&str) -> Result<String, String>,
) -> Result<String, ReportError> {
    let of_value = |problem| ReportError::Splice { document: document.display().to_string(), problem };
    let (text, values) = values::fill(text, experiment, &content).map_err(of_value)?;
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let (mut out, mut rest, mut filled) = (String::new(), 0, values);
    for block in blocks(&text, document)? {
        let name = match block.name.split_once(':') {
            Some((other, _)) if other != experiment => continue,
            Some((_, name)) => name,
            None => block.name,
        };
        let new = content(name).map_err(|problem| ReportError::Splice {
            document: format!("{}:{}", document.display(), block.line),
            problem,
        })?;
        let new: Vec<&str> = new.trim().lines().collect();
        out.push_str(&text[rest..block.body.start]);
        out.extend([line_end, line_end, &new.join(line_end), line_end, line_end]);
        rest = block.body.end;
        filled += 1;
    }
    if filled == 0 {
        let problem =
            format!("no line says `{BEGIN}tables/<name>.md -->` or `{BEGIN}{experiment}:tables/<name>.md -->`");
        return Err(ReportError::Splice { document: document.display().to_string(), problem });
    }
    out.push_str(&text[rest..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, experiment: &str) -> Result<String, String> {
        replace(text, Path::new("d.md"), experiment, |name| Ok(format!("new {name}\n"))).map_err(|e| e.to_string())
    }

    #[test]
    fn blocks_are_replaced_and_the_rest_is_left() {
        let text = "a\n<!-- BEGIN: t.md -->\nold\n<!-- END -->\nb\n<!-- BEGIN: u.md --><!-- END -->";
        let once = filled(text, "x").unwrap();
        assert_eq!(
            once,
            "a\n<!-- BEGIN: t.md -->\n\nnew t.md\n\n<!-- END -->\nb\n<!-- BEGIN: u.md -->\n\nnew u.md\n\n<!-- END -->"
        );
        assert_eq!(filled(&once, "x").unwrap(), once);
        // The same block twice is filled twice, and lines end as they do elsewhere in the document.
        let twice = filled("<!-- BEGIN: t -->\r\n<!-- END -->\r\n<!-- BEGIN: t --><!-- END -->\r\n", "x").unwrap();
        assert_eq!(twice.matches("\r\n\r\nnew t\r\n\r\n<!-- END -->").count(), 2);
        assert_eq!(twice.matches('\n').count(), twice.matches("\r\n").count());
    }

    #[test]
    fn blocks_of_other_experiments_are_left_alone() {
        let text = "<!-- BEGIN: x:t.md -->old<!-- END -->\n<!-- BEGIN: y:t.md -->\nkept\n<!-- END -->";
        assert_eq!(
            filled(text, "x").unwrap(),
            "<!-- BEGIN: x:t.md -->\n\nnew t.md\n\n<!-- END -->\n<!-- BEGIN: y:t.md -->\nkept\n<!-- END -->"
        );
        assert!(filled(text, "z").unwrap_err().contains("no line says"));
    }

    #[test]
    fn a_document_whose_blocks_are_not_whole_is_refused() {
        for (text, said) in [
            ("a\n<!-- BEGIN: t.md -->\nown text", "d.md:2: the block of `t.md` has no `<!-- END -->`"),
            (
                "<!-- BEGIN: t.md -->\nold\n\nown text\n\n<!-- BEGIN: y:u.md -->\n<!-- END -->\n",
                "d.md:1: the block of `t.md` has no `<!-- END -->` before the block of `y:u.md` in line 6",
            ),
            ("<!-- BEGIN: t.md --><!-- END -->\n<!-- END -->", "d.md:2: `<!-- END -->` ends no block"),
            ("<!-- BEGIN: t.md\n-->\n<!-- END -->", "d.md:1: the mark of a block has no `-->`"),
            (
                "<!-- BEGIN: t.md -->\nold\n<!--END-->\nown\n<!-- END -->",
                "d.md:3: the block of `t.md` ends with `<!-- END -->`, written like that",
            ),
            (
                "<!-- BEGIN: t.md -->\nold\n<!-- END: t.md -->\nown\n<!-- END -->",
                "d.md:3: the block of `t.md` ends with `<!-- END -->`, written like that",
            ),
            (
                "nothing",
                "d.md: no line says `<!-- BEGIN: tables/<name>.md -->` or `<!-- BEGIN: x:tables/<name>.md -->`",
            ),
        ] {
            assert_eq!(filled(text, "x").unwrap_err(), said, "{text}");
        }
    }

    #[test]
    fn marks_in_code_are_text() {
        let code = "Write `<!-- BEGIN: t.md -->` ... `<!-- END -->`:\n\n```markdown\n<!-- BEGIN: t.md -->\n```\n";
        let text = format!("{code}<!-- BEGIN: u.md --><!-- END -->\n~~~\n<!-- END -->\n~~~\n");
        let new = filled(&text, "x").unwrap();
        assert!(new.starts_with(code) && new.contains("new u.md") && !new.contains("new t.md"), "{new}");
    }

    #[test]
    fn a_block_names_files_of_the_results_folder_alone() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("results");
        fs::create_dir_all(folder.join("tables")).unwrap();
        fs::write(outside.path().join("secret.md"), "secret").unwrap();
        fs::write(folder.join("tables/t.md"), "table").unwrap();
        fs::write(folder.join("tables/marks.md"), "<!-- END -->").unwrap();
        std::os::unix::fs::symlink("../../secret.md", folder.join("tables/out.md")).unwrap();
        std::os::unix::fs::symlink("t.md", folder.join("tables/in.md")).unwrap();
        assert_eq!(content(&folder, "tables/t.md").unwrap(), "table");
        assert_eq!(content(&folder, "tables/in.md").unwrap(), "table");
        let absolute = outside.path().join("secret.md");
        for name in ["../secret.md", "tables/../../secret.md", absolute.to_str().unwrap(), "tables/out.md", ""] {
            assert!(content(&folder, name).unwrap_err().ends_with("leads out of the results folder"), "{name}");
        }
        assert!(content(&folder, "tables").unwrap_err().ends_with("it is a folder, not a regular file"));
        assert!(content(&folder, "tables/none.md").unwrap_err().contains("No such file"));
        assert!(content(&folder, "tables/marks.md").unwrap_err().contains("holds marks of blocks"));
    }
    #[test]
    fn values_stand_beside_blocks() {
        let text = "<!-- BEGIN: y:t.md -->kept<!-- END --> <!-- VALUE: x:f.csv; value .1; layer=3 -->?<!-- /VALUE -->";
        let spliced = replace(text, Path::new("d"), "x", |_| Ok("layer,value\n3,0.25\n".to_owned())).unwrap();
        assert_eq!(spliced, text.replace('?', "0.2"));
    }
}
