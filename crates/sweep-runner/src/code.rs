//! Which code makes a result, as digests of the sources that the program was built from (`build/code.rs`).
//!
//! An id names what was asked; the code says by what it was answered. A record of other code is not reused.

use records::code::Code;
use reduction_strategies::registry::Strategy;

include!(concat!(env!("OUT_DIR"), "/code.rs"));

/// Digest of all sources of this program.
pub const SOURCES: &str = env!("SSM_REDUCE_SOURCES");

/// This program's code for results on `device` (`cpu` or `cuda`), of a strategy or of none.
pub fn of(strategy: Option<&Strategy>, device: &str) -> Code {
    let shared = if device == "cpu" { CPU } else { CUDA.unwrap_or(CPU) };
    Code { shared: shared.to_owned(), rule: strategy.map(rule).unwrap_or_default() }
}

/// Digest of what is a strategy's own: its file, and what its rule names.
fn rule(strategy: &Strategy) -> String {
    let name = strategy.registration.name;
    let file = RULES.iter().find(|(rule, _)| *rule == name).map(|(_, digest)| (*digest).to_owned());
    match (file, strategy.rule().code()) {
        (Some(file), None) => file,
        (Some(file), Some(named)) => format!("{file}-{named}"),
        (None, Some(named)) => named,
        // Registered by code outside of this workspace, which has its version to raise.
        (None, None) => format!("version {}", strategy.registration.version),
    }
}

/// Digest of all code that makes results: processes that differ in it may not work on one folder at a time.
pub fn build() -> String {
    let mut hasher = blake3::Hasher::new();
    for (rule, digest) in RULES {
        hasher.update(rule.as_bytes()).update(digest.as_bytes());
    }
    hasher.update(CPU.as_bytes()).finalize().to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reduction_strategies::registry;

    use super::*;

    #[test]
    fn every_registered_strategy_has_the_digest_of_its_file() {
        for registration in registry::all() {
            let named = RULES.iter().find(|(rule, _)| *rule == registration.name);
            let (_, digest) = named.unwrap_or_else(|| panic!("{} has no file of its name", registration.name));
            let strategy = Strategy::new(registration.name, &BTreeMap::new()).unwrap();
            let code = of(Some(&strategy), "cpu");
            assert_eq!(&code.rule, digest);
            assert_eq!(code.shared, CPU);
        }
        let digests: std::collections::BTreeSet<&str> = RULES.iter().map(|(_, digest)| *digest).collect();
        assert_eq!(digests.len(), RULES.len());
    }
}
