//! `~` at the beginning of a path: shells expand it in most places, but not behind `=` and not in files.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

/// How the command line reads a path.
pub(crate) fn argument() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| expand(&path))
}

/// The path with the home folder in place of `~`.
///
/// # Errors
/// The home folder is not known, or that of another user is meant.
pub(crate) fn expand(path: &Path) -> Result<PathBuf, String> {
    expand_in(path, std::env::var_os("HOME"))
}

fn expand_in(path: &Path, home: Option<OsString>) -> Result<PathBuf, String> {
    let mut parts = path.components();
    let first = match parts.next() {
        Some(Component::Normal(first)) if first.as_encoded_bytes().starts_with(b"~") => first,
        _ => return Ok(path.to_owned()),
    };
    let shown = path.display();
    if first != "~" {
        return Err(format!(
            "the home folder of another user in `{shown}` is not looked up: write the whole path, or ./{shown} for a name that begins with ~"
        ));
    }
    match home.filter(|home| !home.is_empty()) {
        Some(home) => Ok(Path::new(&home).join(parts.as_path())),
        None => Err(format!("HOME is not set, so the ~ of `{shown}` is not known: write the whole path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tilde_in_front_is_the_home_folder() {
        let expanded = |path: &str| expand_in(Path::new(path), Some("/home/me".into()));
        assert_eq!(expanded("~/results/a"), Ok(PathBuf::from("/home/me/results/a")));
        assert_eq!(expanded("~"), Ok(PathBuf::from("/home/me/")));
        for plain in ["results/a", "/~/a", "./~/a", "a/~", "", "a~"] {
            assert_eq!(expanded(plain), Ok(PathBuf::from(plain)));
        }
        assert!(expanded("~you/a").unwrap_err().contains("./~you/a"));
        for home in [None, Some("".into())] {
            assert!(expand_in(Path::new("~/a"), home).unwrap_err().starts_with("HOME is not set"));
        }
    }
}
