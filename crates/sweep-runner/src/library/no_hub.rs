//! Stands in for `hub.rs` where the program was built without the feature `hub`: every reference is refused.

use std::path::PathBuf;
use std::sync::Arc;

use evaluation::tasks::Data;

use super::Downloads;
use crate::config::CatalogError;
use crate::record::manifest::HubCommit;

/// Knows no model.
#[derive(Default)]
pub(super) struct Hub;

/// There is none.
#[derive(Clone, Debug)]
pub(super) struct HubModel {
    pub(super) folder: PathBuf,
    pub(super) files: Vec<PathBuf>,
    pub(super) tokenizer: Option<PathBuf>,
}

/// What of a model is wanted.
#[derive(Clone, Copy)]
pub(super) enum Parts {
    All,
    Weights,
}

#[allow(clippy::unused_self, reason = "the interface of hub.rs")]
impl Hub {
    pub(super) fn new(_: Downloads) -> Self {
        Self
    }

    pub(super) fn data(self: &Arc<Self>) -> Data {
        Data::None
    }

    pub(super) fn tokenizer(
        &self,
        reference: &str,
        repository: &str,
        instead: &'static str,
    ) -> Result<PathBuf, CatalogError> {
        Err(CatalogError {
            message: format!(
                "`{reference}` needs the tokenizer of {repository}, and this program was built without the feature `hub`"
            ),
            hint: Some(instead.to_owned()),
            label: "not on this machine",
        })
    }

    pub(super) fn forget_tokenizer(&self, _reference: &str) {}

    pub(super) fn model(&self, reference: &str, _rest: &str, _parts: Parts) -> Result<HubModel, CatalogError> {
        Err(CatalogError {
            message: format!("cannot fetch `{reference}`: this program was built without the feature `hub`"),
            hint: Some("build it with `--features hub`, or download the files into a folder and name that".to_owned()),
            label: "not on this machine",
        })
    }

    pub(super) fn commits(&self) -> Vec<HubCommit> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_refused_with_the_name_of_the_feature() {
        let error = Hub::new(Downloads::Missing).model("hub:test/model", "test/model", Parts::All).unwrap_err();
        insta::assert_snapshot!(
            format!("{error}\nhint: {}", error.hint.as_deref().unwrap_or_default()),
            @r"
        cannot fetch `hub:test/model`: this program was built without the feature `hub`
        hint: build it with `--features hub`, or download the files into a folder and name that
        "
        );
    }
}
