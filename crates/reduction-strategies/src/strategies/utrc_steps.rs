//! `utrc_steps`: from `utrc` to `utrc_released`, one difference at a time.
//!
//! Every option is one difference between the method that Zhan et al. describe and the code that they released. With the defaults the plan is
//! that of `utrc`; with `tensor: block_output` and the second word of every other option it is that of `utrc_released`. Laws below
//! hold it to both.
//!
//! The order in which an experiment switches the options is its choice: effects of later ones depend on the earlier ones.

use std::sync::Arc;

use ssm_kernels::ops::MergeRule;
use ssm_model::SignalSet;

use crate::blocks::importance::{CLIP, Importance, Source, Widths};
use crate::blocks::matching::Edge;
use crate::blocks::pairing::Fates;
use crate::blocks::partition::Split;
use crate::blocks::released::rank_edges_of;
use crate::blocks::select::strongest;
use crate::blocks::rank;
use crate::error::PlanError;
use crate::options::{OptionDefault, OptionInfo, OptionKind, ResolvedOptions};
use crate::plan::{BranchMerges, Plan};
use crate::registry::{Family, Registration};
use crate::rule::{Combine, Count, Features, HostRule, PairRule, Partition, Pruned, Rule};
use crate::view::{SequenceView, remember};

const TENSOR: OptionInfo = OptionInfo {
    name: "tensor",
    kind: OptionKind::Choice(&[
        Source::ScanOutput.name(),
        Source::SsmOutput.name(),
        Source::GatedOutput.name(),
        Source::BlockOutput.name(),
    ]),
    default: OptionDefault::Word(Source::SsmOutput.name()),
    help: "the tensor that importance and similarity are computed from",
};

const COMPARED: OptionInfo = words("compared", &["as_is", "clipped"], "clipped: negative values count as zero in the similarity");

const HALVES: OptionInfo =
    words("halves", &["importance", "places"], "sources are the less important half, or the tokens at even places: importance is unused");

const PAIRS: OptionInfo =
    words("pairs", &["own", "mixed"], "mixed: of the chosen edges the sources are sorted by place and the targets by strength");

const MATCHED: OptionInfo =
    words("matched", &["tokens", "ranks"], "ranks: every channel is sorted by itself, and rank i is taken for the i-th source or target");

const PRUNED: OptionInfo = words(
    "pruned",
    &["tokens", "channels"],
    "on the hidden states: the half of the edges that are most similar, or per channel the lower half of the removed values",
);

const AT_MOST: OptionInfo = words("at_most", &["all", "half"], "how many tokens may be removed at a site: further rounds follow, or none");

/// A choice between what is described, the default, and what is released.
const fn words(name: &'static str, words: &'static [&'static str], help: &'static str) -> OptionInfo {
    OptionInfo { name, kind: OptionKind::Choice(words), default: OptionDefault::Word(words[0]), help }
}

inventory::submit! {
    Registration {
        name: "utrc_steps",
        family: Family::Merging,
        version: 1,
        summary: "From utrc to utrc_released one difference at a time: every option is one of them.",
        source: "Zhan et al., Rethinking Token Reduction for State Space Models, EMNLP 2024, \
                 https://aclanthology.org/2024.emnlp-main.100, section 4, and wuyushuwys/ToR_SSM @ 2e9fc62",
        formula: "as utrc; with tensor: block_output and the second word of every other option as utrc_released",
        differs: "On purpose: each option changes one thing. With the defaults it differs from the paper as utrc does.",
        options: &[TENSOR, COMPARED, HALVES, PAIRS, MATCHED, PRUNED, AT_MOST],
        seeded: false,
        build: &build,
    }
}

fn build(options: &ResolvedOptions) -> Rule {
    let source = Source::from_word(options.word("tensor"));
    let is = |name: &str, word: &str| options.word(name) == word;
    let partition = if is("halves", "places") {
        Partition::EvenOdd
    } else {
        Partition::ByImportance(Importance::new(&CLIP, source))
    };
    let features = Features { source, clip: is("compared", "clipped"), window: None };
    let hybrid = Combine::Hybrid { q: 0.5, pruned: Pruned::MostSimilar };
    let steps = Steps {
        partition,
        features,
        mixed: is("pairs", "mixed"),
        matched: if is("matched", "ranks") { Matched::Ranks } else { Matched::Tokens },
        lost: if is("pruned", "channels") { Lost::Channels } else { Lost::Tokens },
        at_most_half: is("at_most", "half"),
    };
    if steps.mixed || steps.matched == Matched::Ranks || steps.lost == Lost::Channels || steps.at_most_half {
        return Rule::Host(Arc::new(steps));
    }
    Rule::Pair(PairRule { partition, features, hidden: hybrid, residual: Combine::Mean })
}

/// What is compared with each other at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matched {
    Tokens,
    /// Per channel the values of one rank.
    Ranks,
}

/// What the hidden branch loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// The removed tokens of the more similar half of the edges.
    Tokens,
    /// Per channel half of the removed values.
    Channels,
}

/// What a [`PairRule`] does not do.
#[derive(Debug)]
struct Steps {
    partition: Partition,
    features: Features,
    /// Whether sources by place are paired with targets by strength.
    mixed: bool,
    matched: Matched,
    lost: Lost,
    /// Whether one round must do.
    at_most_half: bool,
}

/// Memo key: the edges among these candidates.
#[derive(PartialEq)]
struct Edges(Partition, Features, Matched, Vec<u32>);

impl Steps {
    fn edges(&self, view: &SequenceView<'_>, split: &Split, candidates: &[u32]) -> Result<Vec<Edge>, PlanError> {
        if self.matched == Matched::Tokens {
            return self.features.match_up(view, split);
        }
        let matrix = self.features.source.of(view)?;
        let edges = rank_edges_of(matrix, candidates, split.sources.len(), self.features.clip, view.stop)?;
        let edge = |((source, target), similarity): ((&u32, u32), f32)| Edge {
            source: *source,
            target: split.targets[target as usize],
            similarity,
        };
        Ok(split.sources.iter().zip(edges.target).zip(edges.similarity).map(edge).collect())
    }

    /// The chosen edges with the targets of others: the strongest target for the first source.
    fn mix(chosen: &[Edge]) -> Result<Vec<Edge>, PlanError> {
        let similarities: Vec<f32> = chosen.iter().map(|edge| edge.similarity).collect();
        let order = rank::descending(&similarities)?;
        let mixed = chosen.iter().zip(order);
        Ok(mixed.map(|(edge, from)| Edge { target: chosen[from as usize].target, ..*edge }).collect())
    }
}

impl HostRule for Steps {
    fn signals(&self) -> SignalSet {
        self.features.source.signals().union(self.partition.signals())
    }

    fn reads_residual(&self) -> bool {
        false
    }

    fn count(&self) -> Count {
        if self.at_most_half { Count::Own("at most half of the tokens are removed at one site, as released") } else { Count::Exact }
    }

    fn kept(&self, n_keep: usize, n: usize) -> usize {
        if self.at_most_half { n_keep.max(n - self.partition.counts(n).0.min(n / 2)) } else { n_keep }
    }

    fn matching_flops(&self, n: usize, n_kept: usize, widths: Widths) -> f64 {
        let Self { partition, features, .. } = *self;
        PairRule { partition, features, hidden: Combine::Mean, residual: Combine::Mean }.matching_flops(n, n_kept, widths)
    }

    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError> {
        let n = view.len();
        let mut candidates = view.reducible();
        let n_keep = self.kept(n_keep, candidates.len());
        let mut removed = vec![false; n];
        let (mut hidden, mut residual) = (Fates::new(n), Fates::new(n));
        let combine = match self.lost {
            Lost::Tokens => Combine::Hybrid { q: 0.5, pruned: Pruned::MostSimilar },
            Lost::Channels => Combine::Mean,
        };
        while candidates.len() > n_keep && candidates.len() > 1 {
            let key = || Edges(self.partition, self.features, self.matched, candidates.clone());
            let edges = remember(view.memo, key, || {
                let split = self.partition.split(view, &candidates)?;
                self.edges(view, &split, &candidates)
            })?;
            let mut chosen = strongest(&edges, candidates.len() - n_keep)?;
            if self.mixed {
                chosen = Self::mix(&chosen)?;
            }
            hidden.settle(&chosen, &combine.merging(view, &chosen)?);
            residual.settle(&chosen, &vec![true; chosen.len()]);
            for edge in &chosen {
                removed[edge.source as usize] = true;
            }
            candidates.retain(|row| !removed[*row as usize]);
        }
        let keep = (0..n as u32).filter(|row| !removed[*row as usize]).collect();
        let mut hidden = hidden.merges(view, Combine::Mean);
        if self.lost == Lost::Channels {
            halve(&mut hidden, &removed);
        }
        Plan::new(n, keep, hidden, residual.merges(view, Combine::Mean))
    }
}

/// Per channel half of the removed values are lost. The release sends the counts of the tokens through the same mask, so that the later half
/// of them counts in the mean.
fn halve(merges: &mut BranchMerges, removed: &[bool]) {
    let all: Vec<u32> = (0..removed.len() as u32).filter(|row| removed[*row as usize]).collect();
    let kept = all.len() / 2;
    let first_counted = all.len() - kept;
    for (row, weight) in merges.groups.iter_mut().flat_map(|group| &mut group.sources) {
        *weight = if all.binary_search(row).is_ok_and(|index| index >= first_counted) { 1.0 } else { 0.0 };
    }
    merges.rule = MergeRule::ChannelTopHalf { kept };
}
