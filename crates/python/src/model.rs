//! `Model`: one model on one sequence, to look at and to try an idea on before any sweep.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use candle_core::Tensor;
use hint::Hint;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use reduction_strategies::options::OptionValue;
use reduction_strategies::registry::Strategy;
use reduction_strategies::{
    Plan, PlanError, Reads, Rule, SegmentTokens, SequenceView, SitePlan, SiteStream, TokenTable, map_sequences,
    plan_site,
};
use ssm_kernels::{Segments, host};
use ssm_model::{Activations, LanguageModel, LayerRequest, SignalSet, Signals, Times};
use sweep_runner::cli::{self, OpenModel};

use crate::answer::Answer;
use crate::arrays::Memory;
use crate::error::{problem, refused};
use crate::site::{Part, Shown};

/// What is wrong, and what to do about it.
type Wrong = (String, Option<String>);

fn wrong(error: &dyn Hint) -> Wrong {
    (error.to_string(), error.hint())
}

/// A model with its tokenizer.
#[pyclass(frozen, module = "ssm_reduce._native")]
pub(crate) struct Model {
    open: OpenModel,
}

/// What decides at a site.
enum Decision {
    /// An answer of the caller.
    Answer(Answer),
    /// A rule.
    Rule { rule: Rule, keep_ratio: f64, seed: u64 },
}

impl Decision {
    fn plan(self, stream: &SiteStream<'_>) -> Result<SitePlan, PlanError> {
        match self {
            Self::Rule { rule, keep_ratio, seed } => plan_site(&rule, keep_ratio, seed, stream),
            Self::Answer(answer) => {
                let answer = Mutex::new(Some(answer));
                let plan = |view: &SequenceView<'_>| {
                    let answer = answer.lock().ok().and_then(|mut answer| answer.take());
                    let plan = answer.map_or_else(|| Ok(Plan::identity(view.len())), |answer| answer.plan(view, None));
                    plan.map_err(|(problem, hint)| PlanError::Script {
                        rule: "a plan of the caller".to_owned(),
                        site: stream.layer,
                        item: 0,
                        problem,
                        hint,
                    })
                };
                Ok(SitePlan { plans: map_sequences(stream, SignalSet::NONE, Reads::NONE, 0, plan)? })
            }
        }
    }
}

/// What a sequence became on its way.
struct Run {
    activations: Activations,
    segments: Segments,
    /// Positions of the tokens that were kept to the end.
    positions: Vec<u32>,
    /// By layer.
    plans: BTreeMap<usize, Plan>,
}

/// Sees the output of a layer and what it showed.
type Look<'a> = dyn FnMut(&Activations, &Signals) -> Result<(), Wrong> + 'a;

/// Runs all layers over one sequence, whose last token is protected. Each layer is asked for those of `signals` that it has.
fn forward(
    model: &LanguageModel,
    ids: &[u32],
    signals: SignalSet,
    mut decisions: BTreeMap<usize, Decision>,
    look: &mut Look<'_>,
) -> Result<Run, Wrong> {
    if ids.is_empty() {
        return Err(("there are no token ids".to_owned(), Some("model.tokenizer.encode(text) gives them".to_owned())));
    }
    let config = model.config();
    if let Some(site) = decisions.keys().find(|site| **site >= config.n_layer()) {
        let hint = format!("layers are 0 to {}", config.n_layer() - 1);
        return Err((format!("there is no layer {site}"), Some(hint)));
    }
    let mut table = TokenTable::new(vec![SegmentTokens::reducible(0, ids.len()).with_last_protected()]);
    let mut segments = Segments::independent(&[ids.len()]);
    let mut activations = model.embed(ids).map_err(|error| wrong(&error))?;
    let mut plans = BTreeMap::new();
    for index in 0..config.n_layer() {
        let tokens = &table.segments[0];
        let times = TokenTable::times(&std::iter::once((tokens, tokens.positions.len())));
        let mut wanted = signals;
        if let Some(Decision::Rule { rule, .. }) = decisions.get(&index) {
            wanted = wanted.union(rule.signals());
        }
        let own = config.layers[index].signals();
        let request = LayerRequest {
            signals: wanted.without(wanted.without(own)),
            positions: config.uses_positions().then_some(&tokens.positions),
            time: times.as_deref().map(Times::Host),
            ..LayerRequest::default()
        };
        let output = model.layer(index, &activations, &segments, request).map_err(|error| wrong(&error))?;
        activations = output.activations;
        look(&activations, &output.signals)?;
        if let Some(decision) = decisions.remove(&index) {
            let reduced = || {
                let stream = SiteStream::new(index, &table, &segments, &activations, &output.signals)?;
                let plan = decision.plan(&stream)?;
                let (activations, segments) = plan.apply(&stream)?;
                Ok::<_, PlanError>((table.apply(&plan)?, activations, segments, plan))
            };
            let (after, reduced, kept, plan) = reduced().map_err(|error| wrong(&error))?;
            (table, activations, segments) = (after, reduced, kept);
            plans.extend(plan.plans.into_iter().flatten().map(|plan| (index, plan)));
        }
    }
    Ok(Run { activations, segments, positions: table.segments.remove(0).positions, plans })
}

/// A matrix in host memory as the base of an array.
fn matrix(tensor: &Tensor) -> Result<Memory, Wrong> {
    let tensor = host::copy(tensor).map_err(|error| wrong(&ssm_model::ModelError::from(error)))?;
    let (values, rows, columns) =
        host::matrix(&tensor, "Model", "values").map_err(|error| wrong(&ssm_model::ModelError::from(error)))?;
    Ok(Memory::matrix(&values, rows, columns, Some(&tensor)))
}

fn logits(model: &LanguageModel, run: &Run) -> Result<Memory, Wrong> {
    let rows: Vec<u32> = (0..run.segments.n_tokens() as u32).collect();
    matrix(&model.head(&run.activations, &rows).map_err(|error| wrong(&error))?)
}

fn raise(py: Python<'_>, (words, hint): &Wrong) -> PyErr {
    refused(py, words, hint.as_deref())
}

#[pymethods]
impl Model {
    #[new]
    fn new(
        py: Python<'_>,
        reference: String,
        device: String,
        dtype: Option<String>,
        data_dir: Option<PathBuf>,
    ) -> PyResult<Self> {
        let open = py.detach(|| cli::open_model(&reference, &device, dtype.as_deref(), data_dir));
        Ok(Self { open: open.map_err(|error| problem(py, &error))? })
    }

    /// Layers, width, vocabulary.
    fn sizes(&self) -> (usize, usize, usize) {
        let config = self.open.model.config();
        (config.n_layer(), config.d_model, config.vocab_size)
    }

    fn encode(&self, py: Python<'_>, text: &str) -> PyResult<Vec<u32>> {
        self.open.encode(text).map_err(|error| problem(py, &error))
    }

    fn decode(&self, py: Python<'_>, ids: Vec<u32>) -> PyResult<String> {
        self.open.decode(&ids).map_err(|error| problem(py, &error))
    }

    fn token(&self, id: u32) -> String {
        self.open.token(id)
    }

    /// `[tokens, vocabulary]`.
    fn logits<'py>(&self, py: Python<'py>, ids: Vec<u32>) -> PyResult<Bound<'py, PyAny>> {
        let model = &self.open.model;
        let made = py.detach(|| {
            let run = forward(model, &ids, SignalSet::NONE, BTreeMap::new(), &mut |_, _| Ok(()))?;
            logits(model, &run)
        });
        made.map_err(|error| raise(py, &error))?.array(py)
    }

    /// The `n` most probable next tokens, one after the other.
    fn generate(&self, py: Python<'_>, ids: Vec<u32>, n: usize) -> PyResult<Vec<u32>> {
        let model = &self.open.model;
        let made = py.detach(|| {
            if ids.is_empty() {
                return Err(("there are no token ids".to_owned(), None));
            }
            let wrong = |error| wrong(&error);
            let (activations, mut state) =
                model.prefill(&ids, &Segments::independent(&[ids.len()]), None).map_err(wrong)?;
            let mut logits = model.head(&activations, &[ids.len() as u32 - 1]).map_err(wrong)?;
            let mut next = Vec::with_capacity(n);
            while next.len() < n {
                let greedy = host::copy(&logits).and_then(|row| Ok(row.argmax(1)?.to_vec1::<u32>()?[0]));
                next.push(greedy.map_err(|error| wrong(error.into()))?);
                if next.len() < n {
                    (logits, state) = model.step(&next[next.len() - 1..], &state).map_err(wrong)?;
                }
            }
            Ok(next)
        });
        made.map_err(|error| raise(py, &error))
    }

    /// One dict a layer: each of `signals` that the layer has.
    fn layers<'py>(&self, py: Python<'py>, ids: Vec<u32>, signals: Vec<String>) -> PyResult<Bound<'py, PyList>> {
        let shown = Shown::parse(&signals).map_err(|name| {
            refused(py, &format!("unknown signal `{name}`"), Some(&format!("signals: {}", Shown::known())))
        })?;
        let mut all = Vec::new();
        let made = py.detach(|| {
            let mut look = |activations: &Activations, own: &Signals| {
                let mut layer = Vec::new();
                for (name, part) in shown.iter() {
                    let tensor = match part {
                        Part::Hidden => Some(&activations.hidden),
                        Part::Residual => activations.residual.as_ref(),
                        Part::Signal(signal) => own.get(signal),
                    };
                    layer.extend(tensor.map(|tensor| Ok((name, matrix(tensor)?))).transpose()?);
                }
                all.push(layer);
                Ok(())
            };
            forward(&self.open.model, &ids, shown.signals(), BTreeMap::new(), &mut look).map(drop)
        });
        made.map_err(|error| raise(py, &error))?;
        let layers = PyList::empty(py);
        for layer in all {
            let entry = PyDict::new(py);
            for (name, memory) in layer {
                entry.set_item(name, memory.array(py)?)?;
            }
            layers.append(entry)?;
        }
        Ok(layers)
    }

    /// Logits of the tokens that are kept to the end, their positions, and for each site what was kept, merged and dropped.
    /// `answers` decide at their sites, and the strategy `rule` (its name and its options as JSON) at `sites`.
    #[expect(clippy::too_many_arguments, reason = "each is an argument of its own")]
    #[expect(clippy::type_complexity, reason = "a tuple of Python")]
    fn run<'py>(
        &self,
        py: Python<'py>,
        ids: Vec<u32>,
        answers: BTreeMap<usize, Bound<'py, PyAny>>,
        rule: Option<(String, String)>,
        sites: Vec<usize>,
        keep_ratio: f64,
        seed: u64,
    ) -> PyResult<(Bound<'py, PyAny>, Vec<u32>, BTreeMap<usize, (Vec<u32>, Vec<(u32, u32)>, Vec<u32>)>)> {
        let mut decisions = BTreeMap::new();
        for (site, answer) in answers {
            decisions.insert(site, Decision::Answer(Answer::extract(&answer)?));
        }
        if let Some((name, options)) = rule {
            let options: BTreeMap<String, OptionValue> = serde_json::from_str(&options)
                .map_err(|error| refused(py, &format!("options of {name}: {error}"), None))?;
            let strategy = Strategy::new(&name, &options).map_err(|error| raise(py, &wrong(&error)))?;
            for site in sites {
                decisions.insert(site, Decision::Rule { rule: strategy.rule(), keep_ratio, seed });
            }
        }
        let model = &self.open.model;
        let made = py.detach(|| {
            let run = forward(model, &ids, SignalSet::NONE, decisions, &mut |_, _| Ok(()))?;
            Ok((logits(model, &run)?, run))
        });
        let (logits, run) = made.map_err(|error: Wrong| raise(py, &error))?;
        let fates = |(site, plan): (usize, Plan)| (site, (plan.keep().to_vec(), plan.merged(), plan.dropped()));
        Ok((logits.array(py)?, run.positions, run.plans.into_iter().map(fates).collect()))
    }
}
