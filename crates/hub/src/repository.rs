//! Which repository is meant.

use std::fmt;

use crate::HubError;
use crate::names::is_repository_part;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// A repository on a hub. Displayed as in the address of its page: `owner/name`, `datasets/owner/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    kind: Kind,
    id: String,
}

impl Repository {
    /// The repository with this id, `owner/name`.
    ///
    /// # Errors
    /// An id of another form.
    pub fn new(kind: Kind, id: &str) -> Result<Self, HubError> {
        match id.split_once('/') {
            Some((owner, name)) if is_repository_part(owner) && is_repository_part(name) => {
                Ok(Self { kind, id: id.to_owned() })
            }
            _ => Err(HubError::BadRepository { id: id.to_owned() }),
        }
    }

    /// `owner/name`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its folder in the cache.
    pub(crate) fn folder_name(&self) -> String {
        let kind = match self.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        format!("{kind}--{}", self.id.replace('/', "--"))
    }

    /// Path of the API that describes it.
    pub(crate) fn api_path(&self) -> String {
        let kind = match self.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        format!("/api/{kind}/{}", self.id)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.kind {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        write!(f, "{prefix}{}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_an_owner_and_a_name() {
        let model = Repository::new(Kind::Model, "state-spaces/mamba2-2.7b").unwrap();
        assert_eq!(model.folder_name(), "models--state-spaces--mamba2-2.7b");
        assert_eq!(model.api_path(), "/api/models/state-spaces/mamba2-2.7b");
        let data = Repository::new(Kind::Dataset, "Rowan/hellaswag").unwrap();
        assert_eq!((data.to_string(), data.id()), ("datasets/Rowan/hellaswag".into(), "Rowan/hellaswag"));
        assert_eq!(data.folder_name(), "datasets--Rowan--hellaswag");
        for bad in ["gpt2", "a/b/c", "../x", "a/..", "a/", "/b", "a/b c"] {
            assert!(Repository::new(Kind::Model, bad).is_err(), "{bad}");
        }
    }
}
