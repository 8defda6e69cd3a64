//! Where and with what a run happened: provenance, never part of a result.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use evaluation::executor::Sharing;
use evaluation::tasks::Split;
use records::owner::Owner;
use serde::{Deserialize, Serialize};

use crate::config::{Experiment, Override};
use crate::plan::ExperimentPlan;

/// Provenance of one process that ran into a results folder.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    /// Name of the machine.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// Version of this program.
    pub version: &'static str,
    /// Git revision it was built from, with `-dirty` where its sources were not those of the revision.
    pub git_revision: &'static str,
    /// Digest of all sources that it was built from.
    pub sources: &'static str,
    /// Compiler that built it.
    pub rustc: &'static str,
    /// Command line.
    pub arguments: Vec<String>,
    /// Keys of the experiment that the command line set, with what the file says.
    pub overrides: Vec<Override>,
    /// Items of each task that it may see.
    pub split: Split,
    /// Start of the run, seconds since 1970-01-01 UTC.
    pub started_unix_s: u64,
    /// Processor name.
    pub cpu: String,
    /// Threads that the run uses.
    pub threads: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Operating system and architecture.
    pub platform: String,
    /// Reference, digest of the weights, digest of the tokenizer.
    pub models: Vec<(String, String, String)>,
    /// What came from a hub.
    pub hub: Vec<HubCommit>,
    /// Those of them whose weights are RANDOM: their times and memory mean something, their scores do not.
    pub random_models: Vec<String>,
    /// Name and digest of each task's data.
    pub tasks: Vec<(String, String)>,
    /// Groups of items that this process ran, so far.
    pub groups: usize,
    /// What sharing saved in them; none where cells ran one by one.
    pub sharing: Option<SharingRecord>,
    /// Why the process stopped before its work was done; none while it runs, when it was done, and where it was killed.
    pub stopped: Option<String>,
}

impl Manifest {
    /// Name among the manifests of a results folder.
    pub fn name(&self) -> String {
        let host: String = self.host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        format!("{}-{host}-{}", self.started_unix_s, self.pid)
    }
}

/// A repository of a hub that a model, its tokenizer or the rows of a benchmark were taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HubCommit {
    /// The model's reference, or the task, in the experiment.
    pub reference: String,
    /// The repository, `owner/name` or `datasets/owner/name`; another one than the reference names where it has the tokenizer.
    pub repository: String,
    /// Branch, tag or commit that was asked for.
    pub revision: String,
    /// The commit that was used.
    pub commit: String,
}

/// What `sweep status` reads of a manifest.
#[derive(Clone, Debug, Deserialize)]
pub struct Contribution {
    /// Its machine.
    pub host: String,
    /// Its number there.
    pub pid: u32,
    /// Groups that the process ran.
    pub groups: usize,
    /// What sharing saved in them.
    pub sharing: Option<SharingRecord>,
    /// Why it stopped before its work was done.
    #[serde(default)]
    pub stopped: Option<String>,
}

/// What the cells of the run asked for, and what was executed. A token-layer is one token in one layer.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct SharingRecord {
    /// Token-layers where every choice of every cell runs by itself with a context of its own.
    pub token_layers_by_request: u64,
    /// Token-layers that the cells execute when each runs alone; `context` computes a context once for all its choices.
    pub token_layers_asked: u64,
    /// Token-layers that were executed.
    pub token_layers_executed: u64,
    /// Rows that pass through the head when each cell runs alone.
    pub head_rows_asked: u64,
    /// Rows that passed through the head.
    pub head_rows_executed: u64,
}

impl std::ops::AddAssign for SharingRecord {
    fn add_assign(&mut self, other: Self) {
        self.token_layers_by_request += other.token_layers_by_request;
        self.token_layers_asked += other.token_layers_asked;
        self.token_layers_executed += other.token_layers_executed;
        self.head_rows_asked += other.head_rows_asked;
        self.head_rows_executed += other.head_rows_executed;
    }
}

impl From<Sharing> for SharingRecord {
    fn from(sharing: Sharing) -> Self {
        Self {
            token_layers_by_request: sharing.token_layers_by_request,
            token_layers_asked: sharing.token_layers_asked,
            token_layers_executed: sharing.token_layers_executed,
            head_rows_asked: sharing.head_rows_asked,
            head_rows_executed: sharing.head_rows_executed,
        }
    }
}

/// Collects the provenance of a run that starts now; `hub` says what came from a hub.
pub fn collect(experiment: &Experiment, plan: &ExperimentPlan, hub: Vec<HubCommit>) -> Manifest {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let memory_kib = field("/proc/meminfo", "MemTotal").split_whitespace().next().and_then(|kib| kib.parse().ok());
    Manifest {
        host: Owner::me().host.clone(),
        pid: Owner::me().pid,
        version: env!("CARGO_PKG_VERSION"),
        git_revision: env!("SSM_REDUCE_GIT_REVISION"),
        sources: crate::code::SOURCES,
        rustc: env!("SSM_REDUCE_RUSTC"),
        arguments: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
        overrides: experiment.overrides.clone(),
        split: experiment.split,
        started_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()),
        cpu: field("/proc/cpuinfo", "model name"),
        threads: rayon::current_num_threads(),
        memory_bytes: memory_kib.unwrap_or(0_u64) * 1024,
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        models: plan
            .models
            .iter()
            .map(|model| (model.reference.clone(), model.weights_digest.clone(), model.tokenizer_digest.clone()))
            .collect(),
        hub,
        random_models: plan
            .models
            .iter()
            .filter(|model| model.is_random())
            .map(|model| model.reference.clone())
            .collect(),
        tasks: plan.tasks.iter().map(|task| (task.name.clone(), task.data_digest.clone())).collect(),
        groups: 0,
        sharing: None,
        stopped: None,
    }
}
