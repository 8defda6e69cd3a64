//! A folder to run the binary in, shared by the tests of the command line.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use polars::prelude::*;
use tempfile::TempDir;

/// One model, two tasks, two trials.
pub(crate) const TINY: &str = "\
name: tiny
models: [builtin:mamba2-world]
tasks: [world_lambada, world_piqa]
strategies:
  - dense
  - random: { seeds: [0] }
schedule: { sites: [4, 8], keep_ratio: [0.8] }
limit: 2
";

/// Columns that tell how long something took or how much memory it used.
const TIMINGS: [&str; 3] = ["tokens_per_s", "peak_mem_bytes", "wall_s"];

/// A folder with an experiment; the program runs inside it, so that messages hold no path of this machine.
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) fn new(experiment: &str) -> Self {
        let desk = Self(TempDir::new().unwrap());
        fs::write(desk.path("tiny.yaml"), experiment).unwrap();
        desk
    }

    /// As [`Desk::new`], with files of own rows in the data directory `data`.
    pub(crate) fn with_data(experiment: &str, files: &[(&str, &str)]) -> Self {
        let desk = Self::new(experiment);
        for (name, rows) in files {
            let path = desk.path("data").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, rows).unwrap();
        }
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // A test that was carried to another machine is told where the program lies there.
        let carried = std::env::var_os("SWEEP").map(PathBuf::from);
        let mut command = Command::new(carried.unwrap_or_else(|| assert_cmd::cargo::cargo_bin!("sweep").to_owned()));
        command.args(arguments).current_dir(self.0.path()).env_remove("SWEEP_LOG").env_remove("SWEEP_DATA_DIR");
        // Neither the hub nor what somebody downloaded from it; tests of a hub name their own.
        for variable in
            ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
        {
            command.env_remove(variable);
        }
        command.env("SWEEP_CACHE_DIR", "rates");
        command.env("HF_HOME", "hf").env("HF_HUB_OFFLINE", "1");
        // The tests may themselves run in a task of a scheduler.
        for variable in ["SLURM_ARRAY_TASK_ID", "HQ_TASK_ID", "JOB_COMPLETION_INDEX"] {
            command.env_remove(variable);
        }
        command
    }

    /// As [`Desk::command`], with downloads from the hub at `endpoint`, to which nobody has a token.
    pub(crate) fn command_on_hub(&self, arguments: &[&str], endpoint: &str) -> Command {
        let mut command = self.command(arguments);
        for variable in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"] {
            command.env_remove(variable);
        }
        command.env("HF_ENDPOINT", endpoint);
        command
    }

    pub(crate) fn sweep(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the experiment into `out`; returns stderr.
    pub(crate) fn run(&self, out: &str) -> String {
        let output = self.sweep(&["run", "tiny.yaml", "--out", out]);
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        stderr
    }

    /// Runs the experiment, which must be refused before anything is written; returns stderr.
    pub(crate) fn refused(&self) -> String {
        let before = self.listing();
        let output = self.sweep(&["run", "tiny.yaml", "--out", "out"]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(text(&output.stdout), "");
        assert_eq!(self.listing(), before, "nothing is written");
        stderr
    }

    pub(crate) fn listing(&self) -> Vec<PathBuf> {
        let mut names: Vec<_> = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }

    pub(crate) fn cells(&self, out: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(out).join("cells")).into_iter().flatten();
        let mut cells: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        cells.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        cells.sort();
        cells
    }

    /// The frames of a results folder: `trials.csv` without timings, the others byte for byte.
    pub(crate) fn frames(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let mut frames = BTreeMap::new();
        for name in ["items.parquet", "item_metrics.parquet", "sites.parquet", "overlaps.parquet"] {
            frames.insert(name.to_owned(), fs::read(self.path(out).join(name)).unwrap());
        }
        let trials = without_timings(&self.path(out).join("trials.parquet"));
        frames.insert("trials".to_owned(), trials.into_bytes());
        frames
    }

    /// A model folder with the weights of the smaller Mamba-2, which a test then damages.
    pub(crate) fn model_folder(&self) -> PathBuf {
        let builtin = ssm_model::catalog::builtin("mamba2-world").unwrap();
        let folder = self.path("model");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("config.json"), builtin.config_json).unwrap();
        fs::write(folder.join("model.safetensors"), builtin.safetensors).unwrap();
        fs::write(folder.join("tokenizer.json"), builtin.tokenizer_json).unwrap();
        folder
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn parquet(path: &Path) -> DataFrame {
    ParquetReader::new(fs::File::open(path).unwrap()).finish().unwrap()
}

pub(crate) fn without_timings(path: &Path) -> String {
    let mut frame = parquet(path).drop_many(TIMINGS);
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(&mut frame).unwrap();
    text(&bytes)
}
