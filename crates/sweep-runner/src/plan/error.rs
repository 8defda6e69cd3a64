//! Why an experiment cannot be planned.

use std::fmt;

use miette::Diagnostic;
use thiserror::Error;

/// Most comparisons of one claim: the corrected interval of the strictest one still has two of 10,000 resamples beyond each end.
pub(super) const MOST_COMPARISONS: usize = 100;

/// Most cells that one experiment may have; more is a slip of the pen.
pub const MAX_CELLS: usize = 1_000_000;

/// Why an experiment cannot be planned although its file is valid.
#[derive(Clone, Debug, PartialEq, Error, Diagnostic)]
pub enum GridError {
    /// The grid is absurdly large.
    #[error("the grid has more than {MAX_CELLS} cells")]
    #[diagnostic(help("shorten an axis, use `zip`, or split the experiment"))]
    TooLarge,
    /// Everything was excluded.
    #[error("nothing is left to run: every cell of the grid is excluded")]
    #[diagnostic(help("`exclude` and `zip` together leave no cell; the first reason is: {first}"))]
    Empty {
        /// The first exclusion in words.
        first: String,
    },
    /// Cells without anything to compare them with.
    #[error("the baseline `{baseline}` does not run on {model}, {protocol}, {task}, but other strategies do")]
    #[diagnostic(help("exclude the other strategies there too, or keep the baseline"))]
    NoBaseline {
        /// The baseline.
        baseline: String,
        /// Model of the lonely cells.
        model: String,
        /// Protocol of the lonely cells.
        protocol: String,
        /// Task of the lonely cells.
        task: String,
    },
    /// A baseline that is several things at once.
    #[error(
        "the baseline `{baseline}` runs in several ways on {model}, {protocol}; a difference would be to one of them"
    )]
    #[diagnostic(help(
        "give it one reduction, one set of sites and one set of options, or take `dense`, which is compared with every reduction"
    ))]
    SeveralBaselines {
        /// The baseline.
        baseline: String,
        /// A model on which it runs so.
        model: String,
        /// The protocol.
        protocol: String,
    },
    /// A strategy that reads what the layer of a site does not show.
    #[error("`{strategy}` reads {signal}, which layer {layer} ({kind}) of {model} does not show")]
    #[diagnostic(help(
        "choose an importance and a source that it shows{sites}, or leave these cells out: `exclude: [{{ model: {model}, strategy: {name} }}]`"
    ))]
    NoSignal {
        /// The strategy with its options.
        strategy: Box<str>,
        /// Its name.
        name: &'static str,
        /// What it reads.
        signal: String,
        /// The model.
        model: String,
        /// The first site whose layer does not show it.
        layer: usize,
        /// Kind of that layer.
        kind: &'static str,
        /// Advice for a model whose other layers show it.
        sites: &'static str,
    },
    /// Achieved reductions that no keep ratio gives, up to half a point.
    #[error("no keep ratio achieves the FLOPs reduction that is asked for{}", missed_list(.0))]
    #[diagnostic(help("{}", missed_hint(.0)))]
    NotAchieved(Vec<Missed>),
    /// Items without which no achieved reduction can be solved.
    #[error("an achieved FLOPs reduction needs the lengths of {task} in the tokens of {model}: {problem}")]
    #[diagnostic(help("{help}"))]
    Lengths {
        /// The model.
        model: String,
        /// The task.
        task: String,
        /// Why they cannot be had.
        problem: String,
        /// What to do.
        help: String,
    },
    /// A comparison of the claim that the grid cannot make.
    #[error("the comparison on line {line} compares nothing: {problem}")]
    #[diagnostic(help("{help}"))]
    Claim {
        /// 1-based line of its lower side.
        line: usize,
        /// What is missing.
        problem: String,
        /// What to do.
        help: String,
    },
    /// A bridge whose arms the grid does not hold.
    #[error("the bridge `{name}` breaks on line {line}: {problem}")]
    #[diagnostic(help("{help}"))]
    Bridge {
        /// The bridge.
        name: String,
        /// 1-based line of the step.
        line: usize,
        /// What is missing.
        problem: String,
        /// What to do.
        help: &'static str,
    },
    /// A comparison of rows of a probe that looks at no model of the experiment.
    #[error(
        "the comparison on line {line} is about rows of the probe `{probe}`, which looks at no model of this experiment"
    )]
    #[diagnostic(help("the notes of the plan say why it leaves them out"))]
    ClaimWithoutRows {
        /// The probe.
        probe: &'static str,
        /// 1-based line of the comparison.
        line: usize,
    },
    /// A probe that cannot look at a strategy of the experiment.
    #[error("the probe `{probe}` on line {line} cannot look at `{strategy}`: {reason}")]
    #[diagnostic(help(
        "it looks at rules that remove tokens and change nothing else: leave {leave} out of this experiment, or the probe"
    ))]
    ProbeRefuses {
        /// The probe.
        probe: &'static str,
        /// 1-based line of the probe.
        line: usize,
        /// The strategy with its options.
        strategy: Box<str>,
        /// Why.
        reason: Box<str>,
        /// What to leave out.
        leave: Box<str>,
    },
    /// More comparisons than the resamples can tell apart after a correction.
    #[error("the claim makes {0} comparisons, more than {most}", most = MOST_COMPARISONS)]
    #[diagnostic(help(
        "name fewer arms, or split the claim: intervals of a single one of so many are beyond what the resamples show"
    ))]
    ClaimTooWide(usize),
}

/// A reduction that no keep ratio achieves, up to half a point. In percent.
#[derive(Clone, Debug, PartialEq)]
pub struct Missed {
    /// Task, protocol, model and sites.
    pub place: String,
    /// The reduction that was asked for.
    pub target: f64,
    /// The nearest one that can be achieved.
    pub nearest: f64,
    /// The largest one.
    pub most: f64,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, target, nearest, most } = self;
        write!(f, "{target} % on {place}: the nearest is {nearest} %, the most {most} %")
    }
}

/// Most reductions that one error lists.
const MOST_MISSED: usize = 12;

fn missed_list(missed: &[Missed]) -> String {
    let shown = missed.iter().take(MOST_MISSED).map(|missed| format!("\n{missed}"));
    let more = missed.len().saturating_sub(MOST_MISSED);
    shown.chain((more > 0).then(|| format!("\nand {more} more"))).collect()
}

fn missed_hint(missed: &[Missed]) -> String {
    let first = if missed.iter().all(|missed| missed.target > missed.most) {
        "ask for less, start at an earlier layer"
    } else {
        "whole tokens are removed at each site, so that short items make coarse steps: ask for the nearest, name fewer sites"
    };
    format!(
        "{first}, or leave the cells out: `exclude: [{{ task: .., protocol: .., flops_reduction: {{ achieved: .. }} }}]`"
    )
}
