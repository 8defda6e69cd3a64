//! What the host does per token and site besides the model: planning, bookkeeping, the tables that a GPU gathers by, and what a record
//! asks of a plan. `cargo run --release -p reduction-strategies --example time_sites`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use candle_core::Device;
use reduction_strategies::registry::Strategy;
use reduction_strategies::{BranchMerges, Draw, Plan, SegmentTokens, SitePlan, TokenTable, plan_blind};
use ssm_kernels::ops::{MergeGroup, MergeRule, RowChoice, RowMerges, RowPlan};

const TOKENS: usize = 32_768;
const SITES: usize = 7;
const KEEP: f64 = 0.93;
const REPEATS: usize = 30;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Time spent on each kind of work, in the order in which it was first seen.
#[derive(Default)]
struct Spent(Vec<(&'static str, Duration)>);

impl Spent {
    fn time<T>(&mut self, what: &'static str, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        let took = started.elapsed();
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, total)) => *total += took,
            None => self.0.push((what, took)),
        }
        result
    }
}

/// Every tenth of the tokens merges into the one before it, on both branches.
fn merging(n: usize) -> Outcome<Plan> {
    let group = |into: u32| MergeGroup { into, own_weight: 1.0, sources: vec![(into + 1, 1.0)] };
    let (keep, into) = ((0..n as u32).filter(|row| row % 10 != 9).collect(), (8..n as u32 - 1).step_by(10));
    let merges = BranchMerges { groups: into.map(group).collect(), rule: MergeRule::WeightedMean };
    Ok(Plan::new(n, keep, merges.clone(), merges)?)
}

fn main() -> Outcome<()> {
    let mut out = io::stdout();
    for name in ["drop_prefix", "random", "uniform", "merging"] {
        let rule = match name {
            "merging" => None,
            name => Some(Strategy::new(name, &BTreeMap::new())?.rule()),
        };
        let (mut spent, mut token_sites) = (Spent::default(), 0);
        for _ in 0..REPEATS {
            let mut table = TokenTable::new(vec![SegmentTokens::reducible(0, TOKENS).with_last_protected()]);
            for site in 0..SITES {
                let tokens = &table.segments[0];
                let n = tokens.positions.len();
                token_sites += n;
                let draw = Draw { seed: 0, item: 0, site };
                let plan = spent.time("plan", || match &rule {
                    Some(rule) => Ok::<_, Box<dyn std::error::Error>>(plan_blind(rule, KEEP, draw, tokens)?),
                    None => merging(n),
                })?;
                spent.time("record", || (black_box(plan.dropped()), black_box(plan.merged())));
                // As `apply_forks` does where the rows lie on a GPU, but for the copy.
                spent.time("tables for a GPU", || -> Outcome<()> {
                    if plan.only_chooses() {
                        black_box(RowChoice::new(n, plan.keep().to_vec(), &Device::Cpu)?);
                        return Ok(());
                    }
                    for branch in [plan.hidden(), plan.residual()] {
                        let (groups, rule) = (&branch.groups[..], branch.rule);
                        let merges = [RowMerges { first_row: 0, keep: plan.keep(), groups, rule }];
                        black_box(RowPlan::from_merges(n, &merges, &merges, &Device::Cpu)?);
                    }
                    Ok(())
                })?;
                let site = SitePlan { plans: vec![Some(plan)] };
                table = spent.time("tokens after", || table.apply(&site))?;
            }
            black_box(&table);
        }
        write!(out, "{name:12}")?;
        for (what, took) in &spent.0 {
            write!(out, "  {what} {:.1}", took.as_secs_f64() * 1e9 / token_sites as f64)?;
        }
        let total: Duration = spent.0.iter().map(|(_, took)| *took).sum();
        writeln!(out, "  in all {:.1} ns per token and site", total.as_secs_f64() * 1e9 / token_sites as f64)?;
    }
    Ok(())
}
