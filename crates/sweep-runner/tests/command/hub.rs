//! Models of a hub, from their name in an experiment to a report, and what is refused on the way. The hub is a local one.
#![cfg(feature = "hub")]

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Output, Stdio};

use polars::prelude::*;
use safetensors::SafeTensors;

use crate::desk::{Desk, TINY, parquet, text};
use crate::server::{COMMIT, Fault, Repo, Server};

/// The smaller Mamba-2 as a repository: its configuration, weights and tokenizer.
fn model(id: &str) -> Repo {
    let builtin = ssm_model::catalog::builtin("mamba2-world").unwrap();
    weights(id).small("tokenizer.json", builtin.tokenizer_json)
}

fn weights(id: &str) -> Repo {
    let builtin = ssm_model::catalog::builtin("mamba2-world").unwrap();
    // What else such repositories hold is not downloaded.
    let repo = Repo::new(id).small("README.md", "# A model").large("training_args.bin", "x");
    repo.small("config.json", builtin.config_json).large("model.safetensors", builtin.safetensors)
}

/// The same with the weights in two files.
fn sharded(id: &str) -> Repo {
    let builtin = ssm_model::catalog::builtin("mamba2-world").unwrap();
    let tensors = SafeTensors::deserialize(builtin.safetensors).unwrap();
    let (mut map, mut shards) = (HashMap::new(), [Vec::new(), Vec::new()]);
    for (index, (name, tensor)) in tensors.tensors().into_iter().enumerate() {
        map.insert(name.clone(), format!("model-0000{}-of-00002.safetensors", index % 2 + 1));
        shards[index % 2].push((name, tensor));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
    let mut repo = Repo::new(id).small("config.json", builtin.config_json).small("model.safetensors.index.json", index);
    for (number, shard) in shards.into_iter().enumerate() {
        let bytes = safetensors::serialize(shard, None).unwrap();
        repo = repo.large(&format!("model-0000{}-of-00002.safetensors", number + 1), bytes);
    }
    repo
}

struct Hubbed {
    desk: Desk,
    server: Server,
}

impl Hubbed {
    fn new(reference: &str, repos: Vec<Repo>) -> Self {
        let desk = Desk::new(&TINY.replace("builtin:mamba2-world", reference));
        Self { desk, server: Server::start(repos) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.desk.command_on_hub(arguments, &self.server.endpoint())
    }

    fn sweep(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn done(&self, arguments: &[&str]) -> (String, String) {
        let output = self.sweep(arguments);
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        (text(&output.stdout), stderr)
    }

    /// Exit code 2; returns stderr without this machine's ports.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.sweep(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert_eq!(text(&output.stdout), "");
        assert!(!self.desk.path("out").exists(), "no results were begun");
        stderr.replace(&self.server.endpoint()["http://".len()..], "HUB")
    }

    /// Downloads of files, by the name of their blob.
    fn downloads(&self) -> Vec<String> {
        let requests = self.server.requests().into_iter();
        let mut paths: Vec<String> = requests.filter(|r| r.elsewhere && r.method == "GET").map(|r| r.path).collect();
        paths.sort();
        paths
    }
}

/// What a run measured of each item, without the ids, which depend on the name of the model.
/// Without the ids, which tell two names of one model apart.
fn items(desk: &Desk, out: &str) -> DataFrame {
    parquet(&desk.path(out).join("items.parquet")).drop("trial_id").unwrap().drop("cell_id").unwrap()
}

#[test]
fn a_model_goes_from_download_to_report_and_runs_again_offline() {
    let hubbed = Hubbed::new("hub:test/model@v1", vec![model("test/model")]);
    insta::assert_snapshot!(hubbed.refused(&["plan", "tiny.yaml"]), @"
         × `hub:test/model@v1` is not in the cache
          ╭─[tiny.yaml:2:10]
        1 │ name: tiny
        2 │ models: [hub:test/model@v1]
          ·          ────────┬────────
          ·                  ╰── not on this machine
        3 │ tasks: [world_lambada, world_piqa]
          ╰────
         help: `sweep fetch hub:test/model@v1` downloads it; `sweep run` does so by itself
    ");
    assert_eq!(hubbed.server.requests(), [], "a plan asks nobody");
    let arguments = ["run", "tiny.yaml", "--out", "first", "--device", "cpu", "--workers", "2"];
    let (_, stderr) = hubbed.done(&arguments);
    assert!(stderr.contains("hub:test/model@v1: downloading 1 file, "), "{stderr}");
    assert!(stderr.contains(&format!("hub:test/model@v1: `v1` of test/model is commit {COMMIT}")), "{stderr}");
    assert_eq!(hubbed.downloads().len(), 1, "the weights, once for three processes");
    let manifests = fs::read_dir(hubbed.desk.path("first/manifests")).unwrap();
    for manifest in manifests {
        let manifest = fs::read_to_string(manifest.unwrap().path()).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let pinned = serde_json::json!([{
            "reference": "hub:test/model@v1", "repository": "test/model", "revision": "v1", "commit": COMMIT
        }]);
        assert_eq!(manifest["hub"], pinned);
    }
    // Nobody is asked any more, with or without a network.
    hubbed.server.requests();
    for (out, offline) in [("second", "1"), ("third", "0")] {
        let run = hubbed.command(&["run", "tiny.yaml", "--out", out]).env("HF_HUB_OFFLINE", offline).output().unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        assert_eq!(hubbed.desk.frames(out), hubbed.desk.frames("first"));
    }
    assert_eq!(hubbed.server.requests(), []);
    hubbed.done(&["plan", "tiny.yaml"]);
    // It is the builtin model, so it does what that one does.
    fs::write(hubbed.desk.path("tiny.yaml"), TINY).unwrap();
    hubbed.desk.run("builtin");
    assert!(items(&hubbed.desk, "first").equals_missing(&items(&hubbed.desk, "builtin")));
}

#[test]
fn shards_and_a_tokenizer_of_another_repository_are_fetched() {
    let tokenizer = ssm_model::catalog::builtin("mamba2-world").unwrap().tokenizer_json;
    let neox =
        Repo { commit: "f".repeat(40), ..Repo::new("EleutherAI/gpt-neox-20b").small("tokenizer.json", tokenizer) };
    let hubbed = Hubbed::new("hub:state-spaces/tiny", vec![sharded("state-spaces/tiny"), neox]);
    let (stdout, _) = hubbed.done(&["fetch", "tiny.yaml"]);
    let neox = "f".repeat(40);
    let expected = format!(
        "hub:state-spaces/tiny\tstate-spaces/tiny\tmain\t{COMMIT}\nhub:state-spaces/tiny\tEleutherAI/gpt-neox-20b\tmain\t{neox}\n"
    );
    assert_eq!(stdout, expected);
    assert_eq!(hubbed.downloads().len(), 2);
    hubbed.done(&["run", "tiny.yaml", "--out", "hub"]);
    assert_eq!(hubbed.server.requests(), []);
    fs::write(hubbed.desk.path("tiny.yaml"), TINY).unwrap();
    hubbed.desk.run("builtin");
    assert!(items(&hubbed.desk, "hub").equals_missing(&items(&hubbed.desk, "builtin")));
}

/// A branch stands for what it stood for until somebody asks again.
#[test]
fn a_branch_that_moves_is_noticed_by_fetch_alone() {
    let hubbed = Hubbed::new("hub:test/model", vec![model("test/model")]);
    hubbed.done(&["fetch", "tiny.yaml"]);
    hubbed.done(&["run", "tiny.yaml", "--out", "out"]);
    let moved = "a".repeat(40);
    hubbed.server.change(|repos| {
        let config = ssm_model::catalog::builtin("mamba2-world").unwrap().config_json;
        *repos =
            vec![Repo { commit: moved.clone(), ..model("test/model").small("config.json", format!("{config}\n")) }];
    });
    hubbed.server.requests();
    assert!(hubbed.done(&["run", "tiny.yaml", "--out", "out"]).1.contains("0 cells run"));
    assert_eq!(hubbed.server.requests(), []);
    assert!(hubbed.done(&["fetch", "hub:test/model"]).0.contains(&moved));
    assert_eq!(hubbed.downloads(), Vec::<String>::new(), "the weights are the same");
    let output = hubbed.sweep(&["run", "tiny.yaml", "--out", "out"]);
    assert_eq!(output.status.code(), Some(2), "the folder holds results of other weights");
    assert!(text(&output.stderr).contains("weights of hub:test/model"), "{}", text(&output.stderr));
}

#[test]
fn repositories_that_cannot_be_used_are_refused_before_their_weights_are_there() {
    let no_config = Repo::new("test/no-config").large("model.safetensors", "x");
    let no_weights = Repo::new("test/no-weights").small("config.json", "{}").large("tf_model.h5", "x");
    let repos = vec![no_config, no_weights, weights("test/no-tokenizer"), model("test/model")];
    let hubbed = Hubbed::new("hub:test/no-config", repos);
    let fetch = |reference: &str| hubbed.refused(&["fetch", reference]);
    insta::assert_snapshot!(hubbed.refused(&["run", "tiny.yaml", "--out", "out"]), @"
         × test/no-config holds no model that this program can read: it has no config.json
          ╭─[tiny.yaml:2:10]
        1 │ name: tiny
        2 │ models: [hub:test/no-config]
          ·          ─────────┬────────
          ·                   ╰── not on this machine
        3 │ tasks: [world_lambada, world_piqa]
          ╰────
         help: safetensors and pytorch_model.bin are read; name another repository or revision
    ");
    insta::assert_snapshot!(fetch("hub:test/no-weights"), @"
        × hub:test/no-weights: test/no-weights holds no model that this program can read: it has no weights
        help: safetensors and pytorch_model.bin are read; name another repository or revision
    ");
    insta::assert_snapshot!(fetch("hub:test/no-tokenizer"), @"
    × hub:test/no-tokenizer: test/no-tokenizer has no tokenizer.json
    help: name the one that it was trained with, for example `models: [{ path: hub:test/no-tokenizer,
          tokenizer: EleutherAI/gpt-neox-20b }]`; a tokenizer is a repository of the hub (`<owner>/<name>`,
          perhaps with `@<revision>`), a folder with tokenizer.json, or the file itself
    ");
    insta::assert_snapshot!(fetch("hub:test/modle"), @"
        × hub:test/modle: the hub has no repository test/modle
        help: look the name up on the hub; a private one needs HF_TOKEN
    ");
    insta::assert_snapshot!(fetch("hub:test/model@v2"), @"
        × hub:test/model@v2: test/model has no revision `v2`
        help: name a branch, a tag or a whole commit id of it; `main` is always there
    ");
    insta::assert_snapshot!(fetch("hub:model"), @"
        × hub:model: `model` names no repository
        help: write owner/name, as in the address of its page
    ");
    assert_eq!(hubbed.downloads(), Vec::<String>::new());
    hubbed.server.fault("GET", "/api/", Fault::Status(403, "X-Error-Code: GatedRepo\r\n"));
    insta::assert_snapshot!(fetch("hub:test/model"), @"
        × hub:test/model: test/model is not open to everybody, and the hub refuses it without a token
        help: accept the terms on the page of the repository, and set HF_TOKEN to a token of yours
    ");
    let offline = hubbed.command(&["fetch", "hub:test/model"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    insta::assert_snapshot!(text(&offline.stderr), @"
        × `hub:test/model` is not in the cache, and HF_HUB_OFFLINE is set
        help: unset HF_HUB_OFFLINE once to download it, or name a folder
    ");
}

#[test]
fn an_index_cannot_name_files_elsewhere() {
    let builtin = ssm_model::catalog::builtin("mamba2-world").unwrap();
    let index = r#"{"weight_map": {"a": "../../../evil.safetensors"}}"#;
    let repo = Repo::new("test/model").small("config.json", builtin.config_json);
    let repo = repo.small("tokenizer.json", builtin.tokenizer_json).small("model.safetensors.index.json", index);
    let hubbed = Hubbed::new("hub:test/model", vec![repo.small("../../../evil.safetensors", "evil")]);
    let stderr = hubbed.refused(&["run", "tiny.yaml", "--out", "out"]);
    assert!(stderr.contains("shard `../../../evil.safetensors` is not a plain file name"), "{stderr}");
}

/// The cache serves a run only when everything is there; what was downloaded before is not downloaded again.
#[test]
fn a_download_that_broke_off_goes_on() {
    let hubbed = Hubbed::new("hub:test/model", vec![model("test/model")]);
    hubbed.server.fault("GET", "/blobs/", Fault::Corrupt);
    let stderr = hubbed.refused(&["run", "tiny.yaml", "--out", "out"]);
    assert!(stderr.contains("the hub announced") && stderr.contains("it was removed"), "{stderr}");
    assert!(hubbed.refused(&["plan", "tiny.yaml"]).contains("is not in the cache"));
    hubbed.server.requests();
    hubbed.done(&["fetch", "tiny.yaml"]);
    let heads = hubbed.server.requests().into_iter().filter(|request| request.method == "HEAD").count();
    assert_eq!(heads, 1, "the weights alone");
}

/// A file of the cache that was changed is refused by name, and downloaded again by those who may.
#[test]
fn a_damaged_file_of_the_cache_is_never_used() {
    for (name, at) in [("model.safetensors", 200_000), ("config.json", 3), ("tokenizer.json", 50)] {
        let hubbed = Hubbed::new("hub:test/model", vec![model("test/model")]);
        hubbed.done(&["fetch", "tiny.yaml"]);
        let snapshot = hubbed.desk.path(&format!("hf/hub/models--test--model/snapshots/{COMMIT}"));
        let whole = fs::read(snapshot.join(name)).unwrap();
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let damage = || fs::write(snapshot.join(name), &damaged).unwrap();
        damage();
        // Another format beside a damaged file is no way out.
        fs::write(snapshot.join("pytorch_model.bin"), "x").unwrap();
        for (arguments, offline) in [(&["plan", "tiny.yaml"][..], "0"), (&["run", "tiny.yaml", "--out", "out"], "1")] {
            let output = hubbed.command(arguments).env("HF_HUB_OFFLINE", offline).output().unwrap();
            let stderr = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.contains(&format!("{name} of test/model is damaged")), "{stderr}");
            assert!(
                stderr.contains("damaged in the cache") && stderr.contains("`sweep fetch` downloads it again"),
                "{stderr}"
            );
        }
        let (_, stderr) = hubbed.done(&["fetch", "tiny.yaml"]);
        assert!(stderr.contains(&format!("{name} of test/model is damaged")), "{stderr}");
        assert_eq!(fs::read(snapshot.join(name)).unwrap(), whole);
        damage();
        let (_, stderr) = hubbed.done(&["run", "tiny.yaml", "--out", "out"]);
        assert!(stderr.contains("downloading it again"), "{stderr}");
        assert_eq!(fs::read(snapshot.join(name)).unwrap(), whole);
    }
}

/// The model is there, and its tokenizer is not: another tool downloaded it, or the repository has none.
#[test]
fn a_cached_model_without_its_tokenizer_says_so() {
    let hubbed = Hubbed::new("hub:test/model", vec![weights("test/model")]);
    let tokens = hubbed.desk.path("tokens.jsonl");
    fs::write(&tokens, "[1, 2, 3]\n").unwrap();
    let logits = |model: &str, out: &str| {
        hubbed.done(&["logits", "--model", model, "--tokens", "tokens.jsonl", "--out", out]);
        fs::read(hubbed.desk.path(out)).unwrap()
    };
    // Those who bring token ids need none.
    let of_hub = logits("hub:test/model", "hub.safetensors");
    assert_eq!(of_hub, logits("builtin:mamba2-world", "builtin.safetensors"));
    let snapshot = hubbed.desk.path(&format!("hf/hub/models--test--model/snapshots/{COMMIT}"));
    let folder = hubbed.desk.path("folder");
    fs::create_dir(&folder).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(snapshot.join(file), folder.join(file)).unwrap();
    }
    assert_eq!(of_hub, logits("./folder", "folder.safetensors"));
    insta::assert_snapshot!(hubbed.refused(&["plan", "tiny.yaml"]), @"
     × `hub:test/model` is in the cache without tokenizer.json
      ╭─[tiny.yaml:2:10]
    1 │ name: tiny
    2 │ models: [hub:test/model]
      ·          ───────┬──────
      ·                 ╰── not on this machine
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: `sweep fetch hub:test/model` downloads it, `sweep run` does so by itself; if the repository has
           none, name the one that it was trained with, for example `models: [{ path: hub:test/model,
           tokenizer: EleutherAI/gpt-neox-20b }]`; a tokenizer is a repository of the hub (`<owner>/<name>`,
           perhaps with `@<revision>`), a folder with tokenizer.json, or the file itself
    ");
    let offline = hubbed.command(&["run", "tiny.yaml", "--out", "out"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    insta::assert_snapshot!(text(&offline.stderr), @"
     × `hub:test/model` is in the cache without tokenizer.json, and HF_HUB_OFFLINE is set
      ╭─[tiny.yaml:2:10]
    1 │ name: tiny
    2 │ models: [hub:test/model]
      ·          ───────┬──────
      ·                 ╰── not on this machine
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: unset HF_HUB_OFFLINE once to download it; if the repository has none, name the one that it was
           trained with, for example `models: [{ path: hub:test/model, tokenizer: EleutherAI/gpt-neox-20b }]`;
           a tokenizer is a repository of the hub (`<owner>/<name>`, perhaps with `@<revision>`), a folder with
           tokenizer.json, or the file itself
    ");
    insta::assert_snapshot!(hubbed.refused(&["fetch", "hub:test/model"]), @"
    × hub:test/model: test/model has no tokenizer.json
    help: name the one that it was trained with, for example `models: [{ path: hub:test/model, tokenizer:
          EleutherAI/gpt-neox-20b }]`; a tokenizer is a repository of the hub (`<owner>/<name>`, perhaps with
          `@<revision>`), a folder with tokenizer.json, or the file itself
    ");
    fs::remove_file(snapshot.join("config.json")).unwrap();
    assert!(hubbed.refused(&["plan", "tiny.yaml"]).contains("in the cache without config.json"));
}

/// The repository of the model has no tokenizer, and the experiment names another that has one.
#[test]
fn a_tokenizer_that_an_experiment_names_is_fetched_and_pinned() {
    let words = ssm_model::catalog::builtin("mamba2-world").unwrap().tokenizer_json;
    let of_words = "f".repeat(40);
    let words = Repo { commit: of_words.clone(), ..Repo::new("test/words").small("tokenizer.json", words) };
    let hubbed = Hubbed::new("{ path: hub:test/model, tokenizer: test/words }", vec![weights("test/model"), words]);
    insta::assert_snapshot!(hubbed.refused(&["plan", "tiny.yaml"]), @"
     × `hub:test/model` needs the tokenizer of test/words, which is not in the cache
      ╭─[tiny.yaml:2:45]
    1 │ name: tiny
    2 │ models: [{ path: hub:test/model, tokenizer: test/words }]
      ·                                             ─────┬────
      ·                                                  ╰── not on this machine
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: `sweep fetch FILE` downloads what an experiment needs and `sweep run` does so by itself; or name a
           folder with tokenizer.json, or the file itself, as `tokenizer`
    ");
    let offline = hubbed.command(&["plan", "tiny.yaml"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(text(&offline.stderr).contains("unset HF_HUB_OFFLINE once to download it, or name a folder"));
    let expected =
        format!("hub:test/model\ttest/model\tmain\t{COMMIT}\nhub:test/model\ttest/words\tmain\t{of_words}\n");
    assert_eq!(hubbed.done(&["fetch", "tiny.yaml"]).0, expected);
    assert_eq!(hubbed.downloads().len(), 1, "the weights");
    assert_eq!(hubbed.done(&["fetch", "hub:test/model", "--tokenizer", "test/words"]).0, expected);
    hubbed.server.requests();
    hubbed.done(&["run", "tiny.yaml", "--out", "hub"]);
    assert_eq!(hubbed.server.requests(), []);
    fs::write(hubbed.desk.path("tiny.yaml"), TINY).unwrap();
    hubbed.desk.run("builtin");
    assert!(items(&hubbed.desk, "hub").equals_missing(&items(&hubbed.desk, "builtin")));
    let named = |tokenizer: &str| {
        let entry = format!("{{ path: hub:test/model, tokenizer: {tokenizer} }}");
        fs::write(hubbed.desk.path("tiny.yaml"), TINY.replace("builtin:mamba2-world", &entry)).unwrap();
    };
    named("hub:test/words@v1");
    hubbed.done(&["run", "tiny.yaml", "--out", "revision"]);
    named("test/model");
    insta::assert_snapshot!(hubbed.refused(&["run", "tiny.yaml", "--out", "out"]), @"
     × test/model has no tokenizer.json for `hub:test/model` to use
      ╭─[tiny.yaml:2:45]
    1 │ name: tiny
    2 │ models: [{ path: hub:test/model, tokenizer: test/model }]
      ·                                             ─────┬────
      ·                                                  ╰── not on this machine
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: a tokenizer is a repository of the hub (`<owner>/<name>`, perhaps with `@<revision>`), a folder with
           tokenizer.json, or the file itself
    ");
    named("EleutherAI/gpt-neox-2ob");
    insta::assert_snapshot!(hubbed.refused(&["run", "tiny.yaml", "--out", "out"]), @"
     × the hub has no repository EleutherAI/gpt-neox-2ob
      ╭─[tiny.yaml:2:45]
    1 │ name: tiny
    2 │ models: [{ path: hub:test/model, tokenizer: EleutherAI/gpt-neox-2ob }]
      ·                                             ───────────┬───────────
      ·                                                        ╰── not on this machine
    3 │ tasks: [world_lambada, world_piqa]
      ╰────
     help: did you mean `EleutherAI/gpt-neox-20b`?
    ");
    insta::assert_snapshot!(hubbed.refused(&["fetch", "hellaswag", "--tokenizer", "test/words"]), @"
    × --tokenizer has no reference to go with: no hub:<owner>/<name> is named
    help: an experiment names it beside the model: `models: [{ path: .., tokenizer: .. }]`
    ");
}

/// Everything is there: `fetch` needs neither a network nor a place to write.
#[test]
fn a_complete_cache_is_fetched_without_writing_and_without_a_hub() {
    let hubbed = Hubbed::new("hub:test/model", vec![model("test/model")]);
    let (stdout, _) = hubbed.done(&["fetch", "tiny.yaml"]);
    let root = hubbed.desk.path("hf/hub/models--test--model");
    let modes = |writable: bool| {
        for folder in ["", "refs", "blobs", "snapshots", ".verified"] {
            let path = root.join(folder);
            let mut permissions = fs::metadata(&path).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, if writable { 0o755 } else { 0o555 });
            fs::set_permissions(&path, permissions).unwrap();
        }
    };
    modes(false);
    let reference = fs::metadata(root.join("refs/main")).unwrap();
    assert_eq!(hubbed.done(&["fetch", "tiny.yaml"]).0, stdout);
    assert_eq!(fs::metadata(root.join("refs/main")).unwrap().modified().unwrap(), reference.modified().unwrap());
    let offline = hubbed.command(&["fetch", "tiny.yaml"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!((offline.status.code(), text(&offline.stdout)), (Some(0), stdout.clone()));
    assert_eq!(
        text(&offline.stderr),
        "hub:test/model: `main` is what it was when it was downloaded: HF_HUB_OFFLINE is set\n"
    );
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let alone =
        |arguments: &[&str]| hubbed.command(arguments).env("HF_ENDPOINT", format!("http://{closed}")).output().unwrap();
    let output = alone(&["fetch", "tiny.yaml"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), stdout));
    assert!(text(&output.stderr).contains("`main` is what it was when it was downloaded: cannot reach"));
    let other = alone(&["fetch", "hub:test/other"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("cannot reach"), "{}", text(&other.stderr));
    modes(true);
}

#[test]
fn two_processes_download_once() {
    let hubbed = Hubbed::new("hub:test/model", vec![model("test/model")]);
    let start = || {
        let mut command = hubbed.command(&["fetch", "tiny.yaml"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for mut child in [start(), start(), start()] {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(hubbed.downloads().len(), 1);
}

/// A file that cannot grow is met like a disk that is full.
#[test]
fn a_full_disk_is_an_error_and_the_download_goes_on_later() {
    let hubbed = Hubbed::new("hub:test/model", vec![model("test/model")]);
    let sweep = assert_cmd::cargo::cargo_bin!("sweep").display().to_string();
    let script = format!("trap '' XFSZ; ulimit -f 2000; exec '{sweep}' fetch tiny.yaml");
    let limited = hubbed.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(hubbed.desk.path(""));
    command.envs(limited.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("no room left to write hf/hub/models--test--model/"), "{stderr}");
    hubbed.server.requests();
    hubbed.done(&["fetch", "tiny.yaml"]);
    let ranges: Vec<String> = hubbed.server.requests().into_iter().filter_map(|request| request.range).collect();
    assert!(!ranges.is_empty() && ranges.iter().all(|range| range != "bytes=0-"), "{ranges:?}");
}
