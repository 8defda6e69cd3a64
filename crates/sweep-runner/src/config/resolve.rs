//! From the file as written to a valid experiment.

use evaluation::tasks::{SPLITS, Split};
use evaluation::{POSITIONS, Positions, Protocol, SIGNAL_FROM, SignalFrom, protocol};
use reduction_strategies::registry;
use reduction_strategies::spelling::nearest;

use super::catalog::{Catalog, CatalogError, ModelFacts, UNUSABLE_TOKENIZER};
use super::error::Fault;
use super::experiment::{Experiment, Sample};
use super::node::{Located, refuse_duplicates};
use super::probes;
use super::schedules;
use super::selectors::{self, Axes, find_positions};
use super::strategies;
use super::wire::{WireExperiment, WireModel};
use super::{counts, resolve_claim, resolve_tasks};

impl WireExperiment {
    pub(super) fn resolve(self, text: &str, catalog: &dyn Catalog) -> Result<Experiment, Fault> {
        check_name(&self.name)?;
        let references: Vec<_> = self.models.iter().map(|model| model.reference.clone()).collect();
        for (list, what) in
            [(&references, "`models`"), (&self.protocols, "`protocols`"), (&self.positions, "`positions`")]
        {
            refuse_duplicates(list, what, PartialEq::eq, Clone::clone)?;
        }
        let protocols = protocols(&self.protocols)?;
        let strategies = strategies::resolve(&self.strategies.value)?;
        let probes = probes::resolve(&self.probes, &strategies)?;
        let baseline = baseline(&self)?;
        // Before the models, which may be downloaded.
        let tasks = resolve_tasks::resolve(&self.tasks, self.prompting, catalog)?;
        let primary = resolve_tasks::primary(self.primary.as_ref(), &tasks)?;
        let models = models(&self.models, catalog)?;
        let positions = positions(&self.positions, &models)?;
        let signal_from = signal_from(self.signal_from.as_ref(), &models)?;
        let split = split(self.split.as_ref())?;
        let schedules = schedules::resolve(&self.schedules, &models)?;
        if schedules.is_empty() && strategies.iter().any(|variant| !variant.is_dense()) {
            return Err(Fault::new(
                self.strategies.span,
                "`schedule` is missing: these strategies need sites and a ratio",
            )
            .hint("for example `schedule: { sites: paper, flops_reduction: [0.1, 0.2, 0.3] }`"));
        }
        counts::check(&self.schedules, &self.strategies.value, &strategies)?;
        let axes = Axes {
            models: &models,
            tasks: &tasks,
            protocols: &protocols,
            strategies: &strategies,
            positions: &positions,
            schedules: &schedules,
            seed: self.seed,
        };
        let exclude = selectors::resolve(&self.exclude, &axes, text)?;
        let zip = selectors::resolve(&self.zip, &axes, text)?;
        let claim = self.claim.as_ref().map(|claim| resolve_claim::resolve(claim, &axes, &probes, text)).transpose()?;
        Ok(Experiment {
            name: self.name.value,
            question: self.question,
            expect: self.expect,
            claim,
            models,
            tasks,
            protocols,
            strategies,
            probes,
            positions,
            signal_from,
            schedules,
            exclude,
            zip,
            sample: self.sample.map(|sample| Sample { count: sample.count, seed: sample.seed }),
            split,
            limit: self.limit,
            record_plans: self.record_plans,
            prompting: self.prompting,
            baseline,
            primary,
            seed: self.seed,
            upstream_batch_size: self.upstream_batch_size,
            overrides: Vec::new(),
        })
    }
}

fn check_name(name: &Located<String>) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.value.chars().all(allowed) {
        return Ok(());
    }
    let better: String = name.value.to_lowercase().chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    Err(name
        .fault(format!("`{}` cannot name an experiment: only a-z, 0-9, - and _ may stand in it", name.value))
        .label("names the results folder")
        .hint(format!("write `{better}`")))
}

fn protocols(names: &[Located<String>]) -> Result<Vec<&'static Protocol>, Fault> {
    if names.is_empty() {
        return Ok(protocol::all()[..1].to_vec());
    }
    names
        .iter()
        .map(|name| {
            protocol::find(&name.value).ok_or_else(|| {
                let known: Vec<_> = protocol::all().iter().map(|protocol| protocol.name).collect();
                let hint = match nearest(&name.value, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known protocols: {}", known.join(", ")),
                };
                name.fault(format!("unknown protocol `{}`", name.value)).label("unknown").hint(hint)
            })
        })
        .collect()
}

fn split(name: Option<&Located<String>>) -> Result<Split, Fault> {
    let Some(name) = name else { return Ok(Split::default()) };
    SPLITS.iter().find(|(known, _)| *known == name.value).map(|(_, split)| *split).ok_or_else(|| {
        let known = SPLITS.map(|(name, _)| name);
        let hint = match nearest(&name.value, known.into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known splits: {}", known.join(", ")),
        };
        name.fault(format!("unknown split `{}`", name.value)).label("unknown").hint(hint)
    })
}

fn signal_from(name: Option<&Located<String>>, models: &[ModelFacts]) -> Result<SignalFrom, Fault> {
    let Some(name) = name else { return Ok(SignalFrom::default()) };
    let found = SIGNAL_FROM.iter().find(|(known, _)| *known == name.value).map(|(_, signal_from)| *signal_from);
    let signal_from = found.ok_or_else(|| {
        let known = SIGNAL_FROM.map(|(name, _)| name);
        let hint = match nearest(&name.value, known.into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known words: {}", known.join(", ")),
        };
        name.fault(format!("unknown `signal_from`: `{}`", name.value)).label("unknown").hint(hint)
    })?;
    let is_hybrid = |model: &ModelFacts| model.layers.iter().any(|layer| layer.signals != model.layers[0].signals);
    if signal_from != SignalFrom::default() && !models.iter().any(is_hybrid) {
        return Err(name
            .fault(format!("`{}` would change nothing: all layers of every listed model show the same", name.value))
            .label("without effect")
            .hint("it concerns hybrids; remove `signal_from`, or add builtin:hybrid-books"));
    }
    Ok(signal_from)
}

fn positions(names: &[Located<String>], models: &[ModelFacts]) -> Result<Vec<Positions>, Fault> {
    if names.is_empty() {
        return Ok(vec![Positions::default()]);
    }
    names
        .iter()
        .map(|name| {
            let positions = find_positions(&name.value).ok_or_else(|| {
                let known = POSITIONS.map(|(name, _)| name);
                let hint = match nearest(&name.value, known.into_iter()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known positions: {}", known.join(", ")),
                };
                name.fault(format!("unknown positions `{}`", name.value)).label("unknown").hint(hint)
            })?;
            if positions != Positions::default() && models.iter().all(|model| !model.uses_positions) {
                return Err(name
                    .fault(format!("`{}` would change nothing: no listed model reads positions", name.value))
                    .label("without effect")
                    .hint("a recurrence knows the order of its tokens alone; remove `positions`, or add builtin:neox-world"));
            }
            Ok(positions)
        })
        .collect()
}

/// The baseline must be run to be compared with.
fn baseline(wire: &WireExperiment) -> Result<String, Fault> {
    let listed: Vec<_> = wire.strategies.value.iter().map(|strategy| strategy.name.value.as_str()).collect();
    let (name, span) = match &wire.baseline {
        Some(baseline) => (baseline.value.as_str(), baseline.span),
        None => ("dense", wire.strategies.span),
    };
    // Nothing is compared where there are probes alone.
    if listed.contains(&name) || (listed.is_empty() && wire.baseline.is_none()) {
        return Ok(name.to_owned());
    }
    let fault = Fault::new(span, format!("the baseline `{name}` is not among the strategies"));
    if let Some(near) = nearest(name, listed.iter().copied()).filter(|_| registry::find(name).is_err()) {
        return Err(fault.hint(format!("did you mean `{near}`?")));
    }
    Err(fault.label("nothing to compare with").hint(format!("add `- {name}` to strategies, or name another baseline")))
}

fn models(models: &[WireModel], catalog: &dyn Catalog) -> Result<Vec<ModelFacts>, Fault> {
    let schemes = ["builtin", "hub", "random"];
    models
        .iter()
        .map(|WireModel { reference, tokenizer }| {
            if let Some((scheme, rest)) = reference.value.split_once(':') {
                if !schemes.contains(&scheme) && !rest.starts_with(['\\', '/']) {
                    let hint = nearest(scheme, schemes.into_iter()).map_or_else(
                        || "write builtin:<name>, hub:<owner>/<name>, random:<name>, or a folder".to_owned(),
                        |near| format!("did you mean `{near}:{rest}`?"),
                    );
                    return Err(reference.fault(format!("unknown kind of model reference `{scheme}:`")).hint(hint));
                }
                if scheme == "hub" && !names_repository(rest) {
                    return Err(reference.fault("a hub model has an owner, a name and perhaps a revision").hint(
                        "write hub:<owner>/<name>, or hub:<owner>/<name>@<commit>, whose weights cannot change",
                    ));
                }
            }
            let named = tokenizer.as_ref();
            catalog
                .choose_tokenizer(&reference.value, named.map(|named| named.value.as_str()))
                .map_err(|error| unlisted(named.unwrap_or(reference), error))?;
            let facts = catalog.model(&reference.value).map_err(|error| {
                // A tokenizer that does not fit is at fault, and not the model.
                let named = named.filter(|_| error.label == UNUSABLE_TOKENIZER);
                unlisted(named.unwrap_or(reference), error)
            })?;
            Ok(ModelFacts { tokenizer: named.map(|named| named.value.clone()), ..facts })
        })
        .collect()
}

fn names_repository(rest: &str) -> bool {
    let (name, revision) = rest.split_once('@').map_or((rest, None), |(name, revision)| (name, Some(revision)));
    revision != Some("") && name.split('/').count() == 2 && name.split('/').all(|part| !part.is_empty())
}

pub(super) fn unlisted(name: &Located<String>, error: CatalogError) -> Fault {
    name.fault(error.message).label(error.label).maybe_hint(error.hint)
}
