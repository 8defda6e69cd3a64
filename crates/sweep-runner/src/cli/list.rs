//! `strategies`, `models` and `tasks`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use evaluation::probes::Subject;
use evaluation::tasks::{
    Benchmark, Data, Prompting, Source, Split, TaskError, benchmarks, books_tasks, builtin_tasks, facts,
};
use hint::Hint;
use miette::miette;
use records::names::RANDOM;
use records::regular;
use reduction_strategies::Count;
use reduction_strategies::registry::{self, Strategy};
use reduction_strategies::schedule::Sites;
use ssm_model::{ModelConfig, catalog, shipped};

use super::data::DataArgs;
use super::sweep::ignore_closed_pipe;
use super::{DONE, Failure, failed, hinted};
use crate::library::Downloads;

pub(super) fn strategies() -> Result<u8, Failure> {
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
        let with_defaults = Strategy::new(strategy.name, &BTreeMap::new()).map(|strategy| strategy.rule().count());
        if let Ok(Count::Free { threshold }) = with_defaults {
            let searched = threshold.map_or_else(String::new, |name| format!("; `calibrate` searches {name}"));
            writeln!(out, "  count    free: the data decides how many tokens are kept{searched}")?;
        }
        for option in strategy.options {
            let default = reduction_strategies::options::OptionValue::from(option.default);
            writeln!(out, "  {:<8} {} (default {default}): {}", option.name, option.kind, option.help)?;
        }
        writeln!(out)
    });
    ignore_closed_pipe(written)?;
    Ok(DONE)
}

pub(super) fn probes() -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    let written = evaluation::probes::all().iter().try_for_each(|probe| {
        let of = match probe.subject {
            Subject::Model => "a model on a task",
            Subject::Reduction => "each strategy on a task",
        };
        writeln!(
            out,
            "{}\n  {}\n  looks at {of}\n  formula  {}\n  cost     {}",
            probe.name, probe.question, probe.formula, probe.cost
        )?;
        for column in probe.columns {
            writeln!(out, "  column   {}: {}", column.name, column.help)?;
        }
        for measure in probe.measures {
            writeln!(out, "  measure  {} ({}): {}", measure.name, measure.unit, measure.help)?;
        }
        for option in probe.options {
            let default = reduction_strategies::options::OptionValue::from(option.default);
            writeln!(out, "  option   {} {} (default {default}): {}", option.name, option.kind, option.help)?;
        }
        writeln!(out)
    });
    ignore_closed_pipe(written)?;
    Ok(DONE)
}

pub(super) fn models() -> Result<u8, Failure> {
    let header =
        ["model", "architecture", "layers", "d_model", "parameters", "paper sites", "float32", "bfloat16", "what"];
    let mut builtins = table(&header);
    for builtin in catalog::builtins() {
        let config = ModelConfig::from_json(builtin.config_json)
            .map_err(|error| failed(miette!("builtin model {}: {error}", builtin.name)))?;
        builtins.add_row(model_row(&format!("builtin:{}", builtin.name), &config, builtin.summary)?);
    }
    let mut absent: Vec<String> = Vec::new();
    for model in shipped::shipped() {
        let reference = format!("builtin:{}", model.name);
        match model.folder() {
            Ok(folder) => {
                let file = folder.join("config.json");
                let text = regular::read_text(&file, regular::MAX_BYTES)
                    .map_err(|error| failed(miette!("{}: {error}", file.display())))?;
                let config =
                    ModelConfig::from_json(&text).map_err(|error| failed(miette!("{}: {error}", file.display())))?;
                builtins.add_row(model_row(&reference, &config, model.summary)?);
            }
            Err(error) => absent.push(not_here(&reference, &error)),
        }
    }
    let absent = absent.concat();
    let mut published = table(&header.map(|name| if name == "what" { "with random weights" } else { name }));
    for model in catalog::published() {
        let config = model.config().map_err(|error| failed(miette!("published model {}: {error}", model.name)))?;
        let random = format!("{RANDOM}{}", model.short_name());
        published.add_row(model_row(model.name, &config, &random)?);
    }
    let mut out = io::stdout().lock();
    let written = writeln!(
        out,
        "Come with this program:\n{builtins}{absent}\n\nPublished and known to fit, not with this program. Name them with `hub:` before \
         (hub:state-spaces/mamba2-2.7b);\n`sweep run` downloads what the cache lacks, `sweep fetch` does so beforehand. The last \
         column names the same sizes with\nrandom weights.\n{published}\n\nMemory is that of the weights alone, in float32 as on a CPU and in bfloat16 as on a GPU."
    );
    ignore_closed_pipe(written)?;
    Ok(DONE)
}

fn model_row(name: &str, config: &ModelConfig, what: &str) -> Result<[String; 9], Failure> {
    let sites = Sites::Paper.resolve(&config.kinds()).map_err(|error| failed(miette!("{name}: {error}")))?;
    let sites: Vec<String> = sites.iter().map(usize::to_string).collect();
    let parameters = config.parameters();
    Ok([
        name.to_owned(),
        config.architecture.to_owned(),
        layers(config),
        config.d_model.to_string(),
        format!("{:.1} M", parameters as f64 / 1e6),
        sites.join(","),
        gibibytes(4 * parameters),
        gibibytes(2 * parameters),
        what.to_owned(),
    ])
}

/// Layers, and how many there are of each kind where there are several, in the order in which kinds first occur.
fn layers(config: &ModelConfig) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for layer in &config.layers {
        match kinds.iter_mut().find(|(kind, _)| *kind == layer.kind()) {
            Some((_, number)) => *number += 1,
            None => kinds.push((layer.kind(), 1)),
        }
    }
    let all = config.n_layer();
    if kinds.len() < 2 {
        return all.to_string();
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
    format!("{all}: {}", kinds.join(", "))
}

/// A line below a list, for what comes with the program as files and has none here.
fn not_here(name: &str, error: &dyn Hint) -> String {
    format!("\n{name} is not on this machine: {error} (hint: {})", error.hint().unwrap_or_default())
}

fn gibibytes(bytes: usize) -> String {
    let gibi = bytes as f64 / f64::from(1 << 30);
    if gibi < 0.1 { format!("{:.1} MiB", gibi * 1024.0) } else { format!("{gibi:.1} GiB") }
}

pub(super) fn tasks(data: &DataArgs) -> Result<u8, Failure> {
    let header = ["task", "items", "choices", "context tokens", "continuation tokens", "what"];
    let mut reference = table(&header);
    let mut absent: Vec<String> = Vec::new();
    for task in builtin_tasks().iter().chain(books_tasks()) {
        let facts = match facts(task.name, &Source::default()) {
            Ok(facts) => facts,
            Err(error @ TaskError::NotShipped(_)) => {
                absent.push(not_here(task.name, &error));
                continue;
            }
            Err(error) => return Err(failed(hinted(&format!("task {}: {error}", task.name), &error))),
        };
        reference.add_row([
            task.name.to_owned(),
            facts.items_in(Split::All).to_string(),
            facts.choices.to_string(),
            format!("{:.0}", facts.mean_context_tokens),
            format!("{:.1}", facts.mean_continuation_tokens),
            task.summary.to_owned(),
        ]);
    }
    let source = data.library(Downloads::Never)?.tasks(Prompting::default());
    let mut read = table(&["task", "items", "metrics", "reads", "what"]);
    for task in benchmarks() {
        read.add_row(benchmark_row(task, &source)?);
    }
    let place = match &source.data {
        Data::Folder(folder) => format!(
            "files of {}, which may have .bz2 behind their names;\nthe first that is there is read",
            folder.display()
        ),
        Data::Hub(_) => {
            "data sets of the hub (`sweep fetch TASK` downloads one),\nor from files of a folder that --data-dir or \
                         SWEEP_DATA_DIR names, which alone has the long documents"
                .to_owned()
        }
        Data::None => "files of a folder that --data-dir or SWEEP_DATA_DIR names".to_owned(),
    };
    let absent = absent.concat();
    let written = writeln!(
        io::stdout().lock(),
        "Come with this program:\n{reference}{absent}\n\nBenchmarks, read from {place}. The metric in front is the one that figures \
         show.\n{read}"
    );
    ignore_closed_pipe(written)?;
    Ok(DONE)
}

fn benchmark_row(task: &Benchmark, source: &Source) -> Result<[String; 5], Failure> {
    let items = match facts(task.name, source) {
        Ok(facts) => facts.items_in(Split::All).to_string(),
        Err(TaskError::NoDataDir { .. } | TaskError::NoData { .. } | TaskError::Dataset { .. }) => {
            "not here".to_owned()
        }
        Err(error) => {
            return Err(failed(hinted(&format!("task {}: {error}", task.name), &error)));
        }
    };
    let mut metrics: Vec<&str> = task.measures.iter().map(|measure| measure.name()).collect();
    metrics.sort_by_key(|name| *name != task.primary_metric);
    Ok([
        task.name.to_owned(),
        items,
        metrics.join(", "),
        match (&source.data, task.data.hub) {
            (Data::Hub(_), Some(split)) => split.to_string(),
            _ => task.data.files.iter().chain(task.data.labels).copied().collect::<Vec<_>>().join(", "),
        },
        task.summary.to_owned(),
    ])
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}
