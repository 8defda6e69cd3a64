//! What to do about a model without a usable tokenizer.

use ssm_model::catalog::GPT_NEOX;

/// What `tokenizer` of a model may be.
pub(super) const TOKENIZER_FORMS: &str = "a tokenizer is a repository of the hub (`<owner>/<name>`, perhaps with `@<revision>`), a folder \
                                          with tokenizer.json, or the file itself";

/// What to do about a model that has no tokenizer.
pub(super) fn name_a_tokenizer(reference: &str) -> String {
    format!(
        "name the one that it was trained with, for example `models: [{{ path: {reference}, tokenizer: {GPT_NEOX} }}]`; {TOKENIZER_FORMS}"
    )
}
