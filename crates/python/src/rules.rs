//! Rules written in Python, registered beside the program's own.

use std::fmt;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use reduction_strategies::options::{OptionDefault, OptionInfo, OptionKind, OptionValue, ResolvedOptions};
use reduction_strategies::registry::{self, Registration};
use reduction_strategies::{Causality, Count, HostRule, Plan, PlanError, Rule, SequenceView};
use ssm_model::SignalSet;

use crate::answer::Answer;
use crate::error::{hinted, refused};
use crate::site::{Shown, Site};

/// A rule as its decorator describes it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Described {
    name: String,
    family: String,
    summary: String,
    options: Vec<DescribedOption>,
    signals: Vec<String>,
    seeded: bool,
    /// 0: none; -1: streaming; else tokens of a block.
    causal: i64,
    free: bool,
    threshold: Option<String>,
    digest: String,
    call: Py<PyAny>,
}

/// Name, kind, default, bounds, words and help of an option.
#[derive(FromPyObject)]
struct DescribedOption(String, String, Py<PyAny>, f64, f64, Vec<String>, String);

/// What the rules of one registration share.
struct Script {
    name: &'static str,
    digest: String,
    shown: Shown,
    seeded: bool,
    causality: Causality,
    count: Count,
    /// `call(site, n_keep, options)` gives an answer.
    call: Py<PyAny>,
}

/// A rule in Python with its options.
struct ScriptRule {
    script: Arc<Script>,
    options: Vec<(&'static str, OptionValue)>,
}

impl fmt::Debug for ScriptRule {
    /// Everything that changes a plan: the digest stands for the code and what it closes over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Script { name, digest, .. } = &*self.script;
        f.debug_struct("Script").field("name", name).field("digest", digest).field("options", &self.options).finish()
    }
}

impl HostRule for ScriptRule {
    fn signals(&self) -> SignalSet {
        self.script.shown.signals()
    }

    fn reads_residual(&self) -> bool {
        self.script.shown.reads_residual()
    }

    fn is_blind(&self) -> bool {
        self.script.shown.is_empty() && !self.script.count.is_free()
    }

    fn count(&self) -> Count {
        self.script.count
    }

    fn causality(&self) -> Causality {
        self.script.causality
    }

    fn code(&self) -> Option<String> {
        Some(self.script.digest.clone())
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let Script { name, shown, seeded, count, call, .. } = &*self.script;
        let site = Site::new(view, shown, *seeded)?;
        let answer = Python::try_attach(|py| -> PyResult<Answer> {
            let options = PyDict::new(py);
            for (name, value) in &self.options {
                match value {
                    OptionValue::Integer(value) => options.set_item(name, value)?,
                    OptionValue::Number(value) => options.set_item(name, value)?,
                    OptionValue::Word(value) => options.set_item(name, value)?,
                }
            }
            Answer::extract(&call.bind(py).call1((site, n_keep, options))?)
        });
        // The interpreter ends while a run that was interrupted is still in its last layer.
        let answer = answer.unwrap_or_else(|| Ok(Answer::Wrong("Python has ended".to_owned(), "run again".to_owned())));
        let n_keep = (!count.is_free()).then_some(n_keep);
        let answer = answer.map(|answer| match answer {
            Answer::Merge { .. } if self.is_blind() => Answer::Wrong(
                "it merges tokens and reads no values of them".to_owned(),
                "add signals=[\"hidden\"]: the similarity of what is merged is recorded".to_owned(),
            ),
            answer => answer,
        });
        let made = answer.map_err(|error| (error.to_string(), "the rule did not return".to_owned()));
        made.and_then(|answer| answer.plan(view, n_keep)).map_err(|(problem, hint)| PlanError::Script {
            rule: (*name).to_owned(),
            site: view.draw.site,
            item: view.draw.item,
            problem,
            hint,
        })
    }
}

/// Text that lives as long as the program, as that of compiled strategies does.
fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// Registers a rule, in place of an earlier one of its name.
#[pyfunction]
pub(crate) fn register(py: Python<'_>, described: Described) -> PyResult<()> {
    let family = serde_json::from_value(serde_json::Value::String(described.family.clone())).map_err(|_| {
        let words = format!("unknown family `{}`", described.family);
        refused(py, &words, Some("families: baseline, control, pruning, merging, state_aware, released"))
    })?;
    let shown = Shown::parse(&described.signals).map_err(|name| {
        refused(py, &format!("unknown signal `{name}`"), Some(&format!("signals: {}", Shown::known())))
    })?;
    let causality = match described.causal {
        0 => Causality::None,
        block if block > 0 => Causality::WithinBlock(block as usize),
        _ => Causality::Streaming,
    };
    let threshold = described.threshold.map(leaked);
    let count = if described.free { Count::Free { threshold } } else { Count::Exact };
    let options = described.options.iter().map(|option| declared(py, option)).collect::<PyResult<Vec<_>>>()?;
    let (name, seeded) = (leaked(described.name), described.seeded);
    let script =
        Arc::new(Script { name, digest: described.digest, shown, seeded, causality, count, call: described.call });
    let build = move |options: &ResolvedOptions| {
        let options = options.iter().map(|(name, value)| (name, value.clone())).collect();
        Rule::Host(Arc::new(ScriptRule { script: Arc::clone(&script), options }))
    };
    let registration = Registration {
        name,
        family,
        version: 1,
        summary: leaked(described.summary),
        source: "a script",
        formula: "as the script says",
        differs: "nothing is published",
        options: Vec::leak(options),
        seeded,
        build: Box::leak(Box::new(build)),
    };
    registry::register(registration).map_err(|error| hinted(py, &error))
}

/// The declaration of an option.
fn declared(
    py: Python<'_>,
    DescribedOption(name, kind, default, low, high, words, help): &DescribedOption,
) -> PyResult<OptionInfo> {
    let (kind, default) = match kind.as_str() {
        "integer" => {
            (OptionKind::Integer { min: *low as i64, max: *high as i64 }, OptionDefault::Integer(default.extract(py)?))
        }
        "number" => (OptionKind::Number { min: *low, max: *high }, OptionDefault::Number(default.extract(py)?)),
        _ => {
            let words: Vec<&'static str> = words.iter().map(|word| leaked(word.clone())).collect();
            (OptionKind::Choice(Vec::leak(words)), OptionDefault::Word(leaked(default.extract(py)?)))
        }
    };
    let info = OptionInfo { name: leaked(name.clone()), kind, default, help: leaked(help.clone()) };
    info.check(&info.default.into()).map_err(|error| hinted(py, &error))?;
    Ok(info)
}
