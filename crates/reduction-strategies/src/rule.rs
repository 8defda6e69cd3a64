//! What a strategy does at a site, as data.

/// How tokens are reduced at one site.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Every token stays.
    Identity,
}
