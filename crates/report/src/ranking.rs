//! A ranking as Markdown.

use std::fmt::{self, Write};

use analysis::Basis;
use analysis::rank::{Cost, ProtocolRanking, Ranking};

use crate::text::{markdown, markdown_cell, markdown_code, p_value};

/// What `sweep rank` prints.
#[must_use]
pub fn ranking(ranking: &Ranking) -> String {
    let mut out = String::new();
    // A string takes every text.
    let _ = write(&mut out, ranking);
    out
}

fn write(out: &mut String, ranking: &Ranking) -> fmt::Result {
    writeln!(out, "# Rules of {}\n", markdown(&ranking.experiment))?;
    writeln!(
        out,
        "A contest is a model with its sites, an asked reduction and a task. Rules that achieved the same reduction there are ranked by the \
         primary metric, 1 is the best. Intervals: 95 %, {} resamples of items, seed {}.\n",
        ranking.resamples, ranking.seed
    )?;
    ranking.protocols.iter().try_for_each(|protocol| write_protocol(out, protocol, ranking.cost))
}

fn write_protocol(out: &mut String, own: &ProtocolRanking, basis: Basis) -> fmt::Result {
    writeln!(out, "## {}, {} contests\n", markdown_code(&own.protocol), own.contests)?;
    if own.rules.is_empty() {
        writeln!(out, "No two rules meet at an equal achieved reduction.\n")?;
    } else {
        writeln!(
            out,
            "| rule | mean rank | 95 % interval | of | first in | contests |\n|---|---:|---|---:|---:|---:|"
        )?;
    }
    for rule in &own.rules {
        writeln!(
            out,
            "| {} | {:.2} | {:.2} to {:.2} | {:.1} | {} | {} |",
            markdown_cell(&rule.rule),
            rule.mean_rank,
            rule.ci_low,
            rule.ci_high,
            rule.of,
            rule.first,
            rule.contests
        )?;
    }
    if own.rules.iter().any(|rule| rule.contests < own.contests) {
        writeln!(
            out,
            "\nNot every rule is in all contests; ranks over different contests are not comparable. The table below is over common contests."
        )?;
    }
    if own.unequal > 0 {
        writeln!(
            out,
            "\n{} results are not ranked: their achieved reductions are more than half a point from those of their contest.",
            own.unequal
        )?;
    }
    if let Some(first) = own.against.first() {
        writeln!(out, "\n### {} against each other rule\n", markdown(&first.rule))?;
        writeln!(
            out,
            "| other | contests | better / equal / worse | clearly better / worse | rank difference | 95 % interval | p | p (Holm) |\n\
             |---|---:|---:|---:|---:|---|---:|---:|"
        )?;
        for pair in &own.against {
            writeln!(
                out,
                "| {} | {} | {} / {} / {} | {} / {} | {:+.2} | {:+.2} to {:+.2} | {} | {} |",
                markdown_cell(&pair.other),
                pair.contests,
                pair.better,
                pair.equal,
                pair.worse,
                pair.clearly_better,
                pair.clearly_worse,
                pair.rank_difference,
                pair.ci_low,
                pair.ci_high,
                p_value(pair.p_value),
                p_value(pair.p_holm)
            )?;
        }
        writeln!(
            out,
            "\nClearly: the 95 % interval of the paired difference in that contest is on one side of 0, not corrected for the number of contests."
        )?;
    }
    write_front(out, &own.costs, basis)
}

fn write_front(out: &mut String, costs: &[Cost], basis: Basis) -> fmt::Result {
    let mut front: Vec<&Cost> = costs.iter().filter(|cost| cost.on_front).collect();
    if front.is_empty() {
        return writeln!(out);
    }
    front.sort_by(|a, b| a.model.cmp(&b.model).then(a.flops.total_cmp(&b.flops)));
    let (name, head) = match basis {
        Basis::Time => ("time", "time"),
        Basis::Flops => ("FLOPs", "share of time"),
    };
    writeln!(out, "\n### Pareto front of score and {name}\n")?;
    writeln!(out, "| model | rule | setting | mean | achieved | {head} | FLOPs |\n|---|---|---|---:|---:|---:|---:|")?;
    for cost in front {
        let value = if cost.metric == "accuracy" {
            format!("{:.1} %", cost.value * 100.0)
        } else {
            format!("{:.3} {}", cost.value, cost.metric)
        };
        writeln!(
            out,
            "| {} | {} | {} | {value} | {:.1} % | {:.2} s | {:.1} G |",
            markdown_cell(&cost.model),
            markdown_cell(&cost.rule),
            markdown_cell(cost.setting.as_deref().unwrap_or("")),
            cost.achieved * 100.0,
            cost.wall_s,
            cost.flops / 1e9
        )?;
    }
    let why = match basis {
        Basis::Time => "less time. Every cell was timed by itself",
        Basis::Flops => {
            "fewer FLOPs. Times are those of one run each, or shares of common work; a run with `--repeats 5` into a new folder \
             measures them"
        }
    };
    writeln!(
        out,
        "\nNothing of the same model is as good with {why}. FLOPs are counted from what ran, the rule included.\n"
    )
}
