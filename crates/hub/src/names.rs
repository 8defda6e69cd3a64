//! Which names may become paths. A hub, or whoever speaks in its place, chooses them; none may lead out of its folder.

/// Whether this is a whole commit id: 40 lower-case hexadecimal digits.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hexadecimal(text)
}

/// Whether this is a hash that the hub gives for a file: SHA-1 of a git blob, or SHA-256.
pub(crate) fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_hexadecimal(text)
}

/// Whether this is a relative path of plain components: nothing empty, no `.` and `..`, no backslash (which separates folders on
/// other systems), no drive or stream (`c:`), nothing that does not print. Also right for revisions, which become paths of `refs`.
pub(crate) fn is_plain_path(text: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let printable = |c: char| !c.is_control() && c != '\\' && c != ':';
    text.len() <= 512 && text.split('/').all(plain) && text.chars().all(printable)
}

/// Whether this is the owner or the name of a repository.
pub(crate) fn is_repository_part(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=96).contains(&text.len()) && text.chars().all(allowed) && !text.starts_with(['.', '-']) && !text.contains("..")
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_not_plain() {
        for good in ["config.json", "hf/config.json", "a b.txt", "..a", "a..b", "refs/pr/1", "größe.txt"] {
            assert!(is_plain_path(good), "{good}");
        }
        let long = "x".repeat(513);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/../b",
            "/etc/passwd",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "..\\x",
            "c:\\x",
            "c:x",
            "a\0b",
            "a\nb",
            &long,
        ] {
            assert!(!is_plain_path(bad), "{bad:?}");
        }
    }

    #[test]
    fn commits_and_hashes_are_lower_case_hexadecimal() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert!(is_commit(commit) && is_hash(commit));
        assert!(is_hash(&format!("{commit}{}", &commit[..24])));
        for bad in ["main", &commit[1..], &commit.to_uppercase(), "../3456789abcdef0123456789abcdef01234567"] {
            assert!(!is_commit(bad) && !is_hash(bad), "{bad}");
        }
    }

    #[test]
    fn repositories_have_tame_names() {
        assert!(is_repository_part("state-spaces") && is_repository_part("mamba2-2.7b"));
        for bad in ["", "..", ".git", "a..b", "-a", "a/b", "a b", "ä", "a\\b"] {
            assert!(!is_repository_part(bad), "{bad}");
        }
    }
}
