//! Canonical names and what other dialects call the same weight.

/// Weights whose names differ: as `mamba_ssm` says it, as transformers says it.
const RENAMED: &[(&str, &str)] = &[("backbone.embedding.weight", "backbone.embeddings.weight")];

/// The canonical name of a weight as a file names it.
pub(super) fn canonical(name: &str) -> &str {
    RENAMED.iter().find(|(_, theirs)| *theirs == name).map_or(name, |(ours, _)| ours)
}

/// Every name under which a file may hold the weight, for messages.
pub(super) fn accepted(canonical: &str) -> String {
    let mut names = vec![format!("`{canonical}`")];
    names.extend(RENAMED.iter().filter(|(ours, _)| *ours == canonical).map(|(_, theirs)| format!("`{theirs}`")));
    names.join(" or ")
}
