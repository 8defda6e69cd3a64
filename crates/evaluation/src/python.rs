//! The text functions of Python that prompts are built with, where those of Rust differ.

/// What `str.isspace` and `\s` call white space: Unicode's, and four control characters beside it.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `str.strip()`.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.capitalize()`: the first character in title case, all others in lower case.
///
/// Differs in: title case is upper case here, but for a character that becomes several (ß gives Ss). Python knows four
/// Latin digraphs (ǆ, ǉ, ǌ, ǳ) with a title case of their own.
pub(crate) fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return String::new() };
    let mut upper = first.to_uppercase();
    let mut out: String = upper.next().into_iter().collect();
    out.extend(upper.flat_map(char::to_lowercase));
    // Lowered as a whole: a sigma depends on what stands before it.
    let lowered = text.to_lowercase();
    let skip: usize = first.to_lowercase().map(char::len_utf8).sum();
    out.push_str(&lowered[skip..]);
    out
}

/// `len(re.split(r"\s+", text))`: stretches of white space and one.
pub(crate) fn count_words(text: &str) -> usize {
    let mut inside = false;
    let stretches = text.chars().filter(|&c| {
        let begins = is_space(c) && !inside;
        inside = is_space(c);
        begins
    });
    stretches.count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_pythons() {
        assert_eq!(strip("\u{a0}\x1c a b\u{2003}\n"), "a b");
        assert_eq!(strip("\u{200b}a"), "\u{200b}a");
        assert_eq!(count_words("a b"), 2);
        assert_eq!(count_words(" a \n\x1f b "), 4);
        assert_eq!(count_words(""), 1);
    }

    #[test]
    fn capitals_as_python_sets_them() {
        assert_eq!(capitalize(""), "");
        assert_eq!(capitalize("the Lady of NY"), "The lady of ny");
        assert_eq!(capitalize("ßa"), "Ssa");
        assert_eq!(capitalize("ΟΔΟΣ"), "Οδος");
        assert_eq!(capitalize("İX"), "İx");
        assert_eq!(capitalize("[step] Go"), "[step] go");
    }
}
