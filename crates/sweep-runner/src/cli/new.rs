//! `new`: a first experiment about a rule, from a template.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use hint::Hint;
use miette::miette;
use records::files::{self, Durability};
use reduction_strategies::registry::Strategy;

use super::host::{Host, RulesArgs};
use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, failed, hinted, refused};
use crate::config;

/// What to write.
#[derive(Args)]
pub(super) struct NewArgs {
    /// Name of the experiment, of a-z, 0-9, - and _; the file is NAME.yaml
    name: String,
    /// What it asks; each template also answers to the word in brackets
    #[arg(long, value_name = "TEMPLATE", value_enum, default_value_t = Template::Compare)]
    template: Template,
    /// The strategy that it is about
    #[arg(long, value_name = "STRATEGY", default_value = "write_read")]
    rule: String,
    #[command(flatten)]
    rules: RulesArgs,
    /// The file, in place of NAME.yaml in this folder
    #[arg(long, value_name = "FILE.yaml", value_parser = crate::home::argument())]
    out: Option<PathBuf>,
}

/// What an experiment may ask of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Template {
    /// Is the rule better than controls and published rules at equal achieved reductions? [baselines]
    #[value(alias = "baselines")]
    Compare,
    /// Which layers bear a loss of tokens? One site at a time, over keep ratios [sites]
    #[value(alias = "sites")]
    Layers,
    /// How much of a loss is the rule, and how much how scores are read? [scoring]
    #[value(alias = "scoring")]
    Protocols,
    /// Does it keep recall and fluency on English novels? [novels]
    #[value(alias = "novels")]
    Books,
    /// How does its damage change with the length of the context? [lengths]
    #[value(alias = "lengths")]
    LongContext,
}

impl Template {
    fn text(self) -> &'static str {
        match self {
            Self::Compare => include_str!("../../assets/new/compare.yaml"),
            Self::Layers => include_str!("../../assets/new/layers.yaml"),
            Self::Protocols => include_str!("../../assets/new/protocols.yaml"),
            Self::Books => include_str!("../../assets/new/books.yaml"),
            Self::LongContext => include_str!("../../assets/new/long-context.yaml"),
        }
    }

    /// The file of an experiment. `free`: whether the rule decides by itself how many tokens it keeps.
    fn filled(self, name: &str, rule: &str, free: bool) -> String {
        let mut out = String::new();
        for line in self.text().lines() {
            // The rule may be one of those that it is compared with.
            let entry = line.strip_prefix("  - ").unwrap_or_default();
            if entry == rule || entry.starts_with(&format!("{rule}:")) {
                continue;
            }
            let line = line.replace("{{NAME}}", name).replace("{{RULE}}", rule);
            match line.strip_prefix("schedule: ").filter(|_| free) {
                Some(block) => {
                    let own = block.replace("flops_reduction: {", "calibrate: {");
                    let own = if own == block { "{ sites: paper }".to_owned() } else { own };
                    out += &["schedule:\n  - ", block, "\n  - ", &own, "\n"].concat();
                }
                None => out += &(line + "\n"),
            }
        }
        out
    }
}

pub(super) fn run(args: &NewArgs, host: Option<&Host>) -> Result<u8, Failure> {
    args.rules.load(host)?;
    let NewArgs { name, template, rule, .. } = args;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_') {
        let help = "it names the results folder, for example my-rule";
        return Err(refused(miette!(help = help, "`{name}` cannot name an experiment: only a-z, 0-9, - and _ may")));
    }
    let strategy = Strategy::new(rule, &std::collections::BTreeMap::new())
        .map_err(|error| refused(hinted(&error.to_string(), &error as &dyn Hint)))?;
    if rule == "dense" {
        return Err(refused(miette!(help = "name a rule, for example --rule utrc", "`dense` removes nothing")));
    }
    let free = strategy.rule().count().is_free();
    if free && *template == Template::Layers {
        let help = "`--template compare` calibrates its threshold";
        return Err(refused(miette!(
            help = help,
            "`{rule}` decides by itself how many tokens it keeps: it takes no keep ratio"
        )));
    }
    let file = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.yaml")));
    if file.exists() {
        return Err(refused(miette!(help = "choose another name, or --out", "{} is there already", file.display())));
    }
    write(&file, &template.filled(name, rule, free))?;
    // The first line of the file names it.
    let schema = file.with_file_name("schema.json");
    if !schema.exists() {
        write(&schema, &config::json_schema().map_err(|error| failed(miette!("cannot print the schema: {error}")))?)?;
    }
    let said = format!("{}\n", file.display());
    ignore_closed_pipe(io::stdout().lock().write_all(said.as_bytes()))?;
    Ok(DONE)
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    files::write(file, text.as_bytes(), Durability::Plain).map_err(|error| {
        let help = "name a file in a folder that is there";
        failed(miette!(help = help, "cannot write {}: {error}", file.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_experiment_is_what_the_first_template_writes() {
        let shipped = include_str!("../../../../experiments/new-strategy.yaml");
        assert_eq!(Template::Compare.filled("new-strategy", "write_read", false), shipped);
    }

    #[test]
    fn the_word_in_brackets_names_the_template_too() {
        for template in Template::value_variants() {
            let value = template.to_possible_value().unwrap();
            let help = value.get_help().unwrap().to_string();
            let word = help.rsplit_once('[').unwrap().1.trim_end_matches(']');
            assert_eq!(Template::from_str(word, false).as_ref(), Ok(template), "{help}");
            assert_eq!(value.get_name_and_aliases().collect::<Vec<_>>(), [value.get_name(), word]);
        }
    }

    #[test]
    fn a_rule_is_listed_once_and_a_free_count_is_calibrated() {
        let text = Template::Compare.filled("t", "utrc", false);
        assert_eq!(text.matches("\n  - utrc\n").count(), 1);
        assert_eq!(Template::Compare.filled("t", "top_k", false).matches("\n  - top_k").count(), 1);
        let free = Template::Compare.filled("t", "top_p", true);
        assert!(free.contains("\n  - { sites: paper, calibrate: { achieved: [0.1, 0.2] } }\n"), "{free}");
        for template in Template::value_variants() {
            assert!(!template.filled("t", "utrc", false).contains("{{"));
        }
    }
}
