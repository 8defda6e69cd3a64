//! Models and data sets of a hub: `hub:owner/name`, `hub:owner/name@revision`. Which files of a repository make a model, found in the
//! cache or downloaded into it.
//!
//! What the cache holds is used without asking the hub, so that a branch stands for the same commit in all processes of a run and
//! until `sweep fetch` asks again.

mod datasets;
mod progress;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use evaluation::tasks::Data;
use hint::Hint;
use hub::{Cache, Client, HubError, Kind, Listing, Repository, Settings};
use ssm_model::catalog;
use ssm_model::checkpoint::{self, CheckpointError};
use thiserror::Error;

use super::Downloads;
use super::advice::{TOKENIZER_FORMS, name_a_tokenizer};
use crate::config::CatalogError;
use crate::record::manifest::HubCommit;
use progress::Progress;

/// Revision of a reference that names none.
const MAIN: &str = "main";

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// Names the token that begins a text; taken along where it is there, and read beside the tokenizer.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// What this process uses of the hub. Everything is looked up once: from then on it stands for the same files.
#[derive(Debug, Default)]
pub(super) struct Hub {
    downloads: Downloads,
    found: Mutex<BTreeMap<String, HubModel>>,
    /// Data sets, by the task that reads them.
    datasets: Mutex<BTreeMap<String, HubCommit>>,
    /// Tokenizers of models that have none themselves or use another, by the model.
    tokenizers: Mutex<BTreeMap<String, HubCommit>>,
}

/// A model in the cache, whole.
#[derive(Clone, Debug)]
pub(super) struct HubModel {
    /// Folder with configuration and weights.
    pub(super) folder: PathBuf,
    /// Files that can change its output, in name order; the tokenizer is not among them.
    pub(super) files: Vec<PathBuf>,
    /// Its `tokenizer.json`, which may be another repository's; none where only [`Parts::Weights`] were wanted and there is none.
    pub(super) tokenizer: Option<PathBuf>,
    commits: Vec<HubCommit>,
}

/// What of a model is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// Configuration, weights and tokenizer.
    All,
    /// Configuration and weights, for those who bring token ids.
    Weights,
}

/// What the cache lacks of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lack {
    Everything,
    File(String),
    Weights,
    /// The tokenizer of another repository, which the model uses.
    TokenizerOf(Repository),
}

/// Why a model of the hub could not be had.
#[derive(Debug, Error)]
enum Refusal {
    #[error("{0}")]
    Hub(#[from] HubError),
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("`{reference}` is {}{}", in_cache(.lack), if *.offline { ", and HF_HUB_OFFLINE is set" } else { "" })]
    NotCached { reference: String, lack: Lack, offline: bool },
    #[error(
        "`{reference}` needs the tokenizer of {repository}, which is not in the cache{}",
        if *.offline { ", and HF_HUB_OFFLINE is set" } else { "" }
    )]
    TokenizerNotCached {
        reference: String,
        repository: Repository,
        offline: bool,
        /// What does without it.
        instead: &'static str,
    },
    #[error("{repository} holds no model that this program can read: it has no {what}")]
    NoModel { repository: Repository, what: &'static str },
    #[error("{repository} has no tokenizer.json")]
    NoTokenizer { reference: String, repository: Repository },
    #[error("{repository} has no tokenizer.json for `{reference}` to use")]
    NoTokenizerThere { reference: String, repository: Repository },
}

impl From<Refusal> for CatalogError {
    fn from(refusal: Refusal) -> Self {
        let label = match &refusal {
            Refusal::Hub(HubError::Damaged { .. }) => "damaged in the cache",
            Refusal::Checkpoint(error) => error.label(),
            _ => "not on this machine",
        };
        Self { message: refusal.to_string(), hint: refusal.hint(), label }
    }
}

fn in_cache(lack: &Lack) -> String {
    match lack {
        Lack::Everything => "not in the cache".to_owned(),
        Lack::File(file) => format!("in the cache without {file}"),
        Lack::Weights => "in the cache without its weights".to_owned(),
        Lack::TokenizerOf(repository) => format!("in the cache without its tokenizer, that of {repository}"),
    }
}

impl Hint for Refusal {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Hub(error) => return error.hint(),
            Self::Checkpoint(error) => return error.hint(),
            Self::NotCached { reference, offline: true, lack: Lack::File(file) } if file == TOKENIZER => {
                format!(
                    "unset HF_HUB_OFFLINE once to download it; if the repository has none, {}",
                    name_a_tokenizer(reference)
                )
            }
            Self::NotCached { offline: true, .. } => {
                "unset HF_HUB_OFFLINE once to download it, or name a folder".to_owned()
            }
            Self::NotCached { reference, lack: Lack::File(file), .. } if file == TOKENIZER => {
                format!(
                    "`sweep fetch {reference}` downloads it, `sweep run` does so by itself; if the repository has none, {}",
                    name_a_tokenizer(reference)
                )
            }
            Self::NotCached { reference, .. } => {
                format!("`sweep fetch {reference}` downloads it; `sweep run` does so by itself")
            }
            Self::TokenizerNotCached { offline: true, instead, .. } => {
                format!("unset HF_HUB_OFFLINE once to download it, or {instead}")
            }
            Self::TokenizerNotCached { instead, .. } => {
                format!(
                    "`sweep fetch FILE` downloads what an experiment needs and `sweep run` does so by itself; or {instead}"
                )
            }
            Self::NoModel { .. } => {
                "safetensors and pytorch_model.bin are read; name another repository or revision".to_owned()
            }
            Self::NoTokenizer { reference, .. } => name_a_tokenizer(reference),
            Self::NoTokenizerThere { .. } => TOKENIZER_FORMS.to_owned(),
        })
    }
}

/// A reference, taken apart.
struct Named {
    reference: String,
    repository: Repository,
    revision: String,
}

impl Named {
    /// `reference` without its `hub:` is `rest`.
    fn parse(reference: &str, rest: &str) -> Result<Self, HubError> {
        let (id, revision) = rest.split_once('@').unwrap_or((rest, MAIN));
        let repository = Repository::new(Kind::Model, id)?;
        Ok(Self { reference: reference.to_owned(), repository, revision: revision.to_owned() })
    }

    /// The repository that has its tokenizer, where it has none itself.
    fn tokenizer_repository(&self) -> Result<Option<Repository>, HubError> {
        let id = catalog::tokenizer_repository(self.repository.id());
        id.map(|id| Repository::new(Kind::Model, id)).transpose()
    }

    fn commit(&self, repository: &Repository, revision: &str, commit: &str) -> HubCommit {
        commit_of(&self.reference, repository, revision, commit)
    }
}

fn commit_of(reference: &str, repository: &Repository, revision: &str, commit: &str) -> HubCommit {
    HubCommit {
        reference: reference.to_owned(),
        repository: repository.to_string(),
        revision: revision.to_owned(),
        commit: commit.to_owned(),
    }
}

impl Hub {
    pub(super) fn new(downloads: Downloads) -> Self {
        Self { downloads, ..Self::default() }
    }

    /// Its data sets, for the benchmarks.
    pub(super) fn data(self: &Arc<Self>) -> Data {
        Data::Hub(Arc::<Self>::clone(self))
    }

    /// The model behind `reference`, which is `rest` without its `hub:`.
    pub(super) fn model(&self, reference: &str, rest: &str, parts: Parts) -> Result<HubModel, CatalogError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = found.get(reference)
            && (model.tokenizer.is_some() || parts == Parts::Weights)
        {
            return Ok(model.clone());
        }
        let model = self.obtain(reference, rest, parts)?;
        found.insert(reference.to_owned(), model.clone());
        Ok(model)
    }

    /// The `tokenizer.json` of a repository, `owner/name` or `owner/name@revision`, for `reference`, a model that has none of its own or
    /// is to use another; `instead` says what else its user could name.
    pub(super) fn tokenizer(
        &self,
        reference: &str,
        repository: &str,
        instead: &'static str,
    ) -> Result<PathBuf, CatalogError> {
        let named = Named::parse(reference, repository).map_err(Refusal::from)?;
        let mut tokenizers = self.tokenizers.lock().unwrap_or_else(PoisonError::into_inner);
        let asked =
            |known: &HubCommit| known.repository == named.repository.to_string() && known.revision == named.revision;
        let first = !tokenizers.values().any(asked);
        let (commit, path) = self.obtain_tokenizer(&named, first, instead)?;
        tokenizers.insert(reference.to_owned(), commit);
        Ok(path)
    }

    /// Forgets the tokenizer of `reference`, which uses its own again.
    pub(super) fn forget_tokenizer(&self, reference: &str) {
        self.tokenizers.lock().unwrap_or_else(PoisonError::into_inner).remove(reference);
    }

    /// The commits that the models and data sets asked for so far stand for, each in the order of their names.
    pub(super) fn commits(&self) -> Vec<HubCommit> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let tokenizers = self.tokenizers.lock().unwrap_or_else(PoisonError::into_inner);
        let datasets = self.datasets.lock().unwrap_or_else(PoisonError::into_inner);
        let models = found.values().flat_map(|model| &model.commits);
        models.chain(tokenizers.values()).chain(datasets.values()).cloned().collect()
    }

    fn obtain(&self, reference: &str, rest: &str, parts: Parts) -> Result<HubModel, Refusal> {
        let named = Named::parse(reference, rest)?;
        let settings = Settings::from_env()?;
        let cache = Cache::new(settings.cache.clone());
        let downloads = self.allowed(&settings);
        if downloads != Downloads::Refresh
            && let Some(model) = usable(cached(&cache, &named, parts), downloads)?
        {
            self.note_unasked(reference, &named.revision, &settings, None);
            return Ok(model);
        }
        let asked = match downloads {
            Downloads::Never => Ok(()),
            Downloads::Missing | Downloads::Refresh => download(&Client::new(&settings), &named, parts),
        };
        let unreachable = unreachable(asked)?;
        let found = cached(&cache, &named, parts)?;
        match (found, unreachable) {
            (Ok(model), unreachable) => {
                self.note_unasked(reference, &named.revision, &settings, unreachable.as_ref());
                Ok(model)
            }
            (Err(_), Some(error)) => Err(error.into()),
            (Err(lack), None) => {
                Err(Refusal::NotCached { reference: reference.to_owned(), lack, offline: settings.offline })
            }
        }
    }

    /// What may be downloaded here: nothing by those who asked never to ask.
    fn allowed(&self, settings: &Settings) -> Downloads {
        if settings.offline { Downloads::Never } else { self.downloads }
    }

    /// Tells those who wanted to know what a revision stands for now that nobody was asked.
    fn note_unasked(&self, reference: &str, revision: &str, settings: &Settings, unreachable: Option<&HubError>) {
        let why = match unreachable {
            Some(error) => error.to_string(),
            None if settings.offline && self.downloads == Downloads::Refresh => "HF_HUB_OFFLINE is set".to_owned(),
            None => return,
        };
        Progress::start(reference).not_asked(revision, &why);
    }

    fn obtain_tokenizer(
        &self,
        named: &Named,
        first: bool,
        instead: &'static str,
    ) -> Result<(HubCommit, PathBuf), Refusal> {
        let Named { reference, repository, revision } = named;
        let settings = Settings::from_env()?;
        let cache = Cache::new(settings.cache.clone());
        let look = || -> Result<Result<(HubCommit, PathBuf), Lack>, Refusal> {
            let lack = || Lack::TokenizerOf(repository.clone());
            let Some(commit) = cache.commit(repository, revision)? else { return Ok(Err(lack())) };
            let path = cached_tokenizer(&cache, repository, &commit)?;
            Ok(path.map(|path| (named.commit(repository, revision, &commit), path)).ok_or_else(lack))
        };
        let downloads = self.allowed(&settings);
        if !(first && downloads == Downloads::Refresh)
            && let Some(found) = usable(look(), downloads)?
        {
            self.note_unasked(reference, revision, &settings, None);
            return Ok(found);
        }
        let asked = match downloads {
            Downloads::Never => Ok(()),
            Downloads::Missing | Downloads::Refresh => {
                let mut progress = Progress::start(reference);
                let report = &mut |event: hub::Event<'_>| progress.show(&event);
                download_tokenizer(&Client::new(&settings), reference, repository, revision, report)
            }
        };
        let unreachable = unreachable(asked)?;
        let found = look()?;
        match (found, unreachable) {
            (Ok(found), unreachable) => {
                self.note_unasked(reference, revision, &settings, unreachable.as_ref());
                Ok(found)
            }
            (Err(_), Some(error)) => Err(error.into()),
            (Err(_), None) => {
                let (reference, repository) = (reference.clone(), repository.clone());
                Err(Refusal::TokenizerNotCached { reference, repository, offline: settings.offline, instead })
            }
        }
    }
}

/// The error of a hub that cannot be reached: what the cache holds may do without it.
fn unreachable(asked: Result<(), Refusal>) -> Result<Option<HubError>, Refusal> {
    match asked {
        Ok(()) => Ok(None),
        Err(Refusal::Hub(error @ HubError::Network { .. })) => Ok(Some(error)),
        Err(refusal) => Err(refusal),
    }
}

/// What was found in the cache; none where it must be downloaded: it is missing, or damaged and may be downloaded again.
fn usable<T>(found: Result<Result<T, Lack>, Refusal>, downloads: Downloads) -> Result<Option<T>, Refusal> {
    match found {
        Ok(found) => Ok(found.ok()),
        Err(Refusal::Hub(HubError::Damaged { .. })) if downloads != Downloads::Never => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// The model, whole and compared with the hashes that name its files, or what the cache lacks of it.
fn cached(cache: &Cache, named: &Named, parts: Parts) -> Result<Result<HubModel, Lack>, Refusal> {
    let Named { repository, revision, .. } = named;
    let Some(commit) = cache.commit(repository, revision)? else { return Ok(Err(Lack::Everything)) };
    let file = |name: &str| -> Result<Result<PathBuf, Lack>, HubError> {
        Ok(cache.file(repository, &commit, name)?.ok_or_else(|| Lack::File(name.to_owned())))
    };
    // Chosen before anything is compared: a damaged file is no reason to take another format.
    let weights = checkpoint::weights_file(|name| cache.has(repository, &commit, name).unwrap_or_default());
    let config = match (file(CONFIG)?, weights) {
        (Ok(config), _) => config,
        (Err(_), None) => return Ok(Err(Lack::Everything)),
        (Err(lack), Some(_)) => return Ok(Err(lack)),
    };
    let Some(weights) = weights else { return Ok(Err(Lack::Weights)) };
    let folder = cache.snapshot(repository, &commit);
    let mut files = vec![config];
    match file(weights)? {
        Ok(weights) => files.push(weights),
        Err(lack) => return Ok(Err(lack)),
    }
    for shard in checkpoint::shards(&folder.join(weights))? {
        match file(&shard)? {
            Ok(shard) => files.push(shard),
            Err(lack) => return Ok(Err(lack)),
        }
    }
    files.sort();
    let mut commits = vec![named.commit(repository, revision, &commit)];
    let mut tokenizer = cached_tokenizer(cache, repository, &commit)?;
    if tokenizer.is_none()
        && parts == Parts::All
        && let Some(other) = named.tokenizer_repository()?
    {
        let Some(commit) = cache.commit(&other, MAIN)? else { return Ok(Err(Lack::TokenizerOf(other))) };
        commits.push(named.commit(&other, MAIN, &commit));
        tokenizer = cached_tokenizer(cache, &other, &commit)?;
        if tokenizer.is_none() {
            return Ok(Err(Lack::TokenizerOf(other)));
        }
    }
    if tokenizer.is_none() && parts == Parts::All {
        return Ok(Err(Lack::File(TOKENIZER.to_owned())));
    }
    Ok(Ok(HubModel { folder, files, tokenizer, commits }))
}

/// The tokenizer of a repository, with what is read beside it compared as well.
fn cached_tokenizer(cache: &Cache, repository: &Repository, commit: &str) -> Result<Option<PathBuf>, HubError> {
    cache.file(repository, commit, TOKENIZER_CONFIG)?;
    cache.file(repository, commit, TOKENIZER)
}

/// What a tokenizer is made of in a repository that has one.
fn tokenizer_files(listed: &[String]) -> Vec<&'static str> {
    let config = listed.iter().any(|file| file == TOKENIZER_CONFIG).then_some(TOKENIZER_CONFIG);
    [TOKENIZER].into_iter().chain(config).collect()
}

fn download_tokenizer(
    client: &Client,
    reference: &str,
    repository: &Repository,
    revision: &str,
    report: hub::Report<'_>,
) -> Result<(), Refusal> {
    let Listing { commit, files } = client.list(repository, revision, report)?;
    if !files.iter().any(|file| file == TOKENIZER) {
        return Err(Refusal::NoTokenizerThere { reference: reference.to_owned(), repository: repository.clone() });
    }
    client.fetch(repository, &commit, &tokenizer_files(&files), report)?;
    Ok(client.pin(repository, revision, &commit)?)
}

/// Brings everything that [`cached`] looks for into the cache: what is small first, so that a repository that cannot be used is
/// refused before its weights are there.
fn download(client: &Client, named: &Named, parts: Parts) -> Result<(), Refusal> {
    let Named { repository, revision, .. } = named;
    let mut progress = Progress::start(&named.reference);
    let report = &mut |event: hub::Event<'_>| progress.show(&event);
    let Listing { commit, files } = client.list(repository, revision, report)?;
    let has = |name: &str| files.iter().any(|file| file == name);
    let lacks = |what| Refusal::NoModel { repository: repository.clone(), what };
    let weights = checkpoint::weights_file(has).ok_or_else(|| lacks("weights"))?;
    if !has(CONFIG) {
        return Err(lacks(CONFIG));
    }
    if has(TOKENIZER) {
        client.fetch(repository, &commit, &[&[CONFIG][..], &tokenizer_files(&files)].concat(), report)?;
    } else {
        let other = if parts == Parts::All { named.tokenizer_repository()? } else { None };
        if other.is_none() && parts == Parts::All {
            return Err(Refusal::NoTokenizer { reference: named.reference.clone(), repository: repository.clone() });
        }
        client.fetch(repository, &commit, &[CONFIG], report)?;
        if let Some(other) = other {
            download_tokenizer(client, &named.reference, &other, MAIN, report)?;
        }
    }
    let folder = client.fetch(repository, &commit, &[weights], report)?;
    let shards = checkpoint::shards(&folder.join(weights))?;
    let shards: Vec<&str> = shards.iter().map(String::as_str).collect();
    client.fetch(repository, &commit, &shards, report)?;
    // Last, so that a revision is never known by a commit that is not whole.
    client.pin(repository, revision, &commit)?;
    Ok(())
}
