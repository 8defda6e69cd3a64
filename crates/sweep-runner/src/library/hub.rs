//! Models of a hub: `hub:owner/name`, `hub:owner/name@revision`. Which files of a repository make a model, found in the cache or
//! downloaded into it.
//!
//! What the cache holds is used without asking the hub, so that a branch stands for the same commit in all processes of a run and
//! until `sweep fetch` asks again.

mod progress;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use hub::{Cache, Client, HubError, Kind, Listing, Repository, Settings};
use ssm_model::catalog;
use ssm_model::checkpoint::{self, CheckpointError};
use thiserror::Error;

use super::Downloads;
use crate::config::CatalogError;
use crate::record::manifest::HubCommit;
use progress::Progress;

/// Revision of a reference that names none.
const MAIN: &str = "main";

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// Names the token that begins a text; taken along where it is there, and read beside the tokenizer.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Models of the hub that this process uses. Each is looked up once: from then on it stands for the same files.
#[derive(Default)]
pub(super) struct Hub {
    downloads: Downloads,
    found: Mutex<BTreeMap<String, HubModel>>,
}

/// A model in the cache, whole.
#[derive(Clone, Debug)]
pub(super) struct HubModel {
    /// Folder with configuration and weights.
    pub(super) folder: PathBuf,
    /// Files that can change its output, in name order; the tokenizer is not among them.
    pub(super) files: Vec<PathBuf>,
    /// Its `tokenizer.json`, which may be another repository's.
    pub(super) tokenizer: PathBuf,
    commits: Vec<HubCommit>,
}

/// Why a model of the hub could not be had.
#[derive(Debug, Error)]
enum Refusal {
    #[error("{0}")]
    Hub(#[from] HubError),
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("`{reference}` is not in the cache")]
    NotCached { reference: String },
    #[error("{repository} holds no model that this program can read: it has no {what}")]
    NoModel { repository: Repository, what: &'static str },
    #[error("{repository} has no tokenizer.json")]
    NoTokenizer { repository: Repository },
}

impl Refusal {
    fn hint(&self) -> String {
        match self {
            Self::Hub(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::NotCached { reference } => {
                format!("`sweep fetch {reference}` downloads it; `sweep run` does so by itself")
            }
            Self::NoModel { .. } => {
                "safetensors and pytorch_model.bin are read; name another repository or revision".to_owned()
            }
            Self::NoTokenizer { .. } => {
                "download it into a folder, put the tokenizer.json that it was trained with there, and name the folder"
                    .to_owned()
            }
        }
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
        HubCommit {
            reference: self.reference.clone(),
            repository: repository.id().to_owned(),
            revision: revision.to_owned(),
            commit: commit.to_owned(),
        }
    }
}

impl Hub {
    pub(super) fn new(downloads: Downloads) -> Self {
        Self { downloads, ..Self::default() }
    }

    /// The model behind `reference`, which is `rest` without its `hub:`.
    pub(super) fn model(&self, reference: &str, rest: &str) -> Result<HubModel, CatalogError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = found.get(reference) {
            return Ok(model.clone());
        }
        let model = self.obtain(reference, rest).map_err(|refusal| CatalogError {
            message: refusal.to_string(),
            hint: Some(refusal.hint()),
            label: "not on this machine",
        })?;
        found.insert(reference.to_owned(), model.clone());
        Ok(model)
    }

    /// The commits that the references asked for so far stand for, in the order of the references.
    pub(super) fn commits(&self) -> Vec<HubCommit> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.values().flat_map(|model| model.commits.clone()).collect()
    }

    fn obtain(&self, reference: &str, rest: &str) -> Result<HubModel, Refusal> {
        let named = Named::parse(reference, rest)?;
        let settings = Settings::from_env()?;
        let cache = Cache::new(settings.cache.clone());
        if self.downloads != Downloads::Refresh
            && let Some(model) = cached(&cache, &named)?
        {
            return Ok(model);
        }
        if self.downloads != Downloads::Never {
            download(&Client::new(&settings), &named)?;
        }
        cached(&cache, &named)?.ok_or_else(|| Refusal::NotCached { reference: reference.to_owned() })
    }
}

/// The model as far as the cache has it; none if anything is missing.
fn cached(cache: &Cache, named: &Named) -> Result<Option<HubModel>, Refusal> {
    let Named { repository, revision, .. } = named;
    let Some(commit) = cache.commit(repository, revision)? else { return Ok(None) };
    let file = |name: &str| cache.file(repository, &commit, name);
    let weights = checkpoint::weights_file(|name| file(name).is_ok_and(|file| file.is_some()));
    let (Some(config), Some(weights)) = (file(CONFIG)?, weights) else { return Ok(None) };
    let folder = cache.snapshot(repository, &commit);
    let mut files = vec![config, folder.join(weights)];
    for shard in checkpoint::shards(&folder.join(weights))? {
        let Some(shard) = file(&shard)? else { return Ok(None) };
        files.push(shard);
    }
    files.sort();
    let mut commits = vec![named.commit(repository, revision, &commit)];
    if let Some(tokenizer) = file(TOKENIZER)? {
        return Ok(Some(HubModel { folder, files, tokenizer, commits }));
    }
    let Some(other) = named.tokenizer_repository()? else { return Ok(None) };
    let Some(commit) = cache.commit(&other, MAIN)? else { return Ok(None) };
    commits.push(named.commit(&other, MAIN, &commit));
    let tokenizer = cache.file(&other, &commit, TOKENIZER)?;
    Ok(tokenizer.map(|tokenizer| HubModel { folder, files, tokenizer, commits }))
}

/// What a tokenizer is made of in a repository that has one.
fn tokenizer_files(listed: &[String]) -> Vec<&'static str> {
    let config = listed.iter().any(|file| file == TOKENIZER_CONFIG).then_some(TOKENIZER_CONFIG);
    [TOKENIZER].into_iter().chain(config).collect()
}

/// Brings everything that [`cached`] looks for into the cache: what is small first, so that a repository that cannot be used is
/// refused before its weights are there.
fn download(client: &Client, named: &Named) -> Result<(), Refusal> {
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
        let Some(other) = named.tokenizer_repository()? else {
            return Err(Refusal::NoTokenizer { repository: repository.clone() });
        };
        client.fetch(repository, &commit, &[CONFIG], report)?;
        let listing = client.list(&other, MAIN, report)?;
        client.fetch(&other, &listing.commit, &tokenizer_files(&listing.files), report)?;
        client.pin(&other, MAIN, &listing.commit)?;
    }
    let folder = client.fetch(repository, &commit, &[weights], report)?;
    let shards = checkpoint::shards(&folder.join(weights))?;
    let shards: Vec<&str> = shards.iter().map(String::as_str).collect();
    client.fetch(repository, &commit, &shards, report)?;
    // Last, so that a revision is never known by a commit that is not whole.
    client.pin(repository, revision, &commit)?;
    Ok(())
}
