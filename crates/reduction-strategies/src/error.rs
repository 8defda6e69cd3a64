//! Why a plan could not be made.

use std::borrow::Cow;

use hint::Hint;
use ssm_kernels::KernelError;
use ssm_model::Signal;
use thiserror::Error;

/// Why a plan could not be made, or is not one.
#[derive(Debug, Error)]
pub enum PlanError {
    /// Kept tokens repeat, go down or lie outside the sequence.
    #[error("kept tokens must increase strictly within 0..{n_tokens}: entry {entry} is {token}")]
    Keep {
        /// Index into the list.
        entry: usize,
        /// What stands there.
        token: u32,
        /// Length of the sequence.
        n_tokens: usize,
    },
    /// A group that no plan may hold.
    #[error("{branch} branch, group into token {into}: {reason}")]
    Group {
        /// `hidden` or `residual`.
        branch: &'static str,
        /// The group's kept token.
        into: u32,
        /// What is wrong.
        reason: String,
    },
    /// A kept token that would last for an impossible time.
    #[error("token {token} cannot last {decay} steps of decay and {write} of writing, or is out of order or not kept")]
    Time {
        /// The token.
        token: u32,
        /// Factor of its decay.
        decay: f32,
        /// Factor of its write.
        write: f32,
    },
    /// A ratio outside (0, 1].
    #[error("keep_ratio {0} is outside (0, 1]")]
    KeepRatio(f64),
    /// A rule left another number of tokens than it declares.
    #[error("the rule left {got} tokens where {expected} were declared")]
    Count {
        /// Tokens left.
        got: usize,
        /// Tokens declared.
        expected: usize,
    },
    /// A rule of free count kept nothing.
    #[error("the rule kept no token")]
    NoneKept,
    /// A rule that decides tokens in order was asked for a number of them.
    #[error("a rule that decides tokens in order follows a ratio, not a number of tokens")]
    NeedsRatio,
    /// A rule touched a protected token.
    #[error("the rule {what} protected token {token}")]
    Protected {
        /// The token's row.
        token: u32,
        /// What it did.
        what: &'static str,
    },
    /// A plan for a sequence of another length.
    #[error("a plan for {got} tokens met {expected}")]
    Length {
        /// Tokens of the plan.
        got: usize,
        /// Tokens of the sequence.
        expected: usize,
    },
    /// Parts of a view with different numbers of rows.
    #[error("{part} has {got} rows, expected {expected}")]
    View {
        /// The part.
        part: &'static str,
        /// Its rows.
        got: usize,
        /// Rows of the sequence.
        expected: usize,
    },
    /// A signal that the rule needs and the driver did not bring.
    #[error("the rule reads `{0}`, which this layer did not show")]
    MissingSignal(Signal),
    /// Values from which a rule would decide, and which are no numbers.
    #[error("{what} of token {token} is {value}")]
    NotFinite {
        /// What the rule reads or ranks by.
        what: Cow<'static, str>,
        /// Position of the token in its sequence.
        token: u32,
        /// NaN or an infinity.
        value: f32,
    },
    /// Scores that have no order.
    #[error("score {entry} of {scores} is NaN: scores that are no numbers have no order")]
    Unordered {
        /// Index into the scores.
        entry: usize,
        /// How many there are.
        scores: usize,
    },
    /// What a rule of a script did wrong.
    #[error("rule `{rule}`, after layer {site}, item {item}: {problem}")]
    Script {
        /// Name of the rule.
        rule: String,
        /// The layer after which it was asked.
        site: usize,
        /// The item that it was asked about.
        item: u64,
        /// What is wrong.
        problem: String,
        /// What its author can do.
        hint: String,
    },
    /// The work was asked to end ([`SiteStream::stopping_when`](crate::SiteStream::stopping_when)).
    #[error("stopped before its end")]
    Stopped,
    /// Activations before the first block.
    #[error("the stream has no residual: it has not passed a block")]
    NoResidual,
    /// A rule that only the host interprets.
    #[error("this rule is not planned on the GPU at this ratio")]
    NotOnGpu,
    /// Tables that do not describe the same stream.
    #[error("{what}: {got} against {expected}")]
    Stream {
        /// What was counted.
        what: &'static str,
        /// One count.
        got: usize,
        /// The other.
        expected: usize,
    },
    /// An operation failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl Hint for PlanError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Keep { .. } => "sort the kept tokens and remove repetitions",
            Self::Group { .. } => "each removed token goes into at most one kept token per branch",
            Self::Time { .. } => "factors are finite and positive, one per kept token at most, ascending",
            Self::KeepRatio(_) => "keep_ratio is the share of tokens that is kept: 0.9 removes a tenth, 1 removes none",
            Self::Count { .. } => {
                "return exactly `kept(n_keep, n)` of the unprotected tokens, or declare another `count`"
            }
            Self::NoneKept => {
                "a sequence keeps at least one token: keep the most important one where none passes the threshold"
            }
            Self::Protected { .. } => "work on `view.reducible()` only",
            Self::MissingSignal(_) => {
                "ask the layer for `rule.signals()`; attention layers have no SSM output and no dt"
            }
            Self::Length { .. } | Self::View { .. } | Self::Stream { .. } => {
                "the tables must describe the same packed stream"
            }
            Self::NotFinite { .. } | Self::Unordered { .. } => {
                "the arithmetic before it overflowed: run in float32, or look for very large weights in the layers before"
            }
            Self::Script { hint, .. } => hint,
            Self::NoResidual => "a site is after a block: plan the output of `LanguageModel::layer`",
            Self::NeedsRatio => "choose a rule that ranks or pairs",
            Self::NotOnGpu => "plan it with `plan_site`, which copies what the rule reads to the host",
            Self::Stopped | Self::Kernel(_) => return None,
        };
        Some(hint.to_owned())
    }
}
