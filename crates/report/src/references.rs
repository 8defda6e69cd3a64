//! `references.bib`: BibTeX of the methods, models and data of an experiment, from one file of all that experiments can name.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use analysis::Study;

const ALL: &str = include_str!("../assets/references.bib");

/// An entry with the tags of who uses it.
struct Entry {
    tags: Vec<&'static str>,
    text: &'static str,
}

fn entries() -> Vec<Entry> {
    let of = |block: &'static str| {
        let (tags, text) = block.trim().strip_prefix("% ")?.split_once('\n')?;
        text.starts_with('@').then(|| Entry { tags: tags.split_whitespace().collect(), text })
    };
    ALL.split("\n\n").filter_map(of).collect()
}

/// The tags of the entries: `strategy:utrc`, `task:hellaswag`, ..
pub(super) fn tags() -> impl Iterator<Item = &'static str> {
    entries().into_iter().flat_map(|entry| entry.tags)
}

/// What an experiment used, as tags.
fn used(study: &Study) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for cell in &study.cells {
        let trial = &cell.record.trial;
        used.insert(format!("strategy:{}", trial.strategy));
        used.extend(trial.importance.iter().map(|importance| format!("importance:{importance}")));
        let task = cell.record.task.split('@').next().unwrap_or_default();
        used.insert(format!("task:{task}"));
        used.extend(model_tag(&trial.model));
    }
    used
}

/// The tag of a model: the longest known part of its name, so that `falcon-mamba` is not `mamba`.
fn model_tag(reference: &str) -> Option<String> {
    let name = reference.to_lowercase();
    let parts = tags().filter_map(|tag| tag.strip_prefix("model:")).filter(|part| name.contains(part));
    parts.max_by_key(|part| part.len()).map(|part| format!("model:{part}"))
}

/// The file.
pub(super) fn bibtex(study: &Study) -> String {
    let (used, known) = (used(study), tags().collect::<BTreeSet<_>>());
    let mut out = format!("% Methods, models and data of the experiment {}.\n", study.plan.experiment);
    let without: Vec<&str> = used.iter().filter(|tag| !known.contains(tag.as_str())).map(String::as_str).collect();
    if !without.is_empty() {
        // A string takes every text.
        let _ = writeln!(
            out,
            "% Without an entry (controls, this project's own, or not known here): {}.",
            without.join(", ")
        );
    }
    for entry in entries().iter().filter(|entry| entry.tags.iter().any(|tag| used.contains(*tag))) {
        let _ = write!(out, "\n{}\n", entry.text);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_whole_and_has_tags() {
        let all = entries();
        assert_eq!(all.len(), ALL.matches("\n@").count());
        let mut keys = BTreeSet::new();
        for Entry { tags, text } in &all {
            let key = text.split(['{', ',']).nth(1).unwrap();
            assert!(keys.insert(key), "{key} is there twice");
            assert_eq!(text.matches('{').count(), text.matches('}').count(), "{key}");
            assert!(
                ["author = {", "title = {", "year = {", "url = {"].iter().all(|field| text.contains(field)),
                "{key}"
            );
            assert!(!text.contains("and others}"), "{key}: all authors are named");
            for tag in tags {
                let kind = tag.split_once(':').map(|(kind, _)| kind);
                assert!(matches!(kind, Some("strategy" | "importance" | "task" | "model")), "{key}: {tag}");
            }
        }
    }

    #[test]
    fn a_model_is_cited_by_the_longest_part_of_its_name() {
        let tag = |name: &str| model_tag(name).unwrap_or_default();
        assert_eq!(tag("builtin:mamba-world"), "model:mamba");
        assert_eq!(tag("hub:state-spaces/mamba2-130m"), "model:mamba2");
        assert_eq!(tag("hub:tiiuae/falcon-mamba-7b"), "model:falcon-mamba");
        assert_eq!(tag("hub:EleutherAI/pythia-70m@main"), "model:pythia");
        assert_eq!(tag("./my-model"), "");
    }
}
