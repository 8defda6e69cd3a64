//! What a results folder was made from: digests of weights, tokenizers and data, compared with what is there now.

use std::collections::BTreeMap;
use std::fmt;

/// Digests by what they belong to, for example `weights of builtin:mamba2-world`.
pub type Digests = BTreeMap<String, String>;

/// Something that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub what: String,
    /// Digest in the results folder.
    pub then: String,
    /// Digest now.
    pub now: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} in the folder, {} now", self.what, self.then, self.now)
    }
}

/// Everything that is in both and differs. What only one of them knows is an addition or a removal, and no change.
pub fn changes(then: &Digests, now: &Digests) -> Vec<Change> {
    let differing = then.iter().filter_map(|(what, then)| {
        let now = now.get(what).filter(|now| *now != then)?;
        Some(Change { what: what.clone(), then: then.clone(), now: now.clone() })
    });
    differing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_know_can_differ() {
        let digests = |pairs: &[(&str, &str)]| -> Digests {
            pairs.iter().map(|(what, digest)| ((*what).to_owned(), (*digest).to_owned())).collect()
        };
        let then = digests(&[("weights of a", "1"), ("weights of b", "2"), ("data of t", "3")]);
        let now = digests(&[("weights of a", "1"), ("data of t", "4"), ("weights of c", "5")]);
        let all = changes(&then, &now);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].to_string(), "data of t: 3 in the folder, 4 now");
    }
}
