//! A catalog for tests: two small models and a handful of tasks.

use reduction_strategies::registry::nearest;

use super::catalog::{Catalog, CatalogError, ModelFacts, TaskFacts, TaskKind};

/// Both builtin models at 16 and 12 layers, the reference tasks, one task of running text.
pub(crate) struct FakeCatalog {
    /// Appended to every weights digest, to see what a change of weights does.
    pub(crate) weights: &'static str,
    /// Appended to every data digest.
    pub(crate) data: &'static str,
}

/// The catalog of most tests.
pub(crate) const CATALOG: FakeCatalog = FakeCatalog { weights: "w", data: "d" };

const MODELS: [(&str, usize); 2] = [("builtin:mamba2-world", 16), ("builtin:mamba-world", 12)];
const TASKS: [(&str, usize); 7] = [
    ("world_lambada", 1),
    ("world_hellaswag", 4),
    ("world_piqa", 2),
    ("world_arc_easy", 4),
    ("world_arc_challenge", 4),
    ("world_winogrande", 2),
    ("world_text", 1),
];

impl Catalog for FakeCatalog {
    fn model(&self, reference: &str) -> Result<ModelFacts, CatalogError> {
        let known = MODELS.iter().find(|(name, _)| *name == reference);
        let (_, n_layer) = known.ok_or_else(|| unknown("model", reference, MODELS.iter().map(|(name, _)| *name)))?;
        Ok(ModelFacts {
            reference: reference.to_owned(),
            n_layer: *n_layer,
            flops_per_token_layer: 1e6,
            flops_per_token_head: 2e5,
            weights_digest: format!("{reference}-{}", self.weights),
            tokenizer_digest: "t".to_owned(),
        })
    }

    fn task(&self, name: &str) -> Result<TaskFacts, CatalogError> {
        let known = TASKS.iter().find(|(known, _)| *known == name);
        let (_, choices) = known.ok_or_else(|| unknown("task", name, TASKS.iter().map(|(name, _)| *name)))?;
        let kind = if name == "world_text" { TaskKind::RunningText } else { TaskKind::LogLikelihood };
        Ok(TaskFacts {
            name: name.to_owned(),
            items: 500,
            mean_context_tokens: 80.0,
            mean_choice_tokens: 5.0,
            choices: *choices,
            kind,
            data_digest: format!("{name}-{}", self.data),
        })
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> CatalogError {
    CatalogError {
        message: format!("unknown {what} `{name}`"),
        hint: nearest(name, known).map(|near| format!("did you mean `{near}`?")),
    }
}
