//! Benchmarks whose rows come from data sets of a hub: from Parquet to documents, and on the command line from download to records.
//! `make.py` made the files beside this one. The hub is a local one.
#![cfg(feature = "hub")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use crate::desk::{Desk, parquet, text};
use crate::server::{COMMIT, Repo, Server};
use evaluation::tasks::{
    Benchmark, Data, DatasetError, Datasets, Document, HubSplit, Prompting, Source, Split, benchmarks, documents,
};
use insta::assert_snapshot;
use polars::prelude::DataFrame;
use sweep_runner::library::json_lines;

fn file(folder: &str, split: &str) -> PathBuf {
    let name = format!("{}.parquet", split.replace('/', "--"));
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command/datasets").join(folder).join(name)
}

/// The data sets of this folder in place of a hub.
#[derive(Debug)]
struct Own;

impl Datasets for Own {
    fn rows(&self, _task: &str, split: &HubSplit) -> Result<String, DatasetError> {
        json_lines(&file("own", &split.to_string()))
            .map_err(|error| DatasetError { message: error.to_string(), hint: None })
    }
}

#[test]
fn rows_of_the_hub_make_the_documents_of_the_released_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../evaluation/tests/oracle/rows");
    let read = |task: &Benchmark, data: Data| -> Vec<Document> {
        let source = Source { data, prompting: Prompting::default() };
        documents(task.name, &source, Split::All, None).unwrap_or_else(|error| panic!("{}: {error}", task.name))
    };
    let on_hub: Vec<&Benchmark> = benchmarks().iter().filter(|task| task.data.hub.is_some()).collect();
    assert_eq!(on_hub.len(), 11);
    for task in on_hub {
        let (hub, files) = (read(task, Data::Hub(Arc::new(Own))), read(task, Data::Folder(folder.clone())));
        assert!(!files.is_empty() && hub.len() == files.len(), "{}", task.name);
        for (index, (hub, file)) in hub.iter().zip(&files).enumerate() {
            assert_eq!(
                (&hub.requests, hub.gold, &hub.facts),
                (&file.requests, file.gold, &file.facts),
                "{}",
                task.name
            );
            // The data set on the hub has lost the ids of the release.
            let id = if task.name == "winogrande" { format!("winogrande-{index}") } else { file.id.clone() };
            assert_eq!(hub.id, id);
        }
    }
}

#[test]
fn lists_structs_and_labels_become_json() {
    let rows = json_lines(&file("own", "allenai/ai2_arc/ARC-Easy/test")).unwrap();
    assert_snapshot!(rows.lines().next().unwrap(), @r#"{"answerKey":"C","choices":{"label":["A","B","C","D"],"text":["the moon","a stone","the sun","a mirror"]},"id":"own-1","question":"Which of these is a source of light?"}"#);
    let rows = json_lines(&file("own", "baber/piqa/default/validation")).unwrap();
    assert_snapshot!(rows.lines().next().unwrap(), @r#"{"goal":"How can a stuck drawer be made to slide?","label":0,"sol1":"Rub its edges with a candle.","sol2":"Rub its edges with honey."}"#);
}

const EXPERIMENT: &str = "\
name: tiny
models: [builtin:mamba2-world]
tasks: [lambada_openai, arc_easy]
strategies: [dense, top_k]
schedule: { sites: [4, 8], keep_ratio: [0.8] }
";

struct Hubbed {
    desk: Desk,
    server: Server,
}

/// A data set with the files of some splits.
fn data_set(repository: &str, splits: &[&str]) -> Repo {
    let repo = Repo::new(&format!("datasets/{repository}")).small("README.md", "# A data set");
    splits.iter().fold(repo, |repo, split| {
        let bytes = fs::read(file("world", &format!("{repository}/{split}"))).unwrap();
        repo.large(&format!("{split}/0000.parquet"), bytes)
    })
}

impl Hubbed {
    fn new() -> Self {
        let lambada = data_set("EleutherAI/lambada_openai", &["default/test"]);
        let arc = data_set("allenai/ai2_arc", &["ARC-Easy/test", "ARC-Easy/train"]);
        Self::with(vec![lambada, arc])
    }

    fn with(repos: Vec<Repo>) -> Self {
        Self { desk: Desk::new(EXPERIMENT), server: Server::start(repos) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.desk.command_on_hub(arguments, &self.server.endpoint())
    }

    fn done(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        output
    }

    /// Exit code 2; returns stderr without this machine's ports.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        stderr.replace(&self.server.endpoint()["http://".len()..], "HUB")
    }
}

/// What a run measured of each item, without the ids, which depend on the data.
fn items(desk: &Desk, out: &str) -> DataFrame {
    parquet(&desk.path(out).join("items.parquet")).drop("trial_id").unwrap()
}

#[test]
fn benchmarks_go_from_download_to_records_and_run_again_offline() {
    let hubbed = Hubbed::new();
    // The whole of it is in `benchmarks.rs`.
    assert!(hubbed.refused(&["plan", "tiny.yaml"]).contains("ARC-Easy/test is not in the cache"));
    assert_eq!(hubbed.server.requests(), [], "a plan asks nobody");
    let arguments = ["run", "tiny.yaml", "--out", "first", "--device", "cpu", "--workers", "2"];
    let stderr = text(&hubbed.done(&arguments).stderr);
    assert!(stderr.contains("arc_easy: downloading 1 file, "), "{stderr}");
    let requests = hubbed.server.requests().into_iter();
    let downloads = requests.filter(|request| request.elsewhere && request.method == "GET").count();
    assert_eq!(downloads, 2, "each once, for three processes; nothing of the training split");
    for manifest in fs::read_dir(hubbed.desk.path("first/manifests")).unwrap() {
        let manifest = fs::read_to_string(manifest.unwrap().path()).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let used = |task: &str, repository: &str| serde_json::json!({ "reference": task, "repository": repository, "revision": "refs/convert/parquet", "commit": COMMIT });
        let both = [
            used("arc_easy", "datasets/allenai/ai2_arc"),
            used("lambada_openai", "datasets/EleutherAI/lambada_openai"),
        ];
        assert_eq!(manifest["hub"], serde_json::json!(both));
    }
    let offline = hubbed.command(&["run", "tiny.yaml", "--out", "second"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(offline.status.success(), "{}", text(&offline.stderr));
    assert_eq!(hubbed.desk.frames("second"), hubbed.desk.frames("first"));
    assert_eq!(hubbed.server.requests(), [], "nobody is asked any more");
    let listed = text(&hubbed.done(&["tasks"]).stdout);
    let row = |task: &str| listed.lines().find(|line| line.trim_start().starts_with(task)).unwrap().to_owned();
    let words = |task: &str| row(task).split_whitespace().take(6).collect::<Vec<_>>().join(" ");
    assert_eq!(words("arc_easy"), "arc_easy 2 acc, acc_norm, loss allenai/ai2_arc/ARC-Easy/test");
    assert_eq!(words("piqa"), "piqa not here acc, acc_norm, loss");
    // The same rows from a folder are asked alike.
    for (split, name) in [
        ("EleutherAI/lambada_openai/default/test", "lambada/lambada_test.jsonl"),
        ("allenai/ai2_arc/ARC-Easy/test", "arc/ARC-Easy-Test.jsonl"),
    ] {
        let path = hubbed.desk.path("data").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, json_lines(&file("world", split)).unwrap()).unwrap();
    }
    hubbed.done(&["run", "tiny.yaml", "--out", "third", "--data-dir", "data"]);
    assert!(items(&hubbed.desk, "third").equals_missing(&items(&hubbed.desk, "first")));
}

#[test]
fn what_is_fetched_is_what_is_asked_for() {
    let hubbed = Hubbed::new();
    let fetched = text(&hubbed.done(&["fetch", "arc_easy"]).stdout);
    assert_eq!(fetched, format!("arc_easy\tdatasets/allenai/ai2_arc\trefs/convert/parquet\t{COMMIT}\n"));
    // Examples come from another split of the commit that is there.
    fs::write(hubbed.desk.path("tiny.yaml"), format!("{EXPERIMENT}fewshot: 1\n").replace("lambada_openai, ", ""))
        .unwrap();
    hubbed.server.requests();
    hubbed.done(&["run", "tiny.yaml", "--out", "out"]);
    let asked: Vec<String> = hubbed.server.requests().into_iter().map(|request| request.path).collect();
    assert!(asked.iter().any(|path| path.ends_with(&format!("/revision/{COMMIT}"))), "{asked:?}");
    assert!(asked.iter().any(|path| path.contains("ARC-Easy/train/0000.parquet")), "{asked:?}");
    assert!(asked.iter().all(|path| !path.contains("/test/")), "{asked:?}");
}

#[test]
fn random_weights_take_their_tokenizer_from_the_hub_too() {
    let builtin = ssm_model::catalog::builtin("mamba2-world").unwrap();
    let tokenizer = Repo::new("EleutherAI/gpt-neox-20b").small("tokenizer.json", builtin.tokenizer_json);
    let hubbed = Hubbed::with(vec![tokenizer, data_set("allenai/ai2_arc", &["ARC-Easy/test"])]);
    let experiment = EXPERIMENT.replace("builtin:mamba2-world", "random:mamba2-130m").replace("lambada_openai, ", "");
    fs::write(hubbed.desk.path("tiny.yaml"), experiment).unwrap();
    hubbed.done(&["fetch", "arc_easy"]);
    let stderr = hubbed.refused(&["plan", "tiny.yaml"]);
    assert!(stderr.contains("needs the tokenizer of EleutherAI/gpt-neox-20b"), "{stderr}");
    assert_snapshot!(text(&hubbed.done(&["fetch", "tiny.yaml"]).stdout), @"
    random:mamba2-130m	EleutherAI/gpt-neox-20b	main	0123456789abcdef0123456789abcdef01234567
    arc_easy	datasets/allenai/ai2_arc	refs/convert/parquet	0123456789abcdef0123456789abcdef01234567
    ");
    hubbed.server.requests();
    hubbed.done(&["plan", "tiny.yaml"]);
    assert_eq!(hubbed.server.requests(), []);
}

/// The first file of several would be some of the items under the name of all.
#[test]
fn a_split_in_several_files_is_read_whole_or_refused() {
    let part = |split: &str| fs::read(file("world", &format!("allenai/ai2_arc/{split}"))).unwrap();
    let repo = data_set("allenai/ai2_arc", &["ARC-Easy/test"])
        .large("ARC-Easy/test/0001.parquet", part("ARC-Easy/train"))
        .small("ARC-Easy/test/README", "no part");
    let hubbed = Hubbed::with(vec![repo]);
    fs::write(hubbed.desk.path("tiny.yaml"), EXPERIMENT.replace("lambada_openai, ", "")).unwrap();
    hubbed.done(&["fetch", "arc_easy"]);
    let asked = hubbed.server.requests().into_iter().filter(|request| request.elsewhere && request.method == "GET");
    assert_eq!(asked.count(), 2);
    let rows = ["test", "train"]
        .map(|split| json_lines(&file("world", &format!("allenai/ai2_arc/ARC-Easy/{split}"))).unwrap().lines().count());
    hubbed.done(&["run", "tiny.yaml", "--out", "out"]);
    let of_dense = items(&hubbed.desk, "out").height() / 2;
    assert_eq!(of_dense, rows[0] + rows[1], "all parts, of two trials");
    // The same rows in one file of a folder are the same data.
    let lines = ["test", "train"]
        .map(|split| json_lines(&file("world", &format!("allenai/ai2_arc/ARC-Easy/{split}"))).unwrap())
        .concat();
    fs::create_dir_all(hubbed.desk.path("data/arc")).unwrap();
    fs::write(hubbed.desk.path("data/arc/ARC-Easy-Test.jsonl"), lines).unwrap();
    hubbed.done(&["run", "tiny.yaml", "--out", "again", "--data-dir", "data"]);
    assert!(items(&hubbed.desk, "again").equals_missing(&items(&hubbed.desk, "out")));
    // A part whose bytes are gone.
    let cached = hubbed.desk.path("hf/hub/datasets--allenai--ai2_arc/snapshots").join(COMMIT).join("ARC-Easy/test");
    fs::remove_file(fs::canonicalize(cached.join("0001.parquet")).unwrap()).unwrap();
    hubbed.server.requests();
    assert_snapshot!(hubbed.refused(&["plan", "tiny.yaml"]), @"
     × `arc_easy`: allenai/ai2_arc/ARC-Easy/test is not whole in the cache: 0001.parquet is missing
      ╭─[tiny.yaml:3:9]
    2 │ models: [builtin:mamba2-world]
    3 │ tasks: [arc_easy]
      ·         ────┬───
      ·             ╰── not on this machine
    4 │ strategies: [dense, top_k]
      ╰────
     help: `sweep fetch arc_easy` downloads what is missing; or name a folder that holds it with --data-dir
    ");
    fs::remove_file(cached.join("0001.parquet")).unwrap();
    fs::rename(cached.join("0000.parquet"), cached.join("0002.parquet")).unwrap();
    assert!(hubbed.refused(&["plan", "tiny.yaml"]).contains("0000.parquet is missing"));
    assert_eq!(hubbed.server.requests(), []);
    hubbed.done(&["fetch", "arc_easy"]);
}

#[test]
fn data_sets_that_cannot_be_used_are_refused() {
    let absent = Hubbed::with(vec![data_set("allenai/ai2_arc", &[])]);
    assert_snapshot!(absent.refused(&["fetch", "arc_esy"]), @"
    × `arc_esy` is no file, no reference and no benchmark
    help: did you mean the benchmark `arc_easy`?
    ");
    assert_snapshot!(absent.refused(&["fetch", "nowhere.yaml"]), @"
    × `nowhere.yaml` is no file, no reference and no benchmark
    help: write an experiment file, hub:<owner>/<name>, or a benchmark of `sweep tasks`
    ");
    assert_snapshot!(absent.refused(&["fetch", "arc_easy"]), @"
    × `arc_easy`: datasets/allenai/ai2_arc has no file ARC-Easy/test/0000.parquet at `refs/convert/parquet`
    help: the data set has changed; put its rows into a folder and name that with --data-dir, as docs/models-
          and-data.md says
    ");
    assert_snapshot!(absent.refused(&["fetch", "lambada_openai"]), @"
    × `lambada_openai`: the hub has no repository datasets/EleutherAI/lambada_openai
    help: look the name up on the hub; a private one needs HF_TOKEN
    ");
    let gap = data_set("allenai/ai2_arc", &["ARC-Easy/test"]).small("ARC-Easy/test/0002.parquet", "more");
    assert_snapshot!(Hubbed::with(vec![gap]).refused(&["fetch", "arc_easy"]), @"
    × `arc_easy`: datasets/allenai/ai2_arc has no file ARC-Easy/test/0001.parquet at `refs/convert/parquet`
    help: the data set has changed; put its rows into a folder and name that with --data-dir, as docs/models-
          and-data.md says
    ");
    let damaged = Repo::new("datasets/allenai/ai2_arc").small("ARC-Easy/test/0000.parquet", "no rows");
    let damaged = Hubbed::with(vec![damaged]);
    let refusal = damaged.refused(&["fetch", "arc_easy"]);
    assert!(refusal.contains("0000.parquet is damaged"), "{refusal}");
    assert!(refusal.contains("delete the file and fetch it again"), "{refusal}");
    let hubbed = Hubbed::new();
    fs::create_dir(hubbed.desk.path("data")).unwrap();
    // A folder that was named is all that is looked at.
    assert_snapshot!(hubbed.refused(&["run", "tiny.yaml", "--out", "out", "--data-dir", "data"]), @"
    Error: 
      × `lambada_openai` has no data in data: there is no lambada/lambada_test.jsonl and no lambada/
      │ lambada_test_en.jsonl
       ╭─[tiny.yaml:3:9]
     2 │ models: [builtin:mamba2-world]
     3 │ tasks: [lambada_openai, arc_easy]
       ·         ───────┬──────
       ·                ╰── not on this machine
     4 │ strategies: [dense, top_k]
       ╰────
      help: a file may be compressed by bzip2, with .bz2 behind its name; docs/models-and-data.md says what is
            read. Without a data directory the rows of EleutherAI/lambada_openai are downloaded

    Error: 
      × `arc_easy` has no data in data: there is no arc/ARC-Easy-Test.jsonl
       ╭─[tiny.yaml:3:25]
     2 │ models: [builtin:mamba2-world]
     3 │ tasks: [lambada_openai, arc_easy]
       ·                         ────┬───
       ·                             ╰── not on this machine
     4 │ strategies: [dense, top_k]
       ╰────
      help: a file may be compressed by bzip2, with .bz2 behind its name; docs/models-and-data.md says what is
            read. Without a data directory the rows of allenai/ai2_arc are downloaded
    ");
    assert_eq!(hubbed.server.requests(), []);
}
