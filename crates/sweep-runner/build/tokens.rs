//! Rust without what no compiler reads or no result depends on: comments, layout, unit tests. Editing those must not make the results
//! of a rule look old.

use std::str::FromStr;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// The tokens of a file as text; the file itself where it is no Rust.
pub(crate) fn significant(text: &str) -> String {
    let Ok(tokens) = TokenStream::from_str(text) else { return text.to_owned() };
    let mut out = String::with_capacity(text.len());
    write(tokens, &mut out);
    out
}

fn write(tokens: TokenStream, out: &mut String) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut rest = &trees[..];
    while let Some((first, after)) = rest.split_first() {
        if let Some((attribute, behind)) = attribute(rest) {
            if attribute.starts_with("doc") {
                rest = behind;
                continue;
            }
            if attribute == "cfg(test)" {
                rest = behind_item(behind);
                continue;
            }
        }
        match first {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ('(', ')'),
                    Delimiter::Brace => ('{', '}'),
                    Delimiter::Bracket => ('[', ']'),
                    Delimiter::None => (' ', ' '),
                };
                out.push(open);
                write(group.stream(), out);
                out.push(close);
            }
            TokenTree::Punct(punct) => {
                out.push(punct.as_char());
                if punct.spacing() == Spacing::Alone {
                    out.push(' ');
                }
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {
                out.push_str(&first.to_string());
                out.push(' ');
            }
        }
        rest = after;
    }
}

/// The attribute at the start, without spaces, and what comes behind it.
fn attribute(trees: &[TokenTree]) -> Option<(String, &[TokenTree])> {
    let is = |tree: &TokenTree, what| matches!(tree, TokenTree::Punct(punct) if punct.as_char() == what);
    let rest = trees.split_first().filter(|(first, _)| is(first, '#'))?.1;
    let rest = match rest.split_first() {
        Some((first, rest)) if is(first, '!') => rest,
        _ => rest,
    };
    match rest.split_first()? {
        (TokenTree::Group(group), rest) if group.delimiter() == Delimiter::Bracket => {
            Some((group.stream().to_string().replace(' ', ""), rest))
        }
        _ => None,
    }
}

/// What comes behind an item: it ends with a block or a semicolon.
fn behind_item(trees: &[TokenTree]) -> &[TokenTree] {
    let ends = |tree: &TokenTree| match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    trees.iter().position(ends).map_or(&[], |end| &trees[end + 1..])
}
