//! The table of golden errors in `docs/models-and-data.md`: every architecture in every dialect that a fixture is stored in, against the values
//! of its reference. `just golden-errors` writes it.

mod common;

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use candle_core::Tensor;
use common::{GOLDEN, TRANSFORMERS, every_golden, golden, largest_difference, open};
use ssm_kernels::Segments;
use ssm_model::{LanguageModel, LayerRequest, ModelConfig, ModelState};

const PAGE: &str = "../../docs/models-and-data.md";
const BEGIN: &str = "<!-- golden errors: `just golden-errors` writes this table -->\n";
const END: &str = "<!-- end of the golden errors -->";

struct Row {
    architecture: &'static str,
    /// Of its files.
    dialect: &'static str,
    fixture: String,
    reference: &'static str,
    /// Largest difference over the residual streams that enter the layers; over the logits of a prefill; over those of steps from its states.
    layers: f32,
    logits: f32,
    steps: f32,
}

/// A part of the reference, under either of its names.
fn part<'a>(reference: &'a HashMap<String, Tensor>, name: &str) -> &'a Tensor {
    reference.get(name).unwrap_or_else(|| &reference[&format!("{name}.L37")])
}

/// Two sequences as one packed stream.
fn packed(tokens: &Tensor) -> (Vec<u32>, Segments) {
    let rows: Vec<Vec<i64>> = tokens.to_vec2().unwrap();
    let segments = Segments::independent(&rows.iter().map(Vec::len).collect::<Vec<_>>());
    (rows.concat().into_iter().map(|token| token as u32).collect(), segments)
}

/// Errors of the layers and of the logits, and the states after the last token.
fn prefill(model: &LanguageModel, reference: &HashMap<String, Tensor>) -> (f32, f32, ModelState) {
    let (tokens, segments) = packed(part(reference, "tokens"));
    let mut activations = model.embed(&tokens).unwrap();
    let (mut layers, mut states) = (0.0_f32, Vec::new());
    for layer in 0..model.config().n_layer() {
        let request = LayerRequest { states: true, ..LayerRequest::default() };
        let output = model.layer(layer, &activations, &segments, request).unwrap();
        activations = output.activations;
        states.extend(output.state);
        let want = part(reference, &format!("layer{layer}.residual"));
        let got = activations.residual.as_ref().unwrap().reshape(want.dims()).unwrap();
        layers = layers.max(largest_difference(want, &got));
    }
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let got = model.head(&activations, &rows).unwrap();
    let want = part(reference, "logits").reshape(got.dims()).unwrap();
    (layers, largest_difference(&want, &got), ModelState(states))
}

/// Error of the logits of tokens that are fed one at a time.
fn steps(model: &LanguageModel, reference: &HashMap<String, Tensor>, mut state: ModelState) -> f32 {
    let next: Vec<Vec<i64>> = reference["decode.tokens"].to_vec2().unwrap();
    let mut largest = 0.0_f32;
    for (step, (first, second)) in next[0].iter().zip(&next[1]).enumerate() {
        let (got, after) = model.step(&[*first as u32, *second as u32], &state).unwrap();
        state = after;
        let want = reference["decode.logits"].narrow(1, step, 1).unwrap().squeeze(1).unwrap();
        largest = largest.max(largest_difference(&want.contiguous().unwrap(), &got));
    }
    largest
}

fn measured() -> Vec<Row> {
    let mut rows = Vec::new();
    for fixture in every_golden() {
        let golden = golden(&fixture);
        for (_, folder) in golden.dialects.iter().filter(|(_, folder)| folder.is_dir()) {
            let model = open(folder);
            let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
            let (layers, logits, state) = prefill(&model, &golden.reference);
            rows.push(Row {
                architecture: model.config().architecture,
                dialect: if ModelConfig::is_of_mamba_ssm(&text) { "mamba_ssm" } else { "transformers" },
                reference: match fixture.as_str() {
                    name if GOLDEN.contains(&name) => "the definition in float64, weights of mamba_ssm",
                    name if TRANSFORMERS.contains(&name) => "transformers in float32",
                    _ => "the definition in float64 (numpy)",
                },
                layers,
                logits,
                steps: steps(&model, &golden.reference, state),
                fixture: fixture.clone(),
            });
        }
    }
    rows.sort_by(|a, b| (a.architecture, &a.fixture, a.dialect).cmp(&(b.architecture, &b.fixture, b.dialect)));
    rows
}

fn page() -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

#[test]
fn the_page_has_every_architecture_in_every_dialect_of_its_fixtures() {
    let (_, text) = page();
    let table = text.split(BEGIN).nth(1).and_then(|rest| rest.split(END).next()).expect("the table is there");
    let rows = measured();
    for Row { architecture, dialect, fixture, layers, logits, steps, .. } in &rows {
        let begin = format!("| {architecture} | {dialect} | `{fixture}` |");
        assert!(table.contains(&begin), "run `just golden-errors`: {begin}");
        let errors = [*layers, *logits, *steps];
        assert!(errors.iter().all(|error| *error < 1e-4), "{fixture} {dialect}: {errors:?}");
    }
    assert_eq!(
        table.matches("\n| ").count(),
        1 + rows.len(),
        "run `just golden-errors`: rows of fixtures that are gone"
    );
}

#[test]
#[ignore = "writes docs/models-and-data.md: `just golden-errors`"]
fn write_the_table() {
    let mut table = String::from(
        "\n| architecture | dialect | fixture | reference | layers | logits | steps |\n|---|---|---|---|---|---|---|\n",
    );
    for row in measured() {
        let Row { architecture, dialect, fixture, reference, layers, logits, steps } = row;
        let errors = format!("{layers:.1e} | {logits:.1e} | {steps:.1e}");
        writeln!(table, "| {architecture} | {dialect} | `{fixture}` | {reference} | {errors} |").unwrap();
    }
    let (path, text) = page();
    let (before, rest) = text.split_once(BEGIN).expect("the table is there");
    let (_, after) = rest.split_once(END).expect("the table ends");
    std::fs::write(path, format!("{before}{BEGIN}{table}\n{END}{after}")).unwrap();
}
