//! Models with a weight that is no number, and what must not come of it.

use candle_core::Tensor;
use evaluation::Reduction;
use evaluation::protocol::CONTEXT;
use evaluation::tasks::{Item, Task};
use ssm_model::{CheckpointError, LanguageModel, ModelError, Placement, WeightSource, Weights, catalog};

use super::grid::{Cell, alone, assert_same, settings, shared};
use super::{reduction, sites, task};

/// A checkpoint with one value of one weight replaced.
struct Spoiled<'a> {
    weights: Weights,
    name: &'a str,
    place: usize,
    value: f32,
}

impl WeightSource for Spoiled<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let weight = self.weights.take(name, shape)?;
        if name != self.name {
            return Ok(weight);
        }
        let mut values = weight.flatten_all()?.to_vec1::<f32>()?;
        let place = self.place % values.len();
        values[place] = self.value;
        Ok(Tensor::from_vec(values, shape, weight.device())?)
    }
}

/// A builtin model with one value of the weight `name` replaced, past the check of a checkpoint.
pub(crate) fn load(
    model: &str,
    (name, place, value): (&str, usize, f32),
    placement: &Placement,
) -> Result<LanguageModel, ModelError> {
    let checkpoint = catalog::builtin(model).unwrap().open().unwrap();
    let mut weights = Spoiled { weights: checkpoint.weights, name, place, value };
    LanguageModel::load(&checkpoint.config, &mut weights, placement)
}

/// Cells of a task with an item whose embeddings are NaN share their calls with cells of the other items: those have the scores that
/// they have alone. The model does not read its embeddings at the head.
pub(crate) fn hurts_its_own_cells_alone(placement: &Placement) {
    let all = task("world_piqa", 12);
    let token = |index: usize| {
        let others: Vec<u32> =
            all.items.iter().enumerate().filter(|(i, _)| *i != index).flat_map(|(_, item)| tokens(item)).collect();
        all.items[index].contexts[0].tokens.iter().copied().find(|token| !others.contains(token))
    };
    let (bad, token) =
        (0..all.items.len()).find_map(|index| Some((index, token(index)?))).expect("a word of one item alone");
    let mut others = all.clone();
    others.items.remove(bad);
    let config = catalog::builtin("neox-world").unwrap().open().unwrap().config;
    let place = token as usize * config.d_model;
    let model = load("neox-world", ("gpt_neox.embed_in.weight", place, f32::NAN), placement).unwrap();
    let cell = |task, strategy| {
        let reduction = Reduction { sites: sites(&model), ..reduction(strategy, &[], 0.7) };
        Cell { task, scoring: CONTEXT.defaults(), reduction }
    };
    let cells: Vec<Cell<'_>> =
        [(&all, "top_k"), (&all, "tome"), (&others, "tome"), (&others, "top_k"), (&others, "drop_prefix")]
            .into_iter()
            .map(|(task, strategy): (&Task, _)| cell(task, strategy))
            .collect();
    let (together, _) = shared(&model, &cells, settings(1 << 15, 1));
    for (cell, together) in cells.iter().zip(together) {
        if cell.task.items.len() == all.items.len() {
            let error = together.expect_err("an item of NaN").to_string();
            assert!(error.contains(&format!("item {bad}")), "{error}");
        } else {
            assert_same("the other items", &together.unwrap(), &alone(&model, cell));
        }
    }
}

/// Everything of an item that a model reads.
fn tokens(item: &Item) -> impl Iterator<Item = u32> + '_ {
    let contexts = item.contexts.iter().flat_map(|context| context.tokens.iter().copied());
    contexts.chain(item.requests.iter().flat_map(|request| request.continuation.iter().copied()))
}
