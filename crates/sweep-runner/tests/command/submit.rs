//! `sweep submit` with stand-ins for the programs of a cluster, and the scripts and templates themselves. A real SLURM:
//! `slurm.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::desk::{Desk, TINY, text};

const TEMPLATE: &str = include_str!("../../../../experiments/templates/slurm.sbatch");
const KUBERNETES: &str = include_str!("../../../../experiments/templates/kubernetes-job.yaml");
const HYPERQUEUE: &str = include_str!("../../../../experiments/templates/hyperqueue.sh");

/// Writes down what it is given; the first call is job 41 on a cluster with a name.
const SBATCH: &str = r#"
echo "$@" >> calls
[[ $(wc -l < calls) == 1 ]] && echo '41;here' || echo 42
"#;

/// A desk with a stand-in for a program of the cluster.
fn desk_with(program: &str, script: &str) -> Desk {
    let desk = Desk::new(TINY);
    fs::create_dir(desk.path("bin")).unwrap();
    executable(&desk.path("bin").join(program), script);
    desk
}

fn executable(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/bash\n{script}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Stand-ins first on the path.
fn with_path(desk: &Desk, command: &mut Command) -> Output {
    let path = format!("{}:{}", desk.path("bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).output().unwrap()
}

fn submit(desk: &Desk, options: &[&str]) -> Output {
    let arguments: Vec<&str> = ["submit", "slurm", "tiny.yaml"].iter().chain(options).copied().collect();
    with_path(desk, &mut desk.command(&arguments))
}

fn read(desk: &Desk, name: &str) -> String {
    fs::read_to_string(desk.path(name)).unwrap_or_default()
}

/// A message without the line breaks that the width of a page puts into it.
fn flat(stderr: &[u8]) -> String {
    text(stderr).split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

#[test]
fn an_array_and_a_report_behind_it_are_submitted() {
    let desk = desk_with("sbatch", SBATCH);
    let output = submit(&desk, &["--shards", "3", "--limit", "1", "--", "--memory", "1GiB"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("array job 41 (3 tasks), report job 42\n"), "{stdout}");
    let folder = fs::canonicalize(desk.path("results/tiny/slurm")).unwrap();
    let folder = folder.display();
    assert_eq!(
        read(&desk, "calls"),
        format!(
            "--parsable {folder}/array.sbatch\n\
             --parsable --dependency=afterany:41 --clusters=here {folder}/report.sbatch\n"
        )
    );
    let array = read(&desk, "results/tiny/slurm/array.sbatch");
    assert!(array.contains("#SBATCH --array=0-2\n") && array.contains("#SBATCH --signal=B:USR1@120\n"), "{array}");
    let run = array.lines().find(|line| line.contains("sweep run ")).unwrap();
    assert!(run.contains("/slurm/experiment.yaml --out /") && run.ends_with("--memory 1GiB &"), "{run}");
    let report = read(&desk, "results/tiny/slurm/report.sbatch");
    assert!(report.contains("/results/tiny --complete\n"), "{report}");
    for script in ["array", "report"] {
        let script = desk.path(&format!("results/tiny/slurm/{script}.sbatch"));
        assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success(), "{}", script.display());
    }
    // What was submitted does not change with the file.
    assert!(read(&desk, "results/tiny/slurm/experiment.yaml").contains("\nlimit: 1\n"));
}

#[test]
fn a_dry_run_shows_everything_and_writes_nothing() {
    let desk = Desk::new(TINY);
    let before = desk.listing();
    let output = desk.sweep(&["submit", "slurm", "tiny.yaml", "--dry-run"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    for part in ["array.sbatch <==", "report.sbatch <==", "#SBATCH --array=0-1\n", "--dependency=afterany:ARRAY_JOB"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    assert!(!stdout.contains("{{"), "{stdout}");
    // One model on two tasks.
    assert!(stderr.contains("2 tasks: one per model (1) and task (2)"), "{stderr}");
    assert_eq!(desk.listing(), before);
}

#[test]
fn what_sbatch_refuses_is_said_with_its_reason() {
    let desk = desk_with("sbatch", "echo 'sbatch: error: invalid partition specified: gpus' >&2; exit 1");
    let output = submit(&desk, &["--shards", "2"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = flat(&output.stderr);
    assert!(
        stderr.contains("sbatch: error: invalid partition specified: gpus") && stderr.contains("nothing was submitted"),
        "{stderr}"
    );

    let desk = desk_with("sbatch", "[[ $* == *dependency* ]] && exit 3; echo 41");
    let stderr = flat(&submit(&desk, &["--shards", "2"]).stderr);
    assert!(stderr.contains("exit status: 3") && stderr.contains("scancel 41"), "{stderr}");

    let desk = desk_with("sbatch", "echo 'Submitted batch job 41'");
    let stderr = flat(&submit(&desk, &["--shards", "2"]).stderr);
    assert!(stderr.contains("printed no job id: `Submitted batch job 41`"), "{stderr}");

    let desk = Desk::new(TINY);
    let output = desk.command(&["submit", "slurm", "tiny.yaml"]).env("PATH", desk.path("nothing")).output().unwrap();
    let stderr = flat(&output.stderr);
    assert!(stderr.contains("--dry-run shows the scripts anywhere"), "{stderr}");
}

#[test]
fn what_cannot_be_submitted_is_refused_before_anything_is_written() {
    let desk = desk_with("sbatch", SBATCH);
    fs::write(desk.path("typo.sbatch"), "#!/bin/bash\n{{rum}}\n").unwrap();
    fs::write(desk.path("empty.sbatch"), "#!/bin/bash\necho {{name}}\n").unwrap();
    let before = desk.listing();
    for (options, said) in [
        (&["--template", "typo.sbatch"][..], "typo.sbatch:2: unknown placeholder `{{rum}}`"),
        (&["--template", "empty.sbatch"], "empty.sbatch never uses {{run}}"),
        (&["--report-template", "none.sbatch"], "cannot read template none.sbatch"),
        (&["--shards", "0"], "--shards must be at least 1"),
        (&["--out", "a\"b"], "cannot stand in a batch script"),
        (&["--", "--no-shearing"], "unexpected argument '--no-shearing'"),
        (&["--", "--shard", "1/2"], "--shard, --limit and --random cannot be options of the tasks' `sweep run`"),
        (&["--", "--out", "x"], "cannot be used multiple times"),
    ] {
        let output = submit(&desk, options);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {stderr}");
        assert!(stderr.contains(said), "{options:?}: {stderr}");
    }
    assert_eq!(desk.listing(), before, "neither a script nor a call");
}

/// What SLURM tells task 3, the last one of an array: its job id is that of the array.
const TASK: [(&str, &str); 3] = [("SLURM_JOB_ID", "7"), ("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "3")];

/// Runs the task script with a stand-in for `sweep run`; returns status, stderr and the calls of `scontrol`.
fn task(command: &str, restarts: Option<&str>) -> (Option<i32>, String, String) {
    let desk = desk_with("scontrol", "echo \"$@\" >> calls");
    let script = TEMPLATE.replace("{{run}}", command);
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(desk.path(".")).envs(TASK).env_remove("SLURM_RESTART_COUNT");
    bash.envs(restarts.map(|count| ("SLURM_RESTART_COUNT", count)));
    let output = with_path(&desk, &mut bash);
    (output.status.code(), text(&output.stderr), read(&desk, "calls"))
}

#[test]
fn a_task_is_queued_again_only_where_that_helps_and_not_for_ever() {
    let requeued = "requeue 7_3\n";
    for (command, restarts, status, calls) in [
        ("true", None, 0, ""),
        // Stopped; killed.
        ("sh -c 'exit 75'", None, 0, requeued),
        ("sh -c 'exit 75'", Some("4"), 0, requeued),
        ("sh -c 'kill -KILL $$'", Some("1"), 0, requeued),
        // Often enough.
        ("sh -c 'exit 75'", Some("5"), 75, ""),
        ("sh -c 'kill -KILL $$'", Some("5"), 137, ""),
        // Failed cells, a refused experiment: the same would come of it.
        ("sh -c 'exit 1'", None, 1, ""),
        ("sh -c 'exit 2'", None, 2, ""),
    ] {
        let (ended, stderr, called) = task(command, restarts);
        assert_eq!((ended, called.as_str()), (Some(status), calls), "{command} {restarts:?}: {stderr}");
    }
    assert!(task("sh -c 'exit 75'", Some("5")).1.contains("after 5 further starts: giving up"));
    assert!(task("sh -c 'exit 75'", None).1.contains("ended with status 75; start 1 of 5 follows"));
}

/// Sends a signal to the task script while the stand-in runs.
fn signalled(signal: &str, stand_in: &str) -> (Option<i32>, String) {
    let desk = desk_with("scontrol", "echo \"$@\" >> calls");
    executable(&desk.path("bin/work"), stand_in);
    let script = TEMPLATE.replace("{{run}}", "work");
    let path = format!("{}:{}", desk.path("bin").display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(desk.path(".")).env("PATH", path).envs(TASK);
    let mut child = bash.env_remove("SLURM_RESTART_COUNT").spawn().unwrap();
    let started = Instant::now();
    while !desk.path("started").exists() {
        assert!(started.elapsed() < Duration::from_secs(30), "the stand-in does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
    (child.wait().unwrap().code(), read(&desk, "calls"))
}

#[test]
fn a_signal_reaches_the_run_and_its_own_status_counts() {
    let work = "trap 'sleep 0.3; exit 75' USR1; trap 'exit 143' TERM; touch started; while :; do sleep 0.05; done";
    assert_eq!(signalled("USR1", work), (Some(0), "requeue 7_3\n".to_owned()));
    // Who cancels a task does not want it back.
    assert_eq!(signalled("TERM", work), (Some(143), String::new()));
    let deaf = "trap '' USR1; touch started; sleep 1; exit 0";
    assert_eq!(signalled("USR1", deaf), (Some(0), String::new()), "a run that ends by itself is done");
}

#[test]
fn the_kubernetes_template_is_an_indexed_job() {
    let job: serde_json::Value = serde_saphyr::from_str(KUBERNETES).unwrap();
    assert_eq!((&job["apiVersion"], &job["kind"]), (&"batch/v1".into(), &"Job".into()));
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    let pod = &spec["template"]["spec"];
    // Needed by backoffLimitPerIndex and podFailurePolicy.
    assert_eq!(pod["restartPolicy"], "Never");
    assert!(spec["backoffLimitPerIndex"].as_u64().unwrap() > 0);
    let container = &pod["containers"][0];
    assert_eq!(spec["podFailurePolicy"]["rules"][1]["onExitCodes"]["containerName"], container["name"]);
    let shards = container["env"].as_array().unwrap().iter().find(|variable| variable["name"] == "SWEEP_SHARDS");
    assert_eq!(shards.unwrap()["value"].as_str(), Some(spec["completions"].to_string().as_str()));
    // The command is one that this program understands up to the file, which is not there.
    let words: Vec<&str> = ["command", "args"]
        .iter()
        .flat_map(|key| container[*key].as_array().unwrap())
        .map(|w| w.as_str().unwrap())
        .collect();
    assert_eq!(words[0], "sweep");
    let desk = Desk::new(TINY);
    let output = desk.command(&words[1..]).env("JOB_COMPLETION_INDEX", "7").env("SWEEP_SHARDS", "8").output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("shard 8/8 of the work") && stderr.contains("experiment.yaml"), "{stderr}");
}

#[test]
fn the_hyperqueue_template_submits_an_array() {
    let desk = desk_with("hq", "printf '%s ' \"$@\" >> calls; echo >> calls; echo 5");
    executable(&desk.path("bin/sweep"), "echo \"sweep $*\" >> calls");
    executable(&desk.path("hyperqueue.sh"), HYPERQUEUE);
    let output = with_path(
        &desk,
        Command::new(desk.path("hyperqueue.sh")).args(["tiny.yaml", "out", "4"]).current_dir(desk.path(".")),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let calls = read(&desk, "calls");
    let first = calls.lines().next().unwrap();
    for part in ["submit", "--array 0-3", "--env SWEEP_SHARDS=4", "bin/sweep run tiny.yaml --out out"] {
        assert!(first.contains(part), "{part}: {calls}");
    }
    assert!(calls.ends_with("sweep report out --complete\n"), "{calls}");
}
