//! What a strategy does at a site, as data: one interpreter per device reads the same rule.

use std::fmt::Debug;
use std::sync::Arc;

use ssm_model::SignalSet;

use crate::blocks::importance::{Importance, Source, Widths};
use crate::blocks::rank_sum::Term;
use crate::error::PlanError;
use crate::plan::Plan;
use crate::view::SequenceView;

/// How tokens are reduced at one site.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Every token stays.
    Identity,
    /// The highest scores stay, the rest is dropped.
    Prune(Score),
    /// Tokens are paired; one of each pair leaves.
    Pair(PairRule),
    /// Tokens are decided one after the other, each from what came before it.
    Online(OnlineRule),
    /// A plan computed on the host, sequence by sequence: simple to write, slower on a device.
    Host(Arc<dyn HostRule>),
}

/// What decides which tokens stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Score {
    /// By importance.
    Importance {
        /// The importance.
        importance: Importance,
        /// Which end of the ranking stays.
        keep: Extreme,
    },
    /// By place in the sequence.
    Position(Placement),
    /// By chance.
    Random,
}

/// One end of a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extreme {
    /// The highest scores.
    Highest,
    /// The lowest scores.
    Lowest,
}

/// Which places of a sequence stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The earliest.
    First,
    /// The latest.
    Last,
    /// Evenly spaced ones, by original position: those nearest to the centres of `n_keep` equal stretches.
    Evenly,
}

/// Pairing: partition into sources and targets, one edge from each source to its most similar target, the strongest edges
/// are used, and their sources leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairRule {
    /// Who may leave and who may take in.
    pub partition: Partition,
    /// What similarity is computed from.
    pub features: Features,
    /// What becomes of the hidden states of a leaving token.
    pub hidden: Combine,
    /// What becomes of its residual.
    pub residual: Combine,
}

/// How tokens are split into sources and targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Sources at even, targets at odd places (counted among the tokens that take part).
    EvenOdd,
    /// The less important half (rounded down) are sources, the others targets.
    ByImportance(Importance),
}

/// Vectors compared by cosine similarity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The tensor.
    pub source: Source,
    /// Whether negative values count as zero.
    pub clip: bool,
    /// Source `i` is compared with the targets `j` of `|i - j| < window` alone, counted in their lists; none: with all.
    pub window: Option<usize>,
}

/// Tokens are decided in order: block by block of `block` tokens, each block with the quota that makes its end have
/// `ceil(keep_ratio * n)` of the `n` tokens so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnlineRule {
    /// What a token is worth, from itself and tokens before it.
    pub score: OnlineScore,
    /// Tokens of a block, at least 1. In blocks of one the quota decides alone.
    pub block: usize,
    /// What becomes of a token that leaves.
    pub removed: Removed,
}

/// Worth of a token where tokens are decided in order; higher = keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OnlineScore {
    /// An importance that reads the token's own row.
    Importance(Importance),
    /// By chance.
    Random,
    /// How little it resembles the tokens just before it: minus the largest cosine similarity with the `window` rows before
    /// (all of them where there is no window).
    Novelty(Features),
}

/// What becomes of a token that is decided to leave, where tokens are decided in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is dropped.
    Dropped,
    /// It is merged into the next token that stays and is not protected, by size-weighted mean; dropped if none follows.
    IntoNext,
}

/// How many tokens a rule keeps at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// As many as asked for.
    Exact,
    /// Another number, which follows from the lengths ([`HostRule::kept`]); the text says why.
    Own(&'static str),
    /// As many as the data says, which is known once a plan is made. Such a rule takes no keep ratio: its options decide.
    Free {
        /// The option that decides how many, a number: what `calibrate` searches within the option's bounds. None where no option
        /// does.
        threshold: Option<&'static str>,
    },
}

impl Count {
    /// Whether the number follows from the data.
    #[must_use]
    pub fn is_free(self) -> bool {
        matches!(self, Self::Free { .. })
    }
}

/// From which tokens the fate of a token follows.
///
/// Unless a count is free, it is known before anything runs: it follows from the length. A rule whose fates followed from earlier
/// tokens alone, in sequences of any length, would keep `k(t) - k(t - 1)` of token `t` whatever it holds, with `k` the count: places
/// and nothing else. So a rule that looks at values is told how long the sequence is, and uses it as late as possible; or its count
/// is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Causality {
    /// From any tokens.
    None,
    /// From tokens up to itself, and from where the sequence ends, if that is within its block of this many unprotected tokens.
    WithinBlock(usize),
    /// From tokens up to itself, however long the sequence is.
    Streaming,
}

/// What the target of an edge takes from its sources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Combine {
    /// Nothing: sources are dropped.
    Drop,
    /// Plain mean over the target and its sources.
    Mean,
    /// Mean weighted by how many original tokens each stands for.
    SizeWeightedMean,
    /// A share `q` of the edges (rounded to the nearest count) drops its source, the others merge by plain mean.
    Hybrid {
        /// Share of the edges that prune, 0..=1.
        q: f64,
        /// Which edges prune.
        pruned: Pruned,
    },
}

/// Which of the chosen edges prune under [`Combine::Hybrid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruned {
    /// The strongest.
    MostSimilar,
    /// The weakest.
    LeastSimilar,
    /// Those with the least important sources.
    LeastImportant(Importance),
}

/// What kernels know of host rules: the interpreter on a GPU (`interpret/gpu.rs`) makes the plans of these without the host.
#[derive(Clone, Debug)]
pub enum DeviceRule {
    /// The highest sums of ranks are kept ([`crate::blocks::rank_sum`]).
    RankSum {
        /// The importances.
        terms: Vec<Term>,
        /// What becomes of a removed token.
        removed: Removed,
    },
    /// Contiguous chunks of equal importance, each kept as its last token.
    Chunks(Importance),
    /// As many of the least important as are removed merge into the most similar of as many of the next, by plain mean.
    LowestIntoNext {
        /// The importance.
        importance: Importance,
        /// What similarity is computed from.
        features: Features,
    },
    /// Tokens at even places merge into tokens at odd ones, then the least important are dropped.
    MergeThenDrop {
        /// The importance.
        importance: Importance,
        /// What similarity is computed from.
        features: Features,
        /// Share of the removed tokens that merge.
        merged: f64,
    },
    /// The pairs of the released code ([`crate::blocks::released`]).
    ReleasedPairs {
        /// Whether negative values count as zero.
        clip: bool,
        /// Whether ranks are compared instead of tokens.
        by_rank: bool,
        /// Whether the hidden branch keeps the upper half of the values of every channel.
        hidden_tops: bool,
    },
    /// The lowest means of the block output are kept, those that are 0 first, as released.
    ReleasedLowest {
        /// Whether negative values count as zero.
        clip: bool,
    },
    /// The highest scores are kept, and the residual goes on with rows of its own: between two protected tokens as many, by a score of its
    /// rows (`strategies/split_branches.rs`).
    SplitBranches {
        /// What the hidden states are kept by.
        hidden: Importance,
        /// What the residual is kept by.
        residual: Importance,
    },
    /// Tokens at even places merge into tokens at odd ones; a row that takes some in replaces a run of tokens in the scans of later layers
    /// (`strategies/state_merge.rs`).
    MergeRuns {
        /// What similarity is computed from.
        features: Features,
        /// Whether the row decays for as long as all its tokens.
        decay: bool,
        /// Whether the row writes as much as all its tokens.
        write: bool,
        /// Whether the row becomes the mean of its tokens, weighted by what is left of their writes; else it is the last of them.
        merge: bool,
    },
    /// The last tokens are kept, as many as [`crate::schedule::n_last`] says; something else chooses among the others.
    KeepLast {
        /// Share of the kept tokens that are the last ones.
        share: f64,
        /// What chooses among the others.
        older: Older,
    },
}

/// What chooses among the tokens before the last ones, which are kept.
#[derive(Clone, Debug)]
pub enum Older {
    /// A token is removed the sooner the more it resembles a later one of the sequence; the tensor that is compared.
    Repeats(Source),
    /// A rule, for which the last tokens are protected.
    Rule(Box<Rule>),
}

impl DeviceRule {
    /// Every importance that it reads, but for those of a rule in it.
    pub fn importances(&self) -> impl Iterator<Item = Importance> {
        let (own, terms): ([Option<Importance>; 2], &[Term]) = match self {
            Self::RankSum { terms, .. } => ([None; 2], terms),
            Self::SplitBranches { hidden, residual } => ([Some(*hidden), Some(*residual)], &[]),
            Self::Chunks(importance)
            | Self::LowestIntoNext { importance, .. }
            | Self::MergeThenDrop { importance, .. } => ([Some(*importance), None], &[]),
            Self::ReleasedPairs { .. }
            | Self::ReleasedLowest { .. }
            | Self::MergeRuns { .. }
            | Self::KeepLast { .. } => ([None; 2], &[]),
        };
        own.into_iter().flatten().chain(terms.iter().map(|term| term.importance))
    }
}

/// A rule that needs more than the blocks of this crate. Its `Debug` form must show every field that changes a plan:
/// rules that print alike share their plans ([`Rule::fingerprint`]).
pub trait HostRule: Send + Sync + Debug {
    /// What a layer must show for it.
    fn signals(&self) -> SignalSet {
        SignalSet::default()
    }

    /// Whether a plan depends on the residual stream. Where it does not, rows of a GPU need not be copied for it; the laws hold a
    /// rule to it.
    fn reads_residual(&self) -> bool {
        true
    }

    /// Whether a plan depends on no value, but on positions, sizes, protection and the draw alone. It is then shown matrices without
    /// columns, and may be asked before the values exist. Not for a free count, nor for a rule that merges: the similarity of what it
    /// merges is recorded.
    fn is_blind(&self) -> bool {
        false
    }

    /// How many tokens it keeps; the laws hold a rule to it.
    fn count(&self) -> Count {
        Count::Exact
    }

    /// Number of tokens that it keeps of `n` reducible (unprotected) ones when `n_keep` are asked for. Not called for a free count.
    fn kept(&self, n_keep: usize, n: usize) -> usize {
        let _ = n;
        n_keep
    }

    /// From which tokens fates follow; the laws hold a rule to it.
    fn causality(&self) -> Causality {
        Causality::None
    }

    /// What a plan changes besides removing tokens (dropping them, or merging them into kept ones), in words that follow "this one";
    /// none where it changes nothing else. The laws hold a rule to it.
    fn also_changes(&self) -> Option<&'static str> {
        None
    }

    /// FLOPs of comparing tokens with each other when `n_kept` of `n` reducible tokens remain, one multiply-add counting
    /// as two. 0 for a rule that compares none, which is the default; scores, norms and sorting count nothing anywhere.
    /// Where every token is kept it is called for a free count alone: such a rule compares before it knows.
    fn matching_flops(&self, n: usize, n_kept: usize, widths: Widths) -> f64 {
        let _ = (n, n_kept, widths);
        0.0
    }

    /// The kernels that make the same plans on a GPU, as data; none where there are none, so that rows are copied to the host for it. A test
    /// on a GPU holds every registered strategy to it.
    fn on_device(&self) -> Option<DeviceRule> {
        None
    }

    /// A digest of code that decides beside that of its strategy file, for a rule whose decisions come from elsewhere (a script, say).
    /// Results of a rule whose digest changed are not reused.
    fn code(&self) -> Option<String> {
        None
    }

    /// The plan for one sequence. `n_keep` counts the reducible (unprotected) tokens that are asked for, before
    /// [`HostRule::kept`]; for a free count it is the number of all of them, and at least one token of the sequence must be kept.
    /// Protected tokens must stay untouched. Not called where it is known beforehand that every token is kept.
    ///
    /// # Errors
    /// A missing signal or a plan that breaks the rules of [`Plan::new`].
    fn plan(&self, view: &SequenceView<'_>, n_keep: usize) -> Result<Plan, PlanError>;
}

impl Rule {
    /// A digest of code that decides beside that of the strategy file ([`HostRule::code`]).
    #[must_use]
    pub fn code(&self) -> Option<String> {
        match self {
            // Data that code shared by all rules interprets.
            Self::Identity | Self::Prune(_) | Self::Pair(_) | Self::Online(_) => None,
            Self::Host(rule) => rule.code(),
        }
    }

    /// What a plan changes besides removing tokens ([`HostRule::also_changes`]).
    #[must_use]
    pub fn also_changes(&self) -> Option<&'static str> {
        match self {
            Self::Identity | Self::Prune(_) | Self::Pair(_) | Self::Online(_) => None,
            Self::Host(rule) => rule.also_changes(),
        }
    }

    /// What a layer must show for this rule.
    #[must_use]
    pub fn signals(&self) -> SignalSet {
        match self {
            Self::Prune(Score::Importance { importance, .. }) => importance.signals(),
            Self::Identity | Self::Prune(_) => SignalSet::default(),
            Self::Pair(rule) => [rule.hidden, rule.residual]
                .into_iter()
                .fold(rule.features.source.signals().union(rule.partition.signals()), |set, combine| {
                    set.union(combine.signals())
                }),
            Self::Online(rule) => rule.score.signals(),
            Self::Host(rule) => rule.signals(),
        }
    }

    /// Number of tokens that it keeps of `n` reducible (unprotected) ones when `n_keep` of them are asked for; none where the count
    /// is free.
    ///
    /// Most rules keep exactly `n_keep`; a released variant declares what the release does. A keep ratio of 1 is not asked
    /// here: it keeps everything under every rule ([`crate::n_kept`]).
    #[must_use]
    pub fn kept(&self, n_keep: usize, n: usize) -> Option<usize> {
        match self {
            Self::Identity => Some(n),
            Self::Host(rule) => (!rule.count().is_free()).then(|| rule.kept(n_keep, n).min(n)),
            Self::Prune(_) | Self::Pair(_) | Self::Online(_) => Some(n_keep.min(n)),
        }
    }

    /// Whether a plan may depend on the residual stream.
    #[must_use]
    pub fn reads_residual(&self) -> bool {
        match self {
            Self::Prune(Score::Importance { importance, .. }) => importance.source() == Some(Source::Residual),
            Self::Identity | Self::Prune(_) => false,
            Self::Pair(rule) => {
                rule.features.source == Source::Residual
                    || rule.importances().any(|importance| importance.source() == Some(Source::Residual))
            }
            Self::Online(_) => true,
            Self::Host(rule) => rule.reads_residual(),
        }
    }

    /// Equal for rules that make equal plans of equal sequences. The text is the rule's `Debug` form, which therefore
    /// holds every field (derive it).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{self:?}")
    }

    /// Whether plans depend on the seed and the item ([`crate::Draw`]) and not on the tokens alone. A host rule sees the
    /// draw, so it counts as if it did.
    #[must_use]
    pub fn draws(&self) -> bool {
        let online = matches!(self, Self::Online(OnlineRule { score: OnlineScore::Random, .. }));
        online || matches!(self, Self::Prune(Score::Random) | Self::Host(_))
    }

    /// How many tokens it keeps.
    #[must_use]
    pub fn count(&self) -> Count {
        match self {
            Self::Identity => Count::Own("every token stays"),
            Self::Host(rule) => rule.count(),
            Self::Prune(_) | Self::Pair(_) | Self::Online(_) => Count::Exact,
        }
    }

    /// FLOPs of the matching behind a plan that keeps `n_kept` of `n` reducible (unprotected) tokens of one sequence.
    /// Nothing is compared where every token is kept, unless the count is free.
    #[must_use]
    pub fn matching_flops(&self, n: usize, n_kept: usize, widths: Widths) -> f64 {
        match self {
            _ if n_kept >= n && !self.count().is_free() => 0.0,
            Self::Pair(rule) => rule.matching_flops(n, n_kept, widths),
            Self::Online(rule) => rule.matching_flops(n, widths),
            Self::Host(rule) => rule.matching_flops(n, n_kept, widths),
            Self::Identity | Self::Prune(_) => 0.0,
        }
    }

    /// From which tokens the fate of a token follows.
    #[must_use]
    pub fn causality(&self) -> Causality {
        match self {
            Self::Identity => Causality::Streaming,
            Self::Online(rule) => rule.causality(),
            Self::Host(rule) => rule.causality(),
            Self::Prune(_) | Self::Pair(_) => Causality::None,
        }
    }

    /// Whether it plans without looking at any value: by place or by chance.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        match self {
            // In order by chance, too, but for a merge, which is recorded with its similarity.
            Self::Identity
            | Self::Prune(Score::Position(_) | Score::Random)
            | Self::Online(OnlineRule { score: OnlineScore::Random, removed: Removed::Dropped, .. }) => true,
            Self::Host(rule) => rule.is_blind(),
            Self::Prune(_) | Self::Pair(_) | Self::Online(_) => false,
        }
    }
}

impl OnlineScore {
    /// What a layer must show for it.
    #[must_use]
    pub fn signals(self) -> SignalSet {
        match self {
            Self::Importance(importance) => importance.signals(),
            Self::Random => SignalSet::default(),
            Self::Novelty(features) => features.source.signals(),
        }
    }
}

impl Partition {
    /// What a layer must show for it.
    #[must_use]
    pub fn signals(self) -> SignalSet {
        match self {
            Self::EvenOdd => SignalSet::default(),
            Self::ByImportance(importance) => importance.signals(),
        }
    }
}

impl Combine {
    /// What a layer must show for it.
    #[must_use]
    pub fn signals(self) -> SignalSet {
        match self {
            Self::Hybrid { pruned: Pruned::LeastImportant(importance), .. } => importance.signals(),
            _ => SignalSet::default(),
        }
    }
}
