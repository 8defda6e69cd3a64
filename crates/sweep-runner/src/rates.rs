//! How fast models ran on this machine: what runs measured, kept in the user's cache folder, for the estimates of later plans.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use records::files::{self, Durability};
use records::regular;
use serde::{Deserialize, Serialize};

use crate::config::ModelFacts;
use crate::plan::{ExperimentPlan, Setting};

/// Names the folder in place of `$XDG_CACHE_HOME/ssm-reduce` and `~/.cache/ssm-reduce`.
const FOLDER: &str = "SWEEP_CACHE_DIR";

/// The shortest time that tells a rate.
const LEAST_SECONDS: f64 = 0.05;

/// What cells of a model took together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Took {
    /// Cells.
    pub cells: usize,
    /// Their estimated FLOPs.
    pub flops: f64,
    /// Their wall time in seconds.
    pub seconds: f64,
    /// The largest of their peaks of memory, in bytes.
    pub peak_mem_bytes: u64,
}

/// The rate of a model on a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Name and cores of the machine.
    machine: String,
    /// Reference of the model, for people.
    model: String,
    weights_digest: String,
    device: String,
    dtype: String,
    /// Estimated FLOPs per second of wall time, what cells shared and what the host did included.
    pub flops_per_s: f64,
    /// Peak memory in bytes.
    pub peak_mem_bytes: u64,
    /// Cells that it was measured over.
    pub cells: usize,
    /// Seconds since 1970-01-01 UTC.
    measured_at: u64,
}

/// The rates that this user's runs measured.
#[derive(Clone, Debug, Default)]
pub struct Rates(Vec<Rate>);

impl Rates {
    /// Reads them; none where there is no file, or one that cannot be read: they are measured again.
    #[must_use]
    pub fn read() -> Self {
        let text = file().and_then(|file| regular::read_text(&file, regular::MAX_BYTES).ok());
        Self(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// The rate of a model here.
    #[must_use]
    pub fn of(&self, model: &ModelFacts, setting: &Setting) -> Option<&Rate> {
        let machine = machine();
        self.0.iter().find(|rate| rate.machine == machine && rate.is_of(model, setting))
    }

    /// Takes what a run measured in place of what was known, and writes it down. A model that computed for less
    /// than `LEAST_SECONDS` tells nothing.
    ///
    /// # Errors
    /// The cache folder cannot be written.
    pub fn learn(plan: &ExperimentPlan, took: &[Took]) -> io::Result<()> {
        let machine = machine();
        let measured = |(model, took): (&ModelFacts, &Took)| {
            (took.seconds >= LEAST_SECONDS).then(|| Rate {
                machine: machine.clone(),
                model: model.reference.clone(),
                weights_digest: model.weights_digest.clone(),
                device: plan.setting.device.clone(),
                dtype: plan.setting.dtype.clone(),
                flops_per_s: took.flops / took.seconds,
                peak_mem_bytes: took.peak_mem_bytes,
                cells: took.cells,
                measured_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            })
        };
        let new: Vec<Rate> = plan.models.iter().zip(took).filter_map(measured).collect();
        let Some(file) = file().filter(|_| !new.is_empty()) else { return Ok(()) };
        let mut rates = Self::read().0;
        for (model, _) in plan.models.iter().zip(took).filter(|(_, took)| took.seconds >= LEAST_SECONDS) {
            rates.retain(|rate| !(rate.machine == machine && rate.is_of(model, &plan.setting)));
        }
        rates.extend(new);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        files::write(&file, serde_json::to_string_pretty(&rates)?.as_bytes(), Durability::Plain)
    }
}

impl Rate {
    fn is_of(&self, model: &ModelFacts, setting: &Setting) -> bool {
        (&self.weights_digest, &self.device, &self.dtype) == (&model.weights_digest, &setting.device, &setting.dtype)
    }
}

/// The file of the rates; none where no home folder is known.
fn file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let folder = set(FOLDER).or_else(|| cache().map(|cache| cache.join("ssm-reduce")))?;
    Some(folder.join("rates.json"))
}

/// A cache folder may be shared by machines.
fn machine() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{}, {cores} cores", name.trim())
}
