//! Text that came from outside (names of models, tasks and comparisons, questions, tokens, errors) in the formats that people read.
//!
//! One function a format. A name may hold anything that a file system or a YAML string can: escape sequences, newlines, markup, two
//! hundred letters. Whatever writes a format passes names through the function of that format, and nothing else escapes.

use std::fmt::Write as _;

/// Longest name in a figure or a caption.
pub const SHOWN: usize = 48;
/// Longest name in the name of a file; a file has a prefix, a suffix and at most 255 bytes.
const IN_FILE_NAME: usize = 64;

/// Characters that steer a terminal, reorder a line or cannot be seen.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

/// For one line of a terminal: what cannot be seen becomes its escape, `\n` or `\u{1b}`.
pub fn terminal(text: &str) -> String {
    escaped(text, |_| false)
}

/// For several lines of a terminal: as [`terminal`], but lines and tabs stay.
pub fn terminal_lines(text: &str) -> String {
    escaped(text, |c| c == '\n' || c == '\t')
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) && !stays(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// For a report that was rendered with colours: as [`terminal_lines`], but colours stay. One that hides text does not.
pub fn coloured_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        out += &terminal_lines(&rest[..at]);
        let parameters = rest[at + 2..].find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(rest.len() - at - 2);
        let end = at + 2 + parameters;
        let colour = rest[end..].starts_with('m') && rest[at + 2..end].split(';').all(|parameter| parameter != "8");
        if colour {
            out += &rest[at..=end];
            rest = &rest[end + 1..];
        } else {
            out += "\\u{1b}";
            rest = &rest[at + 1..];
        }
    }
    out + &terminal_lines(rest)
}

/// One line without anything unseen: white space becomes a blank.
fn one_line(text: &str) -> String {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.chars().map(|c| if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c }).collect())
        .collect();
    words.join(" ")
}

/// A name inside a caption, which is plain text but for names between backticks: one line, short, without a backtick.
pub fn in_caption(name: &str) -> String {
    shortened(&one_line(name).replace('`', "'"), SHOWN)
}

/// Markdown text in one line. What stands between backticks is code; nothing else is markup.
pub fn markdown(text: &str) -> String {
    let text = one_line(text);
    let pieces: Vec<&str> = text.split('`').collect();
    if pieces.len().is_multiple_of(2) {
        return prose(&text);
    }
    let mut out = String::with_capacity(text.len());
    for (index, piece) in pieces.iter().enumerate() {
        out += &if index % 2 == 0 { prose(piece) } else { markdown_code(piece) };
    }
    out
}

fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    for (index, &c) in chars.iter().enumerate() {
        let word = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphanumeric());
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            // An entity would be taken for what it stands for.
            '&' if chars.get(index + 1).is_some_and(|c| c.is_alphabetic() || *c == '#') => out += "&amp;",
            // Inside a word it is no emphasis.
            '_' if word(index.checked_sub(1)) && word(Some(index + 1)) => out.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// A name as code in Markdown, in a table or elsewhere.
pub fn markdown_code(name: &str) -> String {
    let name = one_line(name);
    if name.is_empty() {
        return "\u{2013}".to_owned();
    }
    // Nothing is escaped between backticks.
    if !name.contains(['`', '<', '>', '\\', '|']) {
        return format!("`{name}`");
    }
    let mut out = "<code>".to_owned();
    for c in name.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '$' | '~' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out + "</code>"
}

/// Text in a cell of a Markdown table.
pub fn markdown_cell(text: &str) -> String {
    markdown(text)
}

/// LaTeX text in one line.
pub fn latex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '"' => out.push_str("\\textquotedbl{}"),
            '±' => out.push_str("$\\pm$"),
            '\u{2212}' => out.push_str("$-$"),
            '∞' => out.push_str("$\\infty$"),
            '†' => out.push_str("$^\\dagger$"),
            '°' => out.push_str("$^\\circ$"),
            '²' => out.push_str("$^2$"),
            '×' => out.push_str("$\\times$"),
            '→' => out.push_str("$\\rightarrow$"),
            '≥' => out.push_str("$\\geq$"),
            '≤' => out.push_str("$\\leq$"),
            '–' => out.push_str("--"),
            '…' => out.push_str("\\ldots{}"),
            '\u{fffd}' => out.push('?'),
            '`' => out.push('\''),
            other => out.push(other),
        }
    }
    out
}

/// What stands behind a `%` of LaTeX: a line end would end the comment.
pub fn latex_comment(text: &str) -> String {
    one_line(text)
}

/// A text of a drawing. XML has no control characters.
pub fn svg(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A field of CSV.
pub fn csv(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Letters and digits of a name, for files: `builtin:mamba2-world` becomes `mamba2-world`. A name without any, or a long one, ends in a
/// part of its digest.
pub fn file_name(name: &str) -> String {
    let short = name.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or(name);
    let parts: Vec<&str> = short.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let slug = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-").to_lowercase();
    if !slug.is_empty() && slug.len() <= IN_FILE_NAME {
        return slug;
    }
    let digest = &blake3::hash(name.as_bytes()).to_hex()[..8];
    // Bytes are characters here.
    let kept = &slug[..slug.len().min(IN_FILE_NAME - digest.len() - 1)];
    if kept.is_empty() { digest.to_owned() } else { format!("{kept}-{digest}") }
}

/// At most `most` characters: what is too long loses its middle.
pub fn shortened(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    text.chars().take(head).chain(['\u{2026}']).chain(text.chars().skip(count - tail)).collect()
}

/// With so many decimals; what rounds to zero has no sign.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let is_zero = text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    if is_zero { text.trim_start_matches('-').to_owned() } else { text }
}

/// A number in few characters, whatever its size: `0.9`, `1e-300`.
pub fn number(value: f64) -> String {
    let plain = value == 0.0 || (1e-5..1e7).contains(&value.abs()) || !value.is_finite();
    if plain { format!("{value}") } else { format!("{value:e}") }
}

/// A p-value in words of a paper: two digits, no exponents.
pub fn p_value(p: f64) -> String {
    match p {
        p if p.is_nan() => "\u{2013}".to_owned(),
        p if p < 1e-4 => "< 0.0001".to_owned(),
        p if p < 0.01 => format!("{p:.4}"),
        p => format!("{p:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What must not get through: escape, newline, right-to-left override, markup of every format.
    const HOSTILE: &str = "a\u{1b}[2Jb\nc\u{202e}|d`e<i>&amp;*f*\\g$h%#{}~^_i\"j\r\u{7}";

    fn is_clean(text: &str) -> bool {
        !text.chars().any(is_unseen)
    }

    #[test]
    fn nothing_unseen_passes() {
        for text in [
            terminal(HOSTILE),
            markdown(HOSTILE),
            markdown_code(HOSTILE),
            markdown_cell(HOSTILE),
            latex(HOSTILE),
            latex_comment(HOSTILE),
            svg(HOSTILE),
            in_caption(HOSTILE),
            file_name(HOSTILE),
        ] {
            assert!(is_clean(&text), "{text:?}");
        }
        assert_eq!(terminal("a\u{1b}b\nc"), "a\\u{1b}b\\nc");
        assert_eq!(terminal_lines("a\u{1b}b\nc"), "a\\u{1b}b\nc");
        assert_eq!(terminal("é 模型 builtin:x_y"), "é 模型 builtin:x_y");
    }

    #[test]
    fn colours_stay_and_nothing_else_does() {
        assert_eq!(coloured_lines("\u{1b}[31;1mred\u{1b}[0m\u{1b}[2J\n"), "\u{1b}[31;1mred\u{1b}[0m\\u{1b}[2J\n");
        assert_eq!(coloured_lines("\u{1b}[8mhidden"), "\\u{1b}[8mhidden");
        assert_eq!(coloured_lines("\u{1b}[3"), "\\u{1b}[3");
        assert_eq!(coloured_lines("\u{1b}]0;title\u{7}"), "\\u{1b}]0;title\\u{7}");
    }

    #[test]
    fn markdown_shows_what_was_written() {
        assert_eq!(markdown("a | b <b>x</b> *y* [z](w)"), "a \\| b &lt;b&gt;x&lt;/b&gt; \\*y\\* \\[z\\](w)");
        assert_eq!(markdown("what `top_k` costs, world_lambada"), "what `top_k` costs, world_lambada");
        assert_eq!(markdown("one ` alone"), "one \\` alone");
        assert_eq!(markdown("R&D, &lt;"), "R&amp;D, &amp;lt;");
        assert_eq!(markdown_code("builtin:mamba2-world"), "`builtin:mamba2-world`");
        assert_eq!(markdown_code("a|b"), "<code>a&#124;b</code>");
        assert_eq!(markdown_code("a`b <!-- END -->|"), "<code>a&#96;b &lt;!-- END --&gt;&#124;</code>");
    }

    #[test]
    fn latex_is_text() {
        assert_eq!(latex("a_b\n50 % \\x $1 {}"), "a\\_b 50 \\% \\textbackslash{}x \\$1 \\{\\}");
        assert_eq!(latex_comment("a\nb\r\nc"), "a b c");
    }

    #[test]
    fn names_of_files_are_short_and_never_empty() {
        assert_eq!(file_name("builtin:mamba2-world"), "mamba2-world");
        assert_eq!(file_name("hub:state-spaces/mamba2-2.7b@main"), "mamba2-2-7b-main");
        assert_eq!(file_name("/models/mine/"), "mine");
        let (long, other) = (file_name(&"x".repeat(200)), file_name(&format!("{}y", "x".repeat(199))));
        assert!(long.len() <= IN_FILE_NAME && long != other, "{long} {other}");
        assert!(!file_name("模型").is_empty() && file_name("模型") != file_name("模"));
        assert_eq!(shortened("abcdefgh", 5), "ab\u{2026}gh");
        assert_eq!(shortened("abc", 5), "abc");
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!([fixed(-0.0, 2), fixed(-0.0004, 3), fixed(-0.0006, 3)], ["0.00", "0.000", "-0.001"]);
        assert_eq!([fixed(-10.0, 0), fixed(0.05, 1)], ["-10", "0.1"]);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.9, 1.0, 0.125, 1e-300, 2.5e20, 0.0].map(number);
        assert_eq!(shown, ["0.9", "1", "0.125", "1e-300", "2.5e20", "0"]);
        let shown = [1.0, 0.04, 0.0123, 0.0041, 3e-9, f64::NAN].map(p_value);
        assert_eq!(shown, ["1.00", "0.04", "0.01", "0.0041", "< 0.0001", "\u{2013}"]);
    }
}
