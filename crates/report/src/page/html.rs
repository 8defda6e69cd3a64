//! From the Markdown of reports to HTML. What came from data was escaped when the Markdown was made; tags are escaped once more here, so
//! that none can come through: only the underlining of tables and the code of names with special characters are let in.

use pulldown_cmark::{CowStr, Event, Options, Parser};

/// Paragraphs, lists and tables.
pub(super) fn block(markdown: &str) -> String {
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).map(|event| match event {
        Event::InlineHtml(tag) if matches!(&*tag, "<u>" | "</u>" | "<code>" | "</code>") => Event::InlineHtml(tag),
        Event::InlineHtml(text) | Event::Html(text) => Event::Text(CowStr::from(text.into_string())),
        // A number and its unit stay on one line.
        Event::Text(text) => Event::Text(CowStr::from(text.replace(" %", "\u{a0}%"))),
        other => other,
    });
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, events);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_comes_through() {
        let html = block("a <script>alert(1)</script> **b** <u>c</u>\n\n<img src=x onerror=alert(1)>\n");
        assert!(html.contains("&lt;script&gt;") && html.contains("<strong>b</strong> <u>c</u>"), "{html}");
        assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        let name = crate::text::markdown_code("a`<b>");
        assert!(block(&name).contains("<code>a`&lt;b&gt;</code>"), "{}", block(&name));
    }

    #[test]
    fn tables_are_tables() {
        let html = block("| a | b |\n|---|---:|\n| `x` | 1 |\n");
        assert!(html.contains("<table>") && html.contains("<code>x</code>"), "{html}");
    }
}
