//! `strategies`, `models` and `tasks`.

use std::io::{self, Write};
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use miette::miette;
use reduction_strategies::registry;
use ssm_model::catalog;

use super::sweep::ignore_closed_pipe;
use super::{Failure, failed};

pub(super) fn strategies() -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let written = registry::all().into_iter().try_for_each(|strategy| {
        writeln!(
            out,
            "{}\n  {}\n  source   {}\n  formula  {}",
            strategy.name, strategy.summary, strategy.source, strategy.formula
        )?;
        if !strategy.differs.is_empty() {
            writeln!(out, "  differs  {}", strategy.differs)?;
        }
        if strategy.seeded {
            writeln!(out, "  seeds    a list of whole numbers (default: the experiment's seed): the rule is random")?;
        }
        for option in strategy.options {
            let default = reduction_strategies::options::OptionValue::from(option.default);
            writeln!(out, "  {:<8} {} (default {default}): {}", option.name, option.kind, option.help)?;
        }
        writeln!(out)
    });
    ignore_closed_pipe(written)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn models() -> Result<ExitCode, Failure> {
    let mut table = table(&["model", "mixer", "layers", "d_model", "parameters", "what"]);
    for builtin in catalog::builtins() {
        let config = ssm_model::ModelConfig::from_json(builtin.config_json)
            .map_err(|error| failed(miette!("builtin model {}: {error}", builtin.name)))?;
        let mixer = match config.mixer {
            ssm_model::MixerConfig::Mamba(_) => "Mamba",
            ssm_model::MixerConfig::Mamba2(_) => "Mamba-2",
        };
        table.add_row([
            format!("builtin:{}", builtin.name),
            mixer.to_owned(),
            config.n_layer.to_string(),
            config.d_model.to_string(),
            config.parameters().to_string(),
            builtin.summary.to_owned(),
        ]);
    }
    print(&table)
}

pub(super) fn tasks() -> Result<ExitCode, Failure> {
    let mut table = table(&["task", "items", "choices", "context tokens", "continuation tokens", "what"]);
    for task in evaluation::tasks::builtin_tasks() {
        let facts =
            evaluation::tasks::facts(task.name).map_err(|error| failed(miette!("task {}: {error}", task.name)))?;
        table.add_row([
            task.name.to_owned(),
            facts.items.to_string(),
            facts.choices.to_string(),
            format!("{:.0}", facts.mean_context_tokens),
            format!("{:.1}", facts.mean_continuation_tokens),
            task.summary.to_owned(),
        ]);
    }
    print(&table)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

fn print(table: &Table) -> Result<ExitCode, Failure> {
    ignore_closed_pipe(writeln!(io::stdout().lock(), "{table}"))?;
    Ok(ExitCode::SUCCESS)
}
