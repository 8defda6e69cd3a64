//! Words of a shell command.

/// `word` as a POSIX shell reads it back: bare where that is safe, else in single quotes.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in
            ["plain", "", "a b", "it's", "$HOME `date` \"x\" \\ ;&|<>*?~#!", "line\nbreak", "builtin:mamba2-world"]
        {
            let echoed = Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(word))).output().unwrap();
            assert_eq!(String::from_utf8(echoed.stdout).unwrap(), word);
        }
        assert_eq!(quote("results/first"), "results/first");
    }
}
