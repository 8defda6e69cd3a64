//! As much of Markdown as the checks need.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// All files of the workspace by their paths from its root, without what is built, fetched or made by runs.
pub(crate) fn files() -> Vec<String> {
    let root = root();
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let is_made = matches!(name.as_str(), "target" | ".git") || name.starts_with("results/");
            if path.is_dir() && !is_made {
                folders.push(path);
            } else if path.is_file() && (!is_made || name == "results/README.md") {
                files.push(name);
            }
        }
    }
    files.sort();
    files
}

/// Something with the line it stands in, from 1.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) line: usize,
    pub(crate) it: T,
}

/// A page of documentation.
pub(crate) struct Page {
    /// Path from the root.
    pub(crate) name: String,
    /// Code within lines.
    pub(crate) code: Vec<At<String>>,
    /// Lines of blocks of code, by fence or indentation.
    pub(crate) block_lines: Vec<At<String>>,
    /// Targets of links.
    pub(crate) links: Vec<At<String>>,
    /// Headings, as they are written.
    pub(crate) headings: Vec<String>,
    /// Rows of tables as cells, with the heading that they stand under; without headers and rules.
    pub(crate) rows: Vec<(String, Vec<String>)>,
}

impl Page {
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let mut page = Self {
            name: name.to_owned(),
            code: Vec::new(),
            block_lines: Vec::new(),
            links: Vec::new(),
            headings: Vec::new(),
            rows: Vec::new(),
        };
        let (mut fenced, mut before, mut prose) = (false, "", Vec::new());
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let number = index + 1;
            let at = |it: &str| At { line: number, it: it.to_owned() };
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if fenced || (line.starts_with("    ") && (before.is_empty() || before.starts_with("    "))) {
                page.block_lines.push(at(line));
            } else {
                if let Some(heading) = line.strip_prefix('#') {
                    page.headings.push(heading.trim_start_matches('#').trim().to_owned());
                } else if line.starts_with('|') {
                    let next =
                        lines.get(index + 1).is_some_and(|next| next.starts_with("|--") || next.starts_with("| --"));
                    let rule = line.chars().all(|character| "|-: ".contains(character));
                    if !next && !rule {
                        page.rows.push((page.headings.last().cloned().unwrap_or_default(), cells(line)));
                    }
                }
                prose.push(at(line));
            }
            before = line;
        }
        // Code and links may run over the end of a line.
        let (mut joined, mut starts) = (String::new(), Vec::new());
        for At { line, it } in prose {
            starts.push((joined.len(), line));
            joined.push_str(&it);
            joined.push('\n');
        }
        let line_of = |at: usize| starts[starts.partition_point(|(start, _)| *start <= at) - 1].1;
        let mut plain = joined.clone().into_bytes();
        for (from, to) in spans(&joined) {
            let it = joined[from + 1..to].split_whitespace().collect::<Vec<_>>().join(" ");
            page.code.push(At { line: line_of(from), it });
            plain[from..=to].fill(b'x');
        }
        let plain = String::from_utf8_lossy(&plain).into_owned();
        for (at, _) in plain.match_indices("](") {
            let target = plain[at + 2..].split(')').next().unwrap();
            page.links.push(At { line: line_of(at), it: joined[at + 2..at + 2 + target.len()].to_owned() });
        }
        page
    }

    /// Anchors of its headings, as GitHub makes them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let slug = |heading: &String| -> String {
            let kept = heading.to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        self.headings.iter().map(slug).collect()
    }

    /// First cells of the table rows under a heading, each as its code.
    pub(crate) fn named_under(&self, heading: &str) -> Vec<String> {
        let rows = self.rows.iter().filter(|(own, _)| own == heading);
        rows.flat_map(|(_, cells)| code_in(&cells[0])).collect()
    }
}

/// Byte places of the backticks around code within lines; code never holds an empty line.
fn spans(text: &str) -> Vec<(usize, usize)> {
    let (mut spans, mut from) = (Vec::new(), 0);
    while let Some(open) = text[from..].find('`').map(|at| from + at) {
        let close = text[open + 1..].find('`').map(|at| open + 1 + at);
        let paragraph = text[open..].find("\n\n").map_or(text.len(), |at| open + at);
        match close.filter(|close| *close < paragraph) {
            Some(close) => {
                spans.push((open, close));
                from = close + 1;
            }
            None => from = open + 1,
        }
    }
    spans
}

/// The code in a piece of text.
pub(crate) fn code_in(text: &str) -> Vec<String> {
    spans(text).into_iter().map(|(from, to)| text[from + 1..to].to_owned()).collect()
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_matches('|');
    inner.split('|').map(|cell| cell.trim().to_owned()).collect()
}
