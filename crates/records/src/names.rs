//! Names that readers of results know without the engine. The engine's own tables decide; a test of `sweep-runner` compares these with
//! them.

/// The loss per scored token, in nats: the log-likelihood with its sign turned.
pub const LOSS: &str = "loss";

/// Whether a metric is a mean of nats or bits per something, where less is better and a value may be above 1.
#[must_use]
pub fn is_loss(metric: &str) -> bool {
    matches!(metric, LOSS | "bits_per_byte") || metric.ends_with("_loss") || metric.starts_with("recall_loss_")
}

/// Whether a metric counts right answers: each adds 0 to the weight of its item, or all of it. It is declared so; the values that a
/// model happens to get do not decide it.
#[must_use]
pub fn is_share(metric: &str) -> bool {
    matches!(metric, "acc" | "acc_norm" | "token_acc" | "recall_acc")
}

/// Prefix of a reference to a model with random weights.
pub const RANDOM: &str = "random:";

/// Probes, in the order in which they are listed and reported.
pub const PROBES: [&str; 12] = [
    "necessary_tokens",
    "implicit_attention",
    "state_divergence",
    "causal_split",
    "position",
    "similarity",
    "kept_tokens",
    "adjacency",
    "leak",
    "loss_split",
    "layer_kind",
    "removed_split",
];

/// Benchmarks: tasks of published data, which may have solved examples in front of each question.
pub const BENCHMARKS: [&str; 14] = [
    "lambada_openai",
    "hellaswag",
    "piqa",
    "arc_easy",
    "arc_challenge",
    "winogrande",
    "openbookqa",
    "boolq",
    "sciq",
    "mmlu",
    "wikitext",
    "longdocs_ppl",
    "longdocs_passkey",
    "longdocs_needle",
];
