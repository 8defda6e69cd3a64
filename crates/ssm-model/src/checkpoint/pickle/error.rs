/// Why a pickle was refused.
#[derive(Debug)]
pub(super) enum PickleError {
    /// A global outside the list.
    Forbidden(String),
    /// A tensor of a kind that is not read.
    Unsupported(String),
    /// Anything else, in words.
    Malformed(String),
}

impl From<String> for PickleError {
    fn from(problem: String) -> Self {
        Self::Malformed(problem)
    }
}

impl From<&str> for PickleError {
    fn from(problem: &str) -> Self {
        Self::Malformed(problem.to_string())
    }
}
