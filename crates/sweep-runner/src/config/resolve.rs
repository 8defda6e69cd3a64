//! From the file as written to a valid experiment.

use evaluation::tasks::{SPLITS, Split};
use evaluation::{POSITIONS, Positions, Protocol, SIGNAL_FROM, SignalFrom, protocol};
use reduction_strategies::registry;
use reduction_strategies::spelling::nearest;

use super::catalog::{Catalog, CatalogError, ModelFacts, UNUSABLE_TOKENIZER};
use super::error::{Fault, Faults, gather};
use super::experiment::{Experiment, Sample, Variant};
use super::node::{Located, refuse_duplicates};
use super::probes;
use super::schedules;
use super::selectors::{self, Axes, find_positions};
use super::strategies;
use super::wire::{WireExperiment, WireModel, WireSchedule, WireStrategy};
use super::{counts, resolve_bridge, resolve_claim, resolve_tasks};

impl WireExperiment {
    /// The experiment, if nothing is wrong with it. Each key is checked as far as those on which it depends are right.
    pub(super) fn resolve(self, text: &str, catalog: &dyn Catalog, mut faults: Faults) -> Result<Experiment, Fault> {
        let noted = &mut faults;
        noted.note(self.name.as_ref().map_or(Ok(()), check_name));
        let protocols = self.protocols.as_deref().and_then(|names| noted.note(protocols(names)));
        let variants = self.strategies.as_ref().and_then(|list| noted.note(strategies::resolve(&list.value)));
        let probes = self.probes.as_ref().and_then(|probes| {
            let lists_strategies = self.strategies.as_ref().is_none_or(|list| !list.value.is_empty());
            noted.note(probes::resolve(probes, lists_strategies, text))
        });
        let list = self.strategies.as_ref().filter(|_| variants.is_some());
        let baseline = list.and_then(|list| noted.note(baseline(list, self.baseline.as_ref())));
        let split = noted.note(split(self.split.as_ref()));
        if let (Some(list), Some(schedules), Some(variants)) = (&self.strategies, &self.schedules, &variants) {
            noted.note(check_amounts(list, schedules, variants));
        }
        // Before the models, which may be downloaded.
        let tasks = self.tasks.as_ref().zip(self.prompting).and_then(|(tasks, prompting)| {
            let faulty = !noted.is_empty();
            noted.note(resolve_tasks::resolve(tasks, prompting, catalog, faulty)).flatten()
        });
        let primary = tasks.as_ref().and_then(|tasks| noted.note(resolve_tasks::primary(self.primary.as_ref(), tasks)));
        let models = self.models.as_ref().and_then(|list| {
            let faulty = !noted.is_empty();
            noted.note(models(list, catalog, faulty)).flatten()
        });
        let of_models = models.as_ref();
        let positions =
            of_models.zip(self.positions.as_ref()).and_then(|(models, names)| noted.note(positions(names, models)));
        let signal_from = of_models.and_then(|models| noted.note(signal_from(self.signal_from.as_ref(), models)));
        // Without models, what is wrong in every model is still said.
        let schedules = self
            .schedules
            .as_ref()
            .and_then(|blocks| noted.note(schedules::resolve(blocks, of_models.map_or(&[], Vec::as_slice))));
        let (Some(models), Some(tasks), Some(protocols), Some(strategies), Some(probes)) =
            (models, tasks, protocols, variants, probes)
        else {
            return faults.refused();
        };
        let (Some(positions), Some(schedules), Some(seed)) = (positions, schedules, self.seed) else {
            return faults.refused();
        };
        let axes = Axes {
            models: &models,
            tasks: &tasks,
            protocols: &protocols,
            strategies: &strategies,
            positions: &positions,
            schedules: &schedules,
            seed,
        };
        let noted = &mut faults;
        let exclude = self.exclude.and_then(|list| noted.note(selectors::resolve(&list, &axes, text)));
        let zip = self.zip.and_then(|list| noted.note(selectors::resolve(&list, &axes, text)));
        let claim = self.claim.and_then(|claim| noted.note(resolve_claim::resolve(&claim, &axes, &probes, text)));
        let bridges = self.bridges.and_then(|list| noted.note(resolve_bridge::resolve(&list, &axes, text)));
        let (Some(name), Some(exclude), Some(zip), Some(bridges), Some(baseline), Some(primary), Some(prompting)) =
            (self.name, exclude, zip, bridges, baseline, primary, self.prompting)
        else {
            return faults.refused();
        };
        let (Some(signal_from), Some(split), Some(record_plans), Some(upstream_batch_size)) =
            (signal_from, split, self.record_plans, self.upstream_batch_size)
        else {
            return faults.refused();
        };
        faults.done(Experiment {
            name: name.value,
            question: self.question,
            expect: self.expect,
            claim,
            bridges,
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
            record_plans,
            prompting,
            baseline,
            primary,
            seed,
            upstream_batch_size,
            overrides: Vec::new(),
        })
    }
}

/// Refuses a schedule that is missing, or that is not for the strategies.
fn check_amounts(
    list: &Located<Vec<WireStrategy>>,
    schedules: &[WireSchedule],
    variants: &[Variant],
) -> Result<(), Fault> {
    if schedules.is_empty() && variants.iter().any(|variant| !variant.is_dense()) {
        return Err(Fault::new(list.span, "`schedule` is missing: these strategies need sites and a ratio")
            .hint("for example `schedule: { sites: paper, flops_reduction: [0.1, 0.2, 0.3] }`"));
    }
    counts::check(schedules, &list.value, variants)
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
    refuse_duplicates(names, "`protocols`", PartialEq::eq, Clone::clone)?;
    gather(names.iter().map(|name| {
        protocol::find(&name.value).ok_or_else(|| {
            let known: Vec<_> = protocol::all().iter().map(|protocol| protocol.name).collect();
            let hint = match nearest(&name.value, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known protocols: {}", known.join(", ")),
            };
            name.fault(format!("unknown protocol `{}`", name.value)).label("unknown").hint(hint)
        })
    }))
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
    refuse_duplicates(names, "`positions`", PartialEq::eq, Clone::clone)?;
    gather(names.iter().map(|name| {
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
                .hint(
                    "a recurrence knows the order of its tokens alone; remove `positions`, or add builtin:neox-world",
                ));
        }
        Ok(positions)
    }))
}

/// The baseline must be run to be compared with.
fn baseline(list: &Located<Vec<WireStrategy>>, named: Option<&Located<String>>) -> Result<String, Fault> {
    let listed: Vec<_> = list.value.iter().map(|strategy| strategy.name.value.as_str()).collect();
    let (name, span) = named.map_or(("dense", list.span), |named| (named.value.as_str(), named.span));
    // Nothing is compared where there are probes alone.
    if listed.contains(&name) || (listed.is_empty() && named.is_none()) {
        return Ok(name.to_owned());
    }
    let fault = Fault::new(span, format!("the baseline `{name}` is not among the strategies"));
    if let Some(near) = nearest(name, listed.iter().copied()).filter(|_| registry::find(name).is_err()) {
        return Err(fault.hint(format!("did you mean `{near}`?")));
    }
    Err(fault.label("nothing to compare with").hint(format!("add `- {name}` to strategies, or name another baseline")))
}

/// The models that the file names. In a file that is `faulty` already, those of the hub are not looked up: that may download them, and
/// the list is incomplete, which is none.
fn models(models: &[WireModel], catalog: &dyn Catalog, faulty: bool) -> Result<Option<Vec<ModelFacts>>, Fault> {
    let references: Vec<_> = models.iter().map(|model| model.reference.clone()).collect();
    refuse_duplicates(&references, "`models`", PartialEq::eq, Clone::clone)?;
    let looked_up = |model: &WireModel| {
        check_scheme(&model.reference)?;
        let skipped = faulty && model.reference.value.starts_with("hub:");
        (!skipped).then(|| look_up(model, catalog)).transpose()
    };
    Ok(gather(models.iter().map(looked_up))?.into_iter().collect())
}

fn check_scheme(reference: &Located<String>) -> Result<(), Fault> {
    let schemes = ["builtin", "hub", "random"];
    let Some((scheme, rest)) = reference.value.split_once(':') else { return Ok(()) };
    if !schemes.contains(&scheme) && !rest.starts_with(['\\', '/']) {
        let hint = nearest(scheme, schemes.into_iter()).map_or_else(
            || "write builtin:<name>, hub:<owner>/<name>, random:<name>, or a folder".to_owned(),
            |near| format!("did you mean `{near}:{rest}`?"),
        );
        return Err(reference.fault(format!("unknown kind of model reference `{scheme}:`")).hint(hint));
    }
    if scheme == "hub" && !names_repository(rest) {
        return Err(reference
            .fault("a hub model has an owner, a name and perhaps a revision")
            .hint("write hub:<owner>/<name>, or hub:<owner>/<name>@<commit>, whose weights cannot change"));
    }
    Ok(())
}

fn look_up(WireModel { reference, tokenizer }: &WireModel, catalog: &dyn Catalog) -> Result<ModelFacts, Fault> {
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
}

fn names_repository(rest: &str) -> bool {
    let (name, revision) = rest.split_once('@').map_or((rest, None), |(name, revision)| (name, Some(revision)));
    revision != Some("") && name.split('/').count() == 2 && name.split('/').all(|part| !part.is_empty())
}

pub(super) fn unlisted(name: &Located<String>, error: CatalogError) -> Fault {
    name.fault(error.message).label(error.label).maybe_hint(error.hint)
}
