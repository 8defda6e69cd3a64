//! Names that readers of results know without the engine. The engine's own tables decide; a test of `sweep-runner` compares these with
//! them.

/// Prefix of a reference to a model with random weights.
pub const RANDOM: &str = "random:";

/// Probes, in the order in which they are listed and reported.
pub const PROBES: [&str; 10] = [
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
