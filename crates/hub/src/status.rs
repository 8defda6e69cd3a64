//! What an answer that is no success means.

use std::time::Duration;

use ureq::http::HeaderMap;

use crate::{HubError, Repository};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) repository: &'a Repository,
    /// Revision of a listing, commit of a file.
    pub(crate) revision: &'a str,
    /// The file; none for the listing.
    pub(crate) file: Option<&'a str>,
}

/// Statuses after which the same request may succeed.
pub(crate) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// The wait that a server asks for, where it says so in seconds.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    text(headers, "retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

/// A header as text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The error that a status stands for. `url` has no query, `with_token` says whether the request carried a token.
pub(crate) fn refusal(asked: Asked<'_>, status: u16, headers: &HeaderMap, url: &str, with_token: bool) -> HubError {
    let repository = asked.repository.clone();
    let code = text(headers, "x-error-code").unwrap_or_default();
    match (status, code) {
        (401 | 403, "GatedRepo") | (403, _) => HubError::Gated { repository, with_token, said: said(headers) },
        (401, _) => HubError::Unauthorised { repository, with_token },
        (404, "RepoNotFound") => HubError::NoRepository { repository },
        (404, code) => match asked.file {
            Some(file) if code != "RevisionNotFound" => {
                HubError::NoFile { repository, file: file.to_owned(), commit: asked.revision.to_owned() }
            }
            _ if code == "RevisionNotFound" => HubError::NoRevision { repository, revision: asked.revision.to_owned() },
            _ => HubError::NoRepository { repository },
        },
        (429, _) => HubError::RateLimited { host: host(url), wait: retry_after(headers) },
        _ => HubError::Status { url: url.to_owned(), status },
    }
}

/// Host and port of an address.
pub(crate) fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().to_owned()
}

/// What the hub says for people to read, short and printable.
fn said(headers: &HeaderMap) -> Option<String> {
    let said: String = text(headers, "x-error-message")?.chars().filter(|c| !c.is_control()).take(200).collect();
    (!said.trim().is_empty()).then_some(said)
}
