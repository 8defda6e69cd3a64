//! A catalog for tests: two small models and a handful of tasks.

use evaluation::tasks::{Context, Item, ItemFacts, Prompting, Request, TaskKind, TaskRef};
use evaluation::{Layout, Shapes};
use reduction_strategies::spelling::nearest;
use ssm_model::{LayerKind, Signal, SignalSet, catalog};

use super::catalog::{Catalog, CatalogError, LayerFacts, ModelFacts, PlannedTask, Scoring};
use super::items::ItemChoice;

/// Two of the builtin models at 16 and 12 layers and the Transformer at 8, the published models of the hub and with random weights;
/// the reference tasks, one task of running text, and those of the paper.
pub(crate) struct FakeCatalog {
    /// Appended to every weights digest, to see what a change of weights does.
    pub(crate) weights: &'static str,
    /// Appended to every data digest.
    pub(crate) data: &'static str,
}

/// The catalog of most tests.
pub(crate) const CATALOG: FakeCatalog = FakeCatalog { weights: "w", data: "d" };

const MODELS: [(&str, usize); 7] = [
    ("builtin:mamba2-world", 16),
    ("builtin:mamba-world", 16),
    ("builtin:neox-world", 8),
    ("builtin:mamba2-books", 16),
    ("builtin:mamba-books", 16),
    ("builtin:hybrid-books", 16),
    ("builtin:neox-books", 8),
];
const TASKS: [(&str, usize); 19] = [
    ("world_lambada", 1),
    ("world_hellaswag", 4),
    ("world_piqa", 2),
    ("world_arc_easy", 4),
    ("world_arc_challenge", 4),
    ("world_winogrande", 2),
    ("world_text", 1),
    ("mqar", 1),
    ("induction", 1),
    ("passkey", 1),
    ("lambada_openai", 1),
    ("hellaswag", 4),
    ("piqa", 2),
    ("arc_easy", 4),
    ("arc_challenge", 4),
    ("winogrande", 2),
    ("books_lastword", 1),
    ("books_control", 1),
    ("books_long", 1),
];

/// Items whose contexts have 80 tokens in the mean, and whose continuations have 5; those of a text that is cut have 1024 and 256.
fn items(n: usize, choices: usize, is_cut: bool) -> Vec<Item> {
    if is_cut {
        let facts = ItemFacts { is_cut: true, scored_from: vec![1024], ..ItemFacts::default() };
        let contexts = vec![Context { tokens: vec![1; 1280], necessary: Vec::new() }];
        return vec![Item { contexts, facts, ..Item::default() }; n];
    }
    let item = |index: usize| {
        let request = |_| Request { context: 0, continuation: vec![1; 3 + index % 5], scored: vec![0], characters: 1 };
        Item {
            id: index.to_string(),
            gold: Some(0),
            contexts: vec![Context { tokens: vec![1; 60 + (index * 7) % 41], necessary: Vec::new() }],
            requests: (0..choices).map(request).collect(),

            ..Item::default()
        }
    };
    (0..n).map(item).collect()
}

/// The tokenizer that may be named beside a model.
const TOKENIZER: &str = "EleutherAI/gpt-neox-20b";

impl Catalog for FakeCatalog {
    fn model(&self, reference: &str) -> Result<ModelFacts, CatalogError> {
        let known = MODELS.iter().find(|(name, _)| *name == reference).map(|(_, n_layer)| *n_layer);
        let n_layer = known
            .or_else(|| published(reference))
            .ok_or_else(|| unknown("model", reference, MODELS.iter().map(|(name, _)| *name)))?;
        let attends = reference.contains("neox") || reference.contains("transformerpp");
        let mut layers = vec![layer(attends); n_layer];
        let is_hybrid = reference.contains("hybrid") || reference.contains("mamba2attn");
        if is_hybrid {
            layers[5] = layer(true);
            layers[11] = layer(true);
        }
        Ok(ModelFacts {
            reference: reference.to_owned(),
            tokenizer: None,
            architecture: if attends { "GPT-NeoX" } else { "Mamba" },
            layers,
            uses_positions: attends || is_hybrid,
            flops_per_token_head: 2e5,
            weights_digest: format!("{reference}-{}", self.weights),
            tokenizer_digest: "t".to_owned(),
        })
    }

    fn choose_tokenizer(&self, _reference: &str, tokenizer: Option<&str>) -> Result<(), CatalogError> {
        match tokenizer {
            Some(name) if name != TOKENIZER => Err(unknown("tokenizer", name, std::iter::once(TOKENIZER))),
            _ => Ok(()),
        }
    }

    fn task(&self, task: &TaskRef, _prompting: Prompting) -> Result<PlannedTask, CatalogError> {
        // A file of fresh items is taken for the task that it is more of.
        let source = task.source.as_str();
        let fresh = source.rsplit('/').next().and_then(|file| file.split('.').next()?.strip_prefix("fresh_"));
        let is_meant = |known: &str| fresh.map_or(known == source, |fresh| known.trim_start_matches("books_") == fresh);
        let known = TASKS.iter().find(|(known, _)| is_meant(known));
        let (name, choices) = known.ok_or_else(|| unknown("task", source, TASKS.iter().map(|(name, _)| *name)))?;
        let kind =
            if matches!(*name, "world_text" | "books_long") { Scoring::RunningText } else { Scoring::LogLikelihood };
        Ok(PlannedTask {
            name: task.name(),
            reference: task.clone(),
            items: [500, 240, 260],
            mean_context_tokens: 80.0,
            mean_choice_tokens: 5.0,
            choices: *choices,
            kind,
            metrics: if fresh.is_none() { vec!["acc", "loss"] } else { vec!["acc", "acc_norm", "token_acc", "loss"] },
            primary_metric: "acc",
            data_digest: format!("{name}-{}", self.data),
        })
    }

    fn shapes(
        &self,
        _model: &str,
        task: &TaskRef,
        choice: ItemChoice,
        protocols: &[evaluation::Scoring],
    ) -> Result<Vec<Shapes>, CatalogError> {
        let facts = self.task(task, choice.prompting)?;
        let all = facts.items[choice.split as usize];
        let items = items(choice.limit.map_or(all, |limit| limit.min(all)), facts.choices, task.cut.is_some());
        let kind = match facts.kind {
            Scoring::RunningText => TaskKind::RunningText,
            Scoring::LogLikelihood if facts.choices == 1 => TaskKind::Target,
            Scoring::LogLikelihood => TaskKind::MultipleChoice,
        };
        Ok(protocols.iter().map(|scoring| Layout::new(kind, &items, *scoring).shapes()).collect())
    }
}

/// A layer of a Transformer or of a Mamba.
pub(crate) fn layer(attends: bool) -> LayerFacts {
    LayerFacts {
        kind: if attends { "attention" } else { "Mamba" },
        kinds: vec![if attends { LayerKind::Attention } else { LayerKind::Mamba }],
        signals: if attends { SignalSet::of(&[Signal::SsmOutput, Signal::Influence]) } else { SignalSet::ALL },
        flops_per_token: 1_000_000,
        flops_per_pair: if attends { 1000 } else { 0 },
    }
}

/// Layers of a published model.
fn published(reference: &str) -> Option<usize> {
    let name = reference.strip_prefix("hub:").or_else(|| reference.strip_prefix("random:"))?;
    catalog::find_published(name.split('@').next()?).map(|model| model.n_layer)
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> CatalogError {
    CatalogError {
        message: format!("unknown {what} `{name}`"),
        hint: nearest(name, known).map(|near| format!("did you mean `{near}`?")),
        label: "unknown",
    }
}

/// The keys of the smallest experiment.
const SMALLEST: [(&str, &str); 5] = [
    ("name", "name: t"),
    ("models", "models: [builtin:mamba2-world]"),
    ("tasks", "tasks: [world_lambada]"),
    ("strategies", "strategies: [dense, top_k]"),
    ("schedule", "schedule: { sites: paper, flops_reduction: 0.2 }"),
];

/// The smallest experiment with `lines` in place of its own lines of the same keys; `key:` alone removes the key.
pub(crate) fn edited(lines: &str) -> String {
    let key_of = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let mut blocks: Vec<(String, String)> =
        SMALLEST.iter().map(|(key, line)| ((*key).to_owned(), (*line).to_owned())).collect();
    let mut edits: Vec<(String, String)> = Vec::new();
    for line in lines.lines() {
        match edits.last_mut() {
            Some((_, block)) if line.starts_with(' ') => *block = format!("{block}\n{line}"),
            _ => edits.push((key_of(line), line.to_owned())),
        }
    }
    for (key, block) in edits {
        let removed = block.trim_end() == format!("{key}:");
        match blocks.iter_mut().find(|(known, _)| *known == key) {
            Some(own) if removed => own.1.clear(),
            Some(own) => own.1 = block,
            None => blocks.push((key, block)),
        }
    }
    blocks.into_iter().filter(|(_, block)| !block.is_empty()).map(|(_, block)| block + "\n").collect()
}
