//! Files of the user's: what the program writes over, what it refuses, and that nothing else is touched.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::desk::{Desk, TINY, text};

const TABLE: &str = "tables/main_mamba2-world_context.md";

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn refused(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// Runs the program, which must answer within seconds whatever it is given.
fn soon(desk: &Desk, arguments: &[&str]) -> Output {
    let mut child = desk
        .command(arguments)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_mins(1) {
            child.kill().unwrap();
            panic!("{arguments:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn a_spliced_document_keeps_its_link_its_permissions_and_its_neighbours() {
    let desk = Desk::new(TINY);
    desk.run("out");
    let document = format!("before\n<!-- BEGIN: {TABLE} -->\nstale\n<!-- END -->\nafter\n");
    fs::create_dir(desk.path("pages")).unwrap();
    fs::write(desk.path("pages/real.md"), &document).unwrap();
    fs::set_permissions(desk.path("pages/real.md"), Permissions::from_mode(0o600)).unwrap();
    symlink("pages/real.md", desk.path("page.md")).unwrap();
    for neighbour in ["page.md.tmp", "page.tmp", "pages/real.md.tmp"] {
        fs::write(desk.path(neighbour), "mine").unwrap();
    }
    let output = desk.sweep(&["report", "out", "--splice", "page.md"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(desk.path("page.md").is_symlink());
    let written = fs::read_to_string(desk.path("pages/real.md")).unwrap();
    assert!(written.starts_with("before\n") && written.ends_with("after\n") && !written.contains("stale"), "{written}");
    assert_eq!(fs::metadata(desk.path("pages/real.md")).unwrap().permissions().mode() & 0o777, 0o600);
    for neighbour in ["page.md.tmp", "page.tmp", "pages/real.md.tmp"] {
        assert_eq!(fs::read_to_string(desk.path(neighbour)).unwrap(), "mine");
    }
    assert_eq!(fs::read_dir(desk.path("pages")).unwrap().count(), 2, "nothing is left aside");
}

#[test]
fn a_document_that_cannot_be_filled_stays_as_it_is() {
    let desk = Desk::new(TINY);
    desk.run("out");
    fs::write(desk.path("secret.md"), "secret").unwrap();
    symlink("../../secret.md", desk.path("out/tables/link.md")).unwrap();
    let block = |name: &str| format!("<!-- BEGIN: {name} -->\nold\n<!-- END -->\n");
    for (document, code, said) in [
        (
            format!("<!-- BEGIN: {TABLE} -->\nold\n\nown text\n\n{}", block(TABLE)),
            2,
            format!("page.md:1: the block of `{TABLE}` has no `<!-- END -->` before the block of `{TABLE}` in line 6"),
        ),
        (format!("own\n<!-- BEGIN: {TABLE} -->\nown text\n"), 2, "page.md:2: the block".to_owned()),
        (format!("{}<!-- END -->\n", block(TABLE)), 2, "page.md:4: `<!-- END -->` ends no block".to_owned()),
        (block("../secret.md"), 1, "page.md:1: `../secret.md` leads out of the results folder".to_owned()),
        (block("tables/link.md"), 1, "page.md:1: `tables/link.md` leads out of the results folder".to_owned()),
        (block("/etc/hostname"), 1, "page.md:1: `/etc/hostname` leads out of the results folder".to_owned()),
    ] {
        fs::write(desk.path("page.md"), &document).unwrap();
        let output = desk.sweep(&["report", "out", "--splice", "page.md"]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        // Words may be wrapped.
        let unwrapped = stderr.split_whitespace().collect::<Vec<_>>().join(" ").replace("│ ", "");
        assert!(unwrapped.contains(&said), "{said}: {stderr}");
        assert!(unwrapped.contains("hint:") || unwrapped.contains("help:"), "{stderr}");
        assert_eq!(fs::read_to_string(desk.path("page.md")).unwrap(), document);
    }
}

#[test]
fn logits_and_measurements_are_written_over_regular_files_alone() {
    let desk = Desk::new(TINY);
    fs::write(desk.path("ids.jsonl"), "[1, 2]\n").unwrap();
    fs::write(desk.path("x.tmp"), "mine").unwrap();
    pipe(&desk.path("pipe"));
    fs::create_dir(desk.path("folder")).unwrap();
    let logits =
        |out: &str| soon(&desk, &["logits", "--model", "builtin:mamba2-world", "--tokens", "ids.jsonl", "--out", out]);
    let bench = |out: &str| soon(&desk, &["bench", "--device", "cpu", "--shape", "1x8", "--out", out]);
    for (out, said) in [
        ("pipe", "it is a pipe, not a regular file"),
        ("folder", "it is a folder, not a regular file"),
        ("/dev/null", "it is a device, not a regular file"),
        ("absent/x.safetensors", "its folder absent"),
    ] {
        for output in [logits(out), bench(out)] {
            let stderr = refused(&output);
            assert!(stderr.contains(said), "{out}: {stderr}");
        }
    }
    assert!(!desk.path("absent").exists() && desk.path("folder").is_dir());
    let output = logits("x.safetensors");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(desk.path("x.tmp")).unwrap(), "mine");
    let mode = |name: &str| fs::metadata(desk.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("x.safetensors"), mode("ids.jsonl"), "a new file is as open as any other");
    // A link is followed, and what it leads to keeps its permissions.
    fs::write(desk.path("real"), "old").unwrap();
    fs::set_permissions(desk.path("real"), Permissions::from_mode(0o640)).unwrap();
    symlink("real", desk.path("link.safetensors")).unwrap();
    assert!(logits("link.safetensors").status.success());
    assert!(desk.path("link.safetensors").is_symlink());
    assert_eq!(fs::read(desk.path("real")).unwrap(), fs::read(desk.path("x.safetensors")).unwrap());
    assert_eq!(mode("real"), 0o640);
}

#[test]
fn a_folder_of_others_is_refused_and_with_force_kept() {
    let desk = Desk::new(TINY);
    fs::create_dir_all(desk.path("thesis/figures")).unwrap();
    for name in ["report.md", "experiment.yaml", "notes.txt", ".draft.tmp", "figures/.draft.tmp"] {
        let file = fs::File::create(desk.path("thesis").join(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        fs::write(desk.path("thesis").join(name), name).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    for arguments in
        [&["run", "tiny.yaml", "--out", "thesis"][..], &["run", "tiny.yaml", "--out", "thesis", "--workers", "2"]]
    {
        let stderr = refused(&desk.sweep(arguments));
        assert!(
            stderr.contains("is no results folder and holds other files") && stderr.contains("--force"),
            "{stderr}"
        );
    }
    assert_eq!(fs::read_dir(desk.path("thesis")).unwrap().count(), 5, "nothing is written");
    let output = desk.sweep(&["run", "tiny.yaml", "--out", "thesis", "--force"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("report.md.before-sweep"), "{}", text(&output.stderr));
    for (name, content) in [
        ("report.md.before-sweep", "report.md"),
        ("experiment.yaml.before-sweep", "experiment.yaml"),
        ("figures.before-sweep/.draft.tmp", "figures/.draft.tmp"),
        ("notes.txt", "notes.txt"),
        (".draft.tmp", ".draft.tmp"),
    ] {
        assert_eq!(fs::read_to_string(desk.path("thesis").join(name)).unwrap(), content, "{name}");
    }
    // From now on the folder is one of results.
    assert!(desk.run("thesis").contains("0 cells run, 4 already there"));
    for other in ["tiny.yaml", "pipe"] {
        if other == "pipe" {
            pipe(&desk.path("pipe"));
        }
        let stderr = refused(&soon(&desk, &["run", "tiny.yaml", "--out", other]));
        assert!(stderr.contains("not a folder"), "{stderr}");
    }
}

/// What an interrupted run of an earlier version left has no marker but a plan.
#[test]
fn results_of_earlier_versions_go_on() {
    let desk = Desk::new(TINY);
    desk.run("out");
    fs::remove_file(desk.path("out/.sweep-results")).unwrap();
    assert!(desk.run("out").contains("0 cells run, 4 already there"));
}

#[test]
fn what_is_no_results_folder_is_refused_by_every_command_that_reads_one() {
    let desk = Desk::new(TINY);
    fs::create_dir(desk.path("empty")).unwrap();
    fs::create_dir(desk.path("other")).unwrap();
    fs::write(desk.path("other/plan.json"), r#"{"format_version": "1.2"}"#).unwrap();
    fs::create_dir(desk.path("piped")).unwrap();
    pipe(&desk.path("piped/plan.json"));
    pipe(&desk.path("pipe"));
    for (folder, said) in [
        ("absent", "cannot open absent: No such file"),
        ("empty", "empty is no results folder: it holds no plan.json"),
        ("other", "other is no results folder: its plan.json is none of `sweep run`"),
        ("piped", "piped is no results folder: its plan.json is none of `sweep run`"),
        ("pipe", "pipe is no folder"),
        ("tiny.yaml", "tiny.yaml is no folder"),
    ] {
        let before = desk.listing();
        for arguments in [
            &["status", folder][..],
            &["status", folder, "--json"],
            &["analyse", folder],
            &["report", folder],
            &["compare", folder, folder],
            &["compare", folder, "--a", "dense", "--b", "random"],
            &["retry", folder, "--failed"],
        ] {
            // `retry` takes experiment files and says of the others that they are none.
            let is_retry = arguments[0] == "retry" && !desk.path(folder).is_dir();
            if is_retry && folder == "tiny.yaml" {
                continue;
            }
            let stderr = refused(&soon(&desk, arguments));
            let said = if is_retry { "cannot read" } else { said };
            assert!(stderr.contains(said), "{arguments:?}: {stderr}");
            assert!(stderr.contains("help:") || stderr.contains("hint:"), "{stderr}");
        }
        assert_eq!(desk.listing(), before);
    }
}

#[test]
fn pipes_and_devices_are_refused_where_files_are_read() {
    let desk = Desk::new(TINY);
    desk.run("out");
    pipe(&desk.path("pipe"));
    pipe(&desk.path("pipe.yaml"));
    fs::write(desk.path("ids.jsonl"), "[1]\n").unwrap();
    for (arguments, said) in [
        (&["plan", "pipe.yaml"][..], "it is a pipe"),
        (&["plan", "/dev/zero"], "it is a device"),
        (&["run", "pipe.yaml"], "it is a pipe"),
        (&["plan", "."], "it is a folder"),
        (&["report", "out", "--splice", "pipe"], "it is a pipe"),
        (&["report", "out", "--splice", "/dev/zero"], "it is a device"),
        (&["report", "out", "--lm-eval-output", "pipe"], "pipe is no folder"),
        (&["run", "tiny.yaml", "--out", "out", "--lm-eval-output", "pipe"], "pipe is no folder"),
        (&["submit", "slurm", "tiny.yaml", "--dry-run", "--template", "pipe"], "it is a pipe"),
        (&["submit", "slurm", "tiny.yaml", "--dry-run", "--template", "/dev/zero"], "it is a device"),
        (&["logits", "--model", "builtin:mamba2-world", "--tokens", "pipe", "--out", "x"], "it is a pipe"),
        (&["logits", "--model", "builtin:mamba2-world", "--tokens", "/dev/zero", "--out", "x"], "it is a device"),
    ] {
        let stderr = refused(&soon(&desk, arguments));
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    // Inside a results folder.
    let cell = desk.cells("out").remove(0);
    for name in
        ["plan.json", "guards.json", "groups.json", cell.strip_prefix(desk.path("out")).unwrap().to_str().unwrap()]
    {
        let path = desk.path("out").join(name);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        pipe(&path);
        for arguments in [&["status", "out"][..], &["report", "out"], &["run", "tiny.yaml", "--out", "out"]] {
            let output = soon(&desk, arguments);
            assert!(!text(&output.stderr).contains("panicked"), "{arguments:?}: {}", text(&output.stderr));
        }
        let _ = fs::remove_file(&path);
        fs::write(&path, kept).unwrap();
    }
}

#[test]
fn a_tilde_is_the_home_folder_wherever_a_path_is_written() {
    let desk = Desk::new(TINY);
    desk.model_folder();
    fs::create_dir(desk.path("home")).unwrap();
    fs::rename(desk.path("model"), desk.path("home/model")).unwrap();
    fs::write(desk.path("home/tiny.yaml"), TINY.replace("builtin:mamba2-world", "~/model")).unwrap();
    let home = |arguments: &[&str]| desk.command(arguments).env("HOME", desk.path("home")).output().unwrap();
    let output = home(&["run", "~/tiny.yaml", "--out=~/out"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(desk.path("home/out/report.md").exists() && !desk.path("~").exists());
    assert!(home(&["status", "~/out"]).status.success());
    let stderr = refused(&home(&["tasks", "--data-dir", "~/none"]));
    assert!(stderr.contains("home/none"), "{stderr}");
    let stderr = refused(&desk.command(&["tasks"]).env("HOME", "/h").env("SWEEP_DATA_DIR", "~/none").output().unwrap());
    assert!(stderr.contains("/h/none"), "{stderr}");
    let stderr = refused(&home(&["run", "~/tiny.yaml", "--out", "~somebody/out"]));
    assert!(stderr.contains("write the whole path"), "{stderr}");
    let stderr = refused(&desk.command(&["plan", "~/tiny.yaml"]).env_remove("HOME").output().unwrap());
    assert!(stderr.contains("HOME is not set"), "{stderr}");
    fs::write(desk.path("tiny.yaml"), TINY.replace("builtin:mamba2-world", "~somebody/model")).unwrap();
    let stderr = desk.refused();
    assert!(stderr.contains("~somebody/model") && stderr.contains("write the whole path"), "{stderr}");
}

#[test]
fn a_tag_is_refused_with_its_place() {
    for (from, to, place) in [
        ("limit: 2", "limit: !!str 2", "tiny.yaml:8:"),
        ("name: tiny", "name: !name tiny", "tiny.yaml:1:"),
        ("[4, 8]", "!!seq [4, 8]", "tiny.yaml:7:"),
        ("{ seeds: [0] }", "!!python/object:x { seeds: [0] }", "tiny.yaml:6:"),
        ("limit: 2", "!!str limit: 2", "tiny.yaml:8:"),
        ("[4, 8]", "[4, !!int \"8\"]", "tiny.yaml:7:"),
    ] {
        let stderr = Desk::new(&TINY.replace(from, to)).refused();
        assert!(stderr.contains("the YAML tag") && stderr.contains("means nothing here"), "{to}: {stderr}");
        assert!(stderr.contains(place), "{to}: {stderr}");
    }
}
