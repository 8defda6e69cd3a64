//! All strategies by name. A strategy file registers itself; nothing else is edited.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use hint::Hint;
pub use records::Family;
use thiserror::Error;

use crate::options::{OptionError, OptionInfo, OptionValue, ResolvedOptions};
use crate::rule::{Causality, Rule};
use crate::spelling::nearest;

/// What a strategy file says about itself, and how to build its rule.
pub struct Registration {
    /// Name in experiment files and records.
    pub name: &'static str,
    /// The kind of rule it is; reports group and colour strategies by it.
    pub family: Family,
    /// Part of every trial id. An edit of the strategy's file is noticed without it; a strategy that is registered from outside of this
    /// workspace raises it whenever its decisions change.
    pub version: u32,
    /// One sentence: what the rule does.
    pub summary: &'static str,
    /// Source: paper with year, upstream file and commit, or `control`.
    pub source: &'static str,
    /// The rule as a formula in plain text.
    pub formula: &'static str,
    /// Where this differs from its source; empty where it does not.
    pub differs: &'static str,
    /// Options with their defaults.
    pub options: &'static [OptionInfo],
    /// Whether the rule draws random numbers (it then takes `seeds: [..]` in an experiment).
    pub seeded: bool,
    /// Builds the rule.
    pub build: &'static (dyn Fn(&ResolvedOptions) -> Rule + Send + Sync),
}

inventory::collect!(Registration);

/// Strategies that were registered while the program ran.
static ADDED: RwLock<Vec<&'static Registration>> = RwLock::new(Vec::new());

fn added() -> Vec<&'static Registration> {
    ADDED.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Registers a strategy while the program runs, in place of one of its name that was registered in this way before. It is never
/// dropped: experiments hold on to the one that they found.
///
/// # Errors
/// [`RegistryError::Taken`]: the program has a strategy of that name.
pub fn register(registration: Registration) -> Result<(), RegistryError> {
    let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
    if inventory::iter::<Registration>.into_iter().any(|own| own.name == registration.name) {
        return Err(RegistryError::Taken { name: registration.name });
    }
    added.retain(|earlier| earlier.name != registration.name);
    added.push(Box::leak(Box::new(registration)));
    Ok(())
}

impl Registration {
    /// Whether it was registered while the program ran, so that no test of this workspace has seen it.
    #[must_use]
    pub fn is_added(&self) -> bool {
        added().iter().any(|added| std::ptr::eq(*added, self))
    }
}

/// A strategy with its options resolved.
#[derive(Clone)]
pub struct Strategy {
    /// The registration.
    pub registration: &'static Registration,
    /// Options, defaults filled in.
    pub options: ResolvedOptions,
}

impl Strategy {
    /// Looks up `name` and checks `options` against its declaration.
    ///
    /// # Errors
    /// An unknown strategy (with the nearest name) or a bad option.
    pub fn new(name: &str, options: &BTreeMap<String, OptionValue>) -> Result<Self, RegistryError> {
        let registration = find(name)?;
        let options = ResolvedOptions::resolve(registration.options, options)
            .map_err(|error| RegistryError::Option { strategy: registration.name, error })?;
        Ok(Self { registration, options })
    }

    /// The same strategy with another value of one option.
    ///
    /// # Errors
    /// An option that it does not have, or a value out of its range.
    pub fn with_option(&self, name: &str, value: OptionValue) -> Result<Self, RegistryError> {
        let own = self.options.iter().map(|(name, value)| (name.to_owned(), value.clone()));
        let options: BTreeMap<String, OptionValue> = own.chain([(name.to_owned(), value)]).collect();
        let options = ResolvedOptions::resolve(self.registration.options, &options)
            .map_err(|error| RegistryError::Option { strategy: self.registration.name, error })?;
        Ok(Self { registration: self.registration, options })
    }

    /// The rule that makes the plans.
    #[must_use]
    pub fn rule(&self) -> Rule {
        (self.registration.build)(&self.options)
    }

    /// Whether this strategy claims causality with these options; see [`Causality`].
    #[must_use]
    pub fn is_causal(&self) -> bool {
        self.rule().causality() != Causality::None
    }
}

impl std::fmt::Debug for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.registration.name, self.options.to_json())
    }
}

/// All registered strategies, by name.
#[must_use]
pub fn all() -> Vec<&'static Registration> {
    let mut all: Vec<_> = inventory::iter::<Registration>.into_iter().chain(added()).collect();
    all.sort_by_key(|registration| registration.name);
    all
}

/// The strategy of that name.
///
/// # Errors
/// [`RegistryError::Unknown`] with the nearest name.
pub fn find(name: &str) -> Result<&'static Registration, RegistryError> {
    let all = all();
    all.iter().copied().find(|registration| registration.name == name).ok_or_else(|| RegistryError::Unknown {
        name: name.to_owned(),
        nearest: nearest(name, all.iter().map(|registration| registration.name)),
    })
}

/// Why a strategy could not be built.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RegistryError {
    /// No strategy of that name.
    #[error("unknown strategy `{name}`")]
    Unknown {
        /// What was written.
        name: String,
        /// The closest registered name.
        nearest: Option<&'static str>,
    },
    /// The program has a strategy of that name.
    #[error("`{name}` is a strategy of this program")]
    Taken {
        /// The name.
        name: &'static str,
    },
    /// A bad option.
    #[error("strategy `{strategy}`: {error}")]
    Option {
        /// The strategy.
        strategy: &'static str,
        /// What is wrong.
        error: OptionError,
    },
}

impl Hint for RegistryError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest: Some(name), .. } => Some(format!("did you mean `{name}`?")),
            Self::Unknown { .. } => Some("`sweep strategies` lists them all".to_owned()),
            Self::Taken { .. } => Some("choose another name".to_owned()),
            Self::Option { error, .. } => error.hint(),
        }
    }
}
