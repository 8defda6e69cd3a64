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

/// What this process uses of the hub. Everything is looked up once: from then on it stands for the same files.
#[derive(Debug, Default)]
pub(super) struct Hub {
    downloads: Downloads,
    found: Mutex<BTreeMap<String, HubModel>>,
    /// Data sets, by the task that reads them.
    datasets: Mutex<BTreeMap<String, HubCommit>>,
    /// Tokenizers of models that have no repository, by the model.
    tokenizers: Mutex<BTreeMap<String, HubCommit>>,
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
    #[error("`{reference}` needs the tokenizer of {repository}, which is not in the cache")]
    TokenizerNotCached { reference: String, repository: Repository },
    #[error("{repository} holds no model that this program can read: it has no {what}")]
    NoModel { repository: Repository, what: &'static str },
    #[error("{repository} has no tokenizer.json")]
    NoTokenizer { repository: Repository },
}

impl From<Refusal> for CatalogError {
    fn from(refusal: Refusal) -> Self {
        Self { message: refusal.to_string(), hint: Some(refusal.hint()), label: "not on this machine" }
    }
}

impl Refusal {
    fn hint(&self) -> String {
        match self {
            Self::Hub(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::NotCached { reference } => {
                format!("`sweep fetch {reference}` downloads it; `sweep run` does so by itself")
            }
            Self::TokenizerNotCached { .. } => {
                "`sweep fetch FILE` downloads what an experiment needs and `sweep run` does so by itself; or name the folder that holds \
                 neox-tokenizer/20B_tokenizer.json with --data-dir or SWEEP_DATA_DIR"
                    .to_owned()
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
    pub(super) fn model(&self, reference: &str, rest: &str) -> Result<HubModel, CatalogError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = found.get(reference) {
            return Ok(model.clone());
        }
        let model = self.obtain(reference, rest)?;
        found.insert(reference.to_owned(), model.clone());
        Ok(model)
    }

    /// The `tokenizer.json` of a repository for `reference`, a model that has none of its own.
    pub(super) fn tokenizer(&self, reference: &str, repository: &str) -> Result<PathBuf, CatalogError> {
        let mut tokenizers = self.tokenizers.lock().unwrap_or_else(PoisonError::into_inner);
        let (commit, path) = self.obtain_tokenizer(reference, repository, tokenizers.is_empty())?;
        tokenizers.insert(reference.to_owned(), commit);
        Ok(path)
    }

    /// The commits that the models and data sets asked for so far stand for, each in the order of their names.
    pub(super) fn commits(&self) -> Vec<HubCommit> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let tokenizers = self.tokenizers.lock().unwrap_or_else(PoisonError::into_inner);
        let datasets = self.datasets.lock().unwrap_or_else(PoisonError::into_inner);
        let models = found.values().flat_map(|model| &model.commits);
        models.chain(tokenizers.values()).chain(datasets.values()).cloned().collect()
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

    fn obtain_tokenizer(
        &self,
        reference: &str,
        repository: &str,
        first: bool,
    ) -> Result<(HubCommit, PathBuf), Refusal> {
        let repository = Repository::new(Kind::Model, repository)?;
        let settings = Settings::from_env()?;
        let cache = Cache::new(settings.cache.clone());
        let look = || -> Result<Option<(HubCommit, PathBuf)>, Refusal> {
            let Some(commit) = cache.commit(&repository, MAIN)? else { return Ok(None) };
            let path = cache.file(&repository, &commit, TOKENIZER)?;
            Ok(path.map(|path| (commit_of(reference, &repository, MAIN, &commit), path)))
        };
        if !(first && self.downloads == Downloads::Refresh)
            && let Some(found) = look()?
        {
            return Ok(found);
        }
        if self.downloads != Downloads::Never {
            let mut progress = Progress::start(reference);
            download_tokenizer(&Client::new(&settings), &repository, &mut |event| progress.show(&event))?;
        }
        look()?.ok_or_else(|| Refusal::TokenizerNotCached {
            reference: reference.to_owned(),
            repository: repository.clone(),
        })
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

fn download_tokenizer(client: &Client, repository: &Repository, report: hub::Report<'_>) -> Result<(), Refusal> {
    let Listing { commit, files } = client.list(repository, MAIN, report)?;
    client.fetch(repository, &commit, &tokenizer_files(&files), report)?;
    Ok(client.pin(repository, MAIN, &commit)?)
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
        download_tokenizer(client, &other, report)?;
    }
    let folder = client.fetch(repository, &commit, &[weights], report)?;
    let shards = checkpoint::shards(&folder.join(weights))?;
    let shards: Vec<&str> = shards.iter().map(String::as_str).collect();
    client.fetch(repository, &commit, &shards, report)?;
    // Last, so that a revision is never known by a commit that is not whole.
    client.pin(repository, revision, &commit)?;
    Ok(())
}
