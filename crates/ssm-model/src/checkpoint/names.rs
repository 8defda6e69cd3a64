//! Canonical names and what other dialects call the same weight.

/// Weights whose names differ: as `mamba_ssm` says it, as transformers says it.
const RENAMED: &[(&str, &str)] = &[("backbone.embedding.weight", "backbone.embeddings.weight")];

/// Buffers that older versions of transformers stored in every layer of a GPT-NeoX: the causal mask, the value that it masks
/// with and the rotary frequencies. All of them follow from the configuration; nothing reads them upstream either.
const BUFFERS: [&str; 3] = [".attention.bias", ".attention.masked_bias", ".attention.rotary_emb.inv_freq"];

/// The frequencies as older versions of the rotary embedding that `mamba_ssm` uses stored them.
const FREQUENCIES: &str = ".mixer.rotary_emb.inv_freq";

/// The canonical name of a weight as a file names it; none for what is no weight.
pub(super) fn canonical(name: &str) -> Option<&str> {
    let of_neox = name.starts_with("gpt_neox.layers.") && BUFFERS.iter().any(|buffer| name.ends_with(buffer));
    if of_neox || (name.starts_with("backbone.layers.") && name.ends_with(FREQUENCIES)) {
        return None;
    }
    Some(RENAMED.iter().find(|(_, theirs)| *theirs == name).map_or(name, |(ours, _)| ours))
}

/// Every name under which a file may hold the weight, for messages.
pub(super) fn accepted(canonical: &str) -> String {
    let mut names = vec![format!("`{canonical}`")];
    names.extend(RENAMED.iter().filter(|(ours, _)| *ours == canonical).map(|(_, theirs)| format!("`{theirs}`")));
    names.join(" or ")
}
