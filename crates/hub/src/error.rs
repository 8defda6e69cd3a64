use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hint::Hint;
use thiserror::Error;

use crate::Repository;

/// Why a file of a repository could not be had.
#[derive(Debug, Error)]
pub enum HubError {
    /// An id of another form than `owner/name`.
    #[error("`{id}` names no repository")]
    BadRepository {
        /// As written.
        id: String,
    },
    /// A revision that no branch, tag or commit can have.
    #[error("`{revision}` names no revision")]
    BadRevision {
        /// As written.
        revision: String,
    },
    /// A file name that could lead out of the cache.
    #[error("{repository} names a file `{name}`, which is no plain relative path; it was not written")]
    BadFileName {
        /// Repository.
        repository: Repository,
        /// The name, with what does not print escaped.
        name: String,
    },
    /// A variable of the environment that says something impossible.
    #[error("{variable} is `{value}`, which is {problem}")]
    BadVariable {
        /// Name of the variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No variable says where the cache is.
    #[error("cannot tell where the hub's cache is: neither HF_HOME nor HOME is set")]
    NoCacheFolder,
    /// No such repository.
    #[error("the hub has no repository {repository}")]
    NoRepository {
        /// Repository.
        repository: Repository,
    },
    /// No such branch, tag or commit.
    #[error("{repository} has no revision `{revision}`")]
    NoRevision {
        /// Repository.
        repository: Repository,
        /// Revision.
        revision: String,
    },
    /// No such file.
    #[error("{repository} has no file `{file}` at commit {commit}")]
    NoFile {
        /// Repository.
        repository: Repository,
        /// File.
        file: String,
        /// Commit.
        commit: String,
    },
    /// 401: the hub says the same for a repository that does not exist and for one that is private.
    #[error("the hub does not show {repository} {}: it does not exist, or is private", as_whom(*.with_token))]
    Unauthorised {
        /// Repository.
        repository: Repository,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// A repository whose terms must be accepted first, or that this token may not read.
    #[error("{repository} is not open to everybody, and the hub refuses it {}{}", as_whom(*.with_token), quoted(.said.as_deref()))]
    Gated {
        /// Repository.
        repository: Repository,
        /// Whether a token was sent.
        with_token: bool,
        /// What the hub said.
        said: Option<String>,
    },
    /// 429, again and again or with a long wait.
    #[error("{host} refuses further requests for now{}", wait_text(*.wait))]
    RateLimited {
        /// Host.
        host: String,
        /// Wait that it asked for.
        wait: Option<Duration>,
    },
    /// Another status than was hoped for.
    #[error("{url} answered with status {status}")]
    Status {
        /// Address without its query.
        url: String,
        /// Status.
        status: u16,
    },
    /// The server could not be reached, or did not keep to the protocol.
    #[error("cannot reach {host}: {problem}")]
    Network {
        /// Host.
        host: String,
        /// What went wrong.
        problem: String,
    },
    /// Nobody who is trusted vouches for the server.
    #[error("{host} cannot prove that it is {host}: {problem}")]
    Untrusted {
        /// Host.
        host: String,
        /// What is wrong with its certificate.
        problem: String,
    },
    /// Not in the cache, and not allowed to ask.
    #[error("{what} is not in the cache, and HF_HUB_OFFLINE is set")]
    Offline {
        /// What was wanted.
        what: String,
    },
    /// An answer that could not be understood or that contradicts itself.
    #[error("{url}: {problem}")]
    BadAnswer {
        /// Address without its query.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// A download that ended early, again and again.
    #[error("{repository}: {file} ends after {got} of {size} bytes, also when tried again")]
    Truncated {
        /// Repository.
        repository: Repository,
        /// File.
        file: String,
        /// Bytes on the disk.
        got: u64,
        /// Bytes announced.
        size: u64,
    },
    /// A whole file with other bytes than the hub announced.
    #[error("{repository}: {file} has hash {got}, the hub announced {expected}; it was removed")]
    WrongHash {
        /// Repository.
        repository: Repository,
        /// File.
        file: String,
        /// Hash of what arrived.
        got: String,
        /// Hash announced.
        expected: String,
    },
    /// A file of the cache whose bytes are not those that its name, a hash, announces.
    #[error("{file} of {repository} is damaged: {path} has hash {got}", path = .path.display())]
    Damaged {
        /// Repository.
        repository: Repository,
        /// File.
        file: String,
        /// The blob.
        path: PathBuf,
        /// Hash of what is there.
        got: String,
    },
    /// A body that arrives too slowly to end, again and again.
    #[error("{url}: the answer does not get on ({problem}), also when tried again")]
    Stalled {
        /// Address without its query.
        url: String,
        /// What arrived in which time.
        problem: String,
    },
    /// The server gives no hash, so that the file could not be verified.
    #[error("{url}: no hash to verify the file by; its ETag is `{etag}`")]
    NoHash {
        /// Address without its query.
        url: String,
        /// What stands in the place of the hash.
        etag: String,
    },
    /// No room for the file.
    #[error("no room left to write {path}: {error}")]
    DiskFull {
        /// File or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}: {error}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl HubError {
    pub(crate) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::DiskFull { path, error }
            }
            _ => Self::Io { action, path, error },
        }
    }

    pub(crate) fn bad_name(repository: &Repository, name: &str) -> Self {
        let name = name.chars().take(200).flat_map(char::escape_debug).collect();
        Self::BadFileName { repository: repository.clone(), name }
    }
}

impl Hint for HubError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::BadRepository { .. } => "write owner/name, as in the address of its page",
            Self::BadRevision { .. } => "write a branch, a tag or a commit id",
            Self::BadFileName { .. } => "do not use this repository; tell the hub about it",
            Self::BadVariable { .. } => "set the variable right, or unset it",
            Self::NoCacheFolder => "set HF_HOME to a folder that may grow large",
            Self::NoRepository { .. } => "look the name up on the hub; a private one needs HF_TOKEN",
            Self::NoRevision { .. } => "name a branch, a tag or a whole commit id of it; `main` is always there",
            Self::NoFile { .. } => "look at the files of the repository on the hub",
            Self::Unauthorised { with_token, .. } | Self::Gated { with_token, .. } => {
                return Some(access_hint(*with_token, matches!(self, Self::Gated { .. })));
            }
            Self::RateLimited { .. } => "try again later; with HF_TOKEN the hub allows more",
            Self::Status { status: 500.., .. } => "the hub has trouble; try again later, what is downloaded is kept",
            Self::Status { .. } => "look at HF_ENDPOINT, if it is set",
            Self::Network { .. } => {
                "look at the network and at HF_ENDPOINT; where there is no network, bring the cache (HF_HOME) from a machine that \
                 has one, or name a folder"
            }
            Self::Untrusted { .. } => {
                "where a proxy looks into connections, name the file that holds its certificate with SSL_CERT_FILE; the system's own file, \
                 for example /etc/ssl/certs/ca-certificates.crt, often does"
            }
            Self::Offline { .. } => "unset HF_HUB_OFFLINE once to download it, or name a folder",
            Self::BadAnswer { .. } => "this is no hub, or one that speaks another language; look at HF_ENDPOINT",
            Self::Truncated { .. } => "try again: the download goes on where it stopped",
            Self::WrongHash { .. } => {
                "try again; if it comes back, something between here and the hub changes files (a proxy, a mirror)"
            }
            Self::Damaged { .. } => {
                "`sweep fetch` downloads it again, in its place; without a network, bring the file from another cache"
            }
            Self::Stalled { .. } => {
                "look at the network and at HF_ENDPOINT; try again later, the download goes on where it stopped"
            }
            Self::NoHash { .. } => "use the hub itself, or download the files into a folder and name that",
            Self::DiskFull { .. } => {
                "make room, or set HF_HOME to a larger disk; what is downloaded is kept and the download goes on there"
            }
            Self::Io { .. } => "check the path and its permissions; HF_HOME sets another place",
        };
        Some(text.to_owned())
    }
}

fn access_hint(with_token: bool, gated: bool) -> String {
    let first = if gated { "accept the terms on the page of the repository" } else { "look the name up on the hub" };
    match (gated, with_token) {
        (_, true) => format!("{first}, and look whether the owner of the token may read it"),
        (true, false) => format!("{first}, and set HF_TOKEN to a token of yours"),
        (false, false) => format!("{first}; if it is private, set HF_TOKEN to a token of yours"),
    }
}

fn as_whom(with_token: bool) -> &'static str {
    if with_token { "with this token" } else { "without a token" }
}

fn quoted(said: Option<&str>) -> String {
    said.map_or_else(String::new, |said| format!(": \"{said}\""))
}

fn wait_text(wait: Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| format!(", and asks to wait {} s", wait.as_secs()))
}
