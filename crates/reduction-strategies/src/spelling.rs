//! What a misspelt name was likely meant to be.

/// The candidate that `word` is but for upper and lower case; else the closest one, if any is close enough to be a likely typo; else the one that it
/// begins. Options behind the name, as in `top_k(importance=clip)`, are left aside.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.split(['(', '{', ' ']).next().unwrap_or(word).trim_end_matches(':').to_lowercase();
    let candidates: Vec<&str> = candidates.collect();
    let same = candidates.iter().find(|candidate| candidate.to_lowercase() == word);
    let begun = || {
        // Where it is a part of others, too, nothing says which is meant.
        let longer: Vec<&&str> = candidates.iter().filter(|candidate| candidate.contains(&word)).collect();
        let all_begin = word.len() >= 3 && longer.iter().all(|candidate| candidate.starts_with(&word));
        longer.into_iter().filter(|_| all_begin).min_by_key(|candidate| candidate.len())
    };
    let close = || {
        let distance = |candidate: &&&str| strsim::damerau_levenshtein(&word, candidate);
        let near = |candidate: &&&str| distance(candidate) <= 1 + candidate.len().max(word.len()) / 3;
        candidates.iter().filter(near).min_by_key(|candidate| (distance(candidate), **candidate))
    };
    same.or_else(close).or_else(begun).copied()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typos_other_letters_beginnings_and_options_are_seen_through() {
        let names = || {
            ["top_k", "utrc", "utrc_released", "evit_released", "random", "lambada_openai", "world_lambada"].into_iter()
        };
        for (word, meant) in [
            ("utcr", Some("utrc")),
            ("UTRC", Some("utrc")),
            ("evit", Some("evit_released")),
            ("top_k(importance=clip)", Some("top_k")),
            ("top_k: { importance: clip }", Some("top_k")),
            ("something else", None),
            ("lambada", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names()), meant, "{word}");
        }
    }
}
