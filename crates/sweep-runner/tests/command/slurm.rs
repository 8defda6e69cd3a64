//! `sweep submit slurm` on a real SLURM. `just test-slurm` starts a cluster of one node for it; any cluster does whose nodes
//! see the temporary folder and have two GPUs (devices of any kind: nothing computes on them).

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::desk::{Desk, TINY, text};

const TEMPLATE: &str = include_str!("../../../../experiments/templates/slurm.sbatch");
const PATIENCE: Duration = Duration::from_mins(6);

/// Long enough to meet a task at work.
fn longer() -> String {
    TINY.replace("[0.8]", "[0.9, 0.8, 0.7]").replace("limit: 2", "limit: 150")
}

/// An array with the report behind it.
struct Jobs<'a> {
    desk: &'a Desk,
    array: String,
    report: String,
}

fn submit<'a>(desk: &'a Desk, shards: &str, options: &[&str]) -> Jobs<'a> {
    let arguments = ["submit", "slurm", "tiny.yaml", "--shards", shards, "--out", "array"];
    let arguments: Vec<&str> = arguments.iter().chain(options).copied().collect();
    let output = desk.sweep(&arguments);
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let ids: Vec<String> = stdout
        .lines()
        .next()
        .unwrap()
        .split([' ', ','])
        .filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect();
    Jobs { desk, array: ids[0].clone(), report: ids[1].clone() }
}

fn slurm(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}; `just test-slurm` starts a cluster first"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "still not: {what}\n{}", slurm("scontrol", &["show", "job"]));
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Jobs<'_> {
    /// A task's id as SLURM writes it.
    fn task(&self, index: usize) -> String {
        format!("{}_{index}", self.array)
    }

    /// A field of a job, for example `JobState`.
    fn field(id: &str, name: &str) -> String {
        let shown = slurm("scontrol", &["--oneliner", "show", "job", id]);
        let prefix = format!("{name}=");
        shown.split_whitespace().find_map(|word| word.strip_prefix(&prefix)).unwrap_or_default().to_owned()
    }

    fn ending(id: &str) -> (String, String) {
        (Self::field(id, "JobState"), Self::field(id, "Restarts"))
    }

    /// Waits until the report has ended, which is behind the tasks.
    fn finish(&self) {
        let over = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"];
        let mut seen = BTreeMap::new();
        until("the report has ended", || {
            self.hurry(&mut seen);
            over.contains(&Self::field(&self.report, "JobState").as_str())
        });
    }

    /// SLURM lets a task that is queued again wait for two minutes; for these it is enough that their first start has been
    /// cleared away.
    fn hurry(&self, seen: &mut BTreeMap<String, Instant>) {
        let waiting = slurm("squeue", &["--noheader", "--array", "--jobs", &self.array, "--format", "%i %r"]);
        let waiting: Vec<&str> = waiting.lines().filter_map(|line| line.trim().strip_suffix(" BeginTime")).collect();
        seen.retain(|task, _| waiting.contains(&task.as_str()));
        for task in waiting {
            if seen.entry(task.to_owned()).or_insert_with(Instant::now).elapsed() > Duration::from_secs(15) {
                // It may have started meanwhile.
                let _ = Command::new("scontrol").args(["update", &format!("JobId={task}"), "StartTime=now"]).output();
            }
        }
    }

    fn log(&self, index: usize) -> String {
        fs::read_to_string(self.desk.path(&format!("array/slurm/{}.log", self.task(index)))).unwrap_or_default()
    }

    /// Waits until the task computes; returns the id of its `sweep run`.
    fn at_work(&self, index: usize) -> String {
        let mut found = None;
        until("the task is at work", || {
            let job = Self::field(&self.task(index), "JobId");
            found = self.log(index).contains("loading").then(|| sweep_of(&job)).flatten();
            found.is_some()
        });
        found.unwrap()
    }

    /// The frames are those of a run without a cluster.
    fn same_as_alone(&self) {
        self.desk.run("alone");
        assert_eq!(self.desk.frames("array"), self.desk.frames("alone"));
    }
}

/// Process id of the `sweep` in a job.
fn sweep_of(job: &str) -> Option<String> {
    let mine = format!("SLURM_JOB_ID={job}");
    fs::read_dir("/proc").unwrap().flatten().find_map(|process| {
        let is_sweep = fs::read_to_string(process.path().join("comm")).ok()?.trim() == "sweep";
        let environment = fs::read(process.path().join("environ")).ok()?;
        let in_job = environment.split(|byte| *byte == 0).any(|variable| variable == mine.as_bytes());
        (is_sweep && in_job).then(|| process.file_name().into_string().ok()).flatten()
    })
}

/// Process id of the batch script behind a `sweep`.
fn script_of(process: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned()
}

fn completed(restarts: &str) -> (String, String) {
    ("COMPLETED".to_owned(), restarts.to_owned())
}

#[test]
#[ignore = "needs SLURM: just test-slurm"]
fn an_array_makes_the_frames_of_one_run() {
    let desk = Desk::new(TINY);
    let jobs = submit(&desk, "3", &[]);
    jobs.finish();
    for index in 0..3 {
        assert_eq!(Jobs::ending(&jobs.task(index)), completed("0"), "{}", jobs.log(index));
        assert!(jobs.log(index).contains(&format!("shard {}/3 of the work", index + 1)), "{}", jobs.log(index));
    }
    assert_eq!(Jobs::ending(&jobs.report), completed("0"));
    jobs.same_as_alone();
}

#[test]
#[ignore = "needs SLURM: just test-slurm"]
fn a_run_that_is_killed_starts_again() {
    let desk = Desk::new(&longer());
    let jobs = submit(&desk, "2", &[]);
    let process = jobs.at_work(0);
    slurm("kill", &["-KILL", &process]);
    jobs.finish();
    assert_eq!(Jobs::ending(&jobs.task(0)), completed("1"), "{}", jobs.log(0));
    assert!(jobs.log(0).contains("ended with status 137; start 1 of 5 follows"), "{}", jobs.log(0));
    assert_eq!(Jobs::ending(&jobs.task(1)), completed("0"), "{}", jobs.log(1));
    jobs.same_as_alone();
}

#[test]
#[ignore = "needs SLURM: just test-slurm"]
fn a_task_that_is_killed_with_its_script_is_reported_and_submitted_again() {
    let desk = Desk::new(&longer());
    let jobs = submit(&desk, "2", &[]);
    let process = jobs.at_work(0);
    // As the kernel does it where the memory of a task is used up: script first, so that it cannot ask to be queued again.
    slurm("kill", &["-KILL", &script_of(&process)]);
    slurm("kill", &["-KILL", &process]);
    jobs.finish();
    assert_eq!(Jobs::ending(&jobs.task(0)).0, "FAILED", "{}", jobs.log(0));
    assert_eq!(Jobs::ending(&jobs.report).0, "FAILED", "cells are missing");
    let again = submit(&desk, "2", &[]);
    again.finish();
    assert_eq!(Jobs::ending(&again.report), completed("0"));
    again.same_as_alone();
}

#[test]
#[ignore = "needs SLURM: just test-slurm"]
fn a_task_that_is_warned_stops_and_goes_on() {
    let desk = Desk::new(&longer());
    let jobs = submit(&desk, "2", &[]);
    jobs.at_work(1);
    // What `#SBATCH --signal=B:USR1` sends when time is nearly up.
    slurm("scancel", &["--batch", "--signal=USR1", &jobs.task(1)]);
    jobs.finish();
    assert_eq!(Jobs::ending(&jobs.task(1)), completed("1"), "{}", jobs.log(1));
    assert!(jobs.log(1).contains("ended with status 75; start 1 of 5 follows"), "{}", jobs.log(1));
    assert_eq!(Jobs::ending(&jobs.task(0)), completed("0"), "{}", jobs.log(0));
    assert_eq!(Jobs::ending(&jobs.report), completed("0"));
    jobs.same_as_alone();
}

#[test]
#[ignore = "needs SLURM: just test-slurm"]
fn a_task_that_dies_each_time_ends() {
    let desk = Desk::new(TINY);
    let template = TEMPLATE.replace("retries=5", "retries=2").replace("{{run}} &", "sh -c 'kill -KILL $$' & # {{run}}");
    fs::write(desk.path("dies.sbatch"), template).unwrap();
    let jobs = submit(&desk, "1", &["--template", "dies.sbatch"]);
    jobs.finish();
    assert_eq!(Jobs::ending(&jobs.task(0)), ("FAILED".to_owned(), "2".to_owned()), "{}", jobs.log(0));
    assert!(jobs.log(0).contains("ended with status 137 after 2 further starts: giving up"), "{}", jobs.log(0));
    assert_eq!(Jobs::ending(&jobs.report).0, "FAILED", "there is nothing to report");
}

#[test]
#[ignore = "needs SLURM: just test-slurm"]
fn a_task_that_is_cancelled_stays_so() {
    let desk = Desk::new(&longer());
    let jobs = submit(&desk, "1", &[]);
    jobs.at_work(0);
    slurm("scancel", &[&jobs.task(0)]);
    jobs.finish();
    assert_eq!(Jobs::ending(&jobs.task(0)), ("CANCELLED".to_owned(), "0".to_owned()), "{}", jobs.log(0));
}

#[test]
#[ignore = "needs SLURM: just test-slurm"]
fn tasks_at_the_same_time_have_different_gpus() {
    let desk = Desk::new(TINY);
    let look = "{ echo \"$CUDA_VISIBLE_DEVICES $SLURM_JOB_GPUS\" > gpu-$SLURM_ARRAY_TASK_ID; sleep 3; {{run}}; } &";
    let template = TEMPLATE.replace("##SBATCH --gres", "#SBATCH --gres").replace("{{run}} &", look);
    fs::write(desk.path("gpu.sbatch"), template).unwrap();
    let jobs = submit(&desk, "2", &["--template", "gpu.sbatch"]);
    jobs.finish();
    let gpu = |index: usize| fs::read_to_string(desk.path(&format!("gpu-{index}"))).unwrap().trim().to_owned();
    let mut seen = [gpu(0), gpu(1)];
    seen.sort();
    assert_eq!(seen, ["0 0", "1 1"]);
    assert_eq!(Jobs::ending(&jobs.report), completed("0"));
    jobs.same_as_alone();
}
