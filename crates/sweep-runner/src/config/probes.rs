//! Entries of `probes`: names and option axes checked against what each probe declares.

use evaluation::probes::{self, Subject};
use hint::Hint;
use reduction_strategies::options::ResolvedOptions;

use super::error::{Fault, gather, line_of};
use super::experiment::ProbeVariant;
use super::strategies::{Declared, check_option, product};
use super::wire::WireStrategy;

pub(super) fn resolve(
    entries: &[WireStrategy],
    lists_strategies: bool,
    text: &str,
) -> Result<Vec<ProbeVariant>, Fault> {
    let mut variants: Vec<ProbeVariant> = Vec::new();
    let resolve_entry = |entry: &WireStrategy| {
        let probe = probes::find(&entry.name.value)
            .map_err(|error| entry.name.fault(error.to_string()).label("unknown").maybe_hint(error.hint()))?;
        if probe.subject == Subject::Reduction && !lists_strategies {
            return Err(entry
                .name
                .fault(format!("the probe `{}` looks at strategies, and none is listed", probe.name))
                .label("nothing to look at")
                .hint("add `strategies` and a `schedule`, for example `strategies: [dense, top_k]`"));
        }
        if let Some(seeds) = &entry.seeds {
            return Err(Fault::new(seeds.key, format!("the probe `{}` takes no seeds", probe.name))
                .label("no use for seeds")
                .hint("what a probe draws depends on the experiment's `seed`"));
        }
        let declared = Declared { name: probe.name, what: "probe", options: probe.options, seeded: false };
        gather(entry.options.iter().map(|option| check_option(&declared, option)))?;
        for given in product(entry)? {
            let options = ResolvedOptions::resolve(probe.options, &given).map_err(|error| {
                entry.name.fault(format!("probe `{}`: {error}", probe.name)).maybe_hint(error.hint())
            })?;
            let line = line_of(entry.name.span, text);
            let variant = ProbeVariant { probe, options, line };
            if variants.contains(&variant) {
                return Err(entry
                    .name
                    .fault(format!("`probes` lists `{}` twice with the same options", probe.name))
                    .label("again here")
                    .hint("remove one of them"));
            }
            variants.push(variant);
        }
        Ok(())
    };
    gather(entries.iter().map(resolve_entry))?;
    Ok(variants)
}
