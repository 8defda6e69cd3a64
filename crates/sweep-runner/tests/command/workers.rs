//! A run in several processes on one folder, and shares of one.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::desk::{Desk, TINY, text};

/// Long enough to meet a process at work.
fn longer() -> String {
    TINY.replace("[0.8]", "[0.9, 0.8, 0.7]").replace("limit: 2", "limit: 40")
}

/// A run with two workers.
fn start(desk: &Desk, out: &str) -> Child {
    let arguments = ["run", "tiny.yaml", "--out", out, "--device", "cpu", "--workers", "2"];
    desk.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The ids of both workers, once one of them has recorded something.
fn at_work(desk: &Desk, out: &str, child: &Child) -> Vec<String> {
    let started = Instant::now();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    loop {
        let ids: Vec<String> = fs::read_to_string(&children).unwrap().split_whitespace().map(str::to_owned).collect();
        if ids.len() == 2 && !desk.cells(out).is_empty() {
            return ids;
        }
        assert!(started.elapsed() < Duration::from_mins(2), "no cell within two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill(signal: &str, id: &str) {
    assert!(Command::new("kill").args(["-s", signal, id]).status().unwrap().success());
}

#[test]
fn several_processes_make_the_frames_of_one() {
    let desk = Desk::new(TINY);
    desk.run("one");
    let output = desk.sweep(&["run", "tiny.yaml", "--out", "two", "--device", "cpu", "--workers", "2"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("2 processes with"), "{stderr}");
    // Either may find that the other has done everything.
    for worker in ["[worker 1] ", "[worker 2] "] {
        assert!(stderr.contains(worker), "{stderr}");
    }
    assert!(stderr.contains("] loading "), "{stderr}");
    let stdout = text(&output.stdout);
    let reports = |name| stdout.lines().filter(|line| line.ends_with(name)).count();
    assert_eq!((reports("report.md"), reports("report.html")), (1, 1), "the parent reports, once: {stdout}");
    assert_eq!(desk.frames("two"), desk.frames("one"));
}

#[test]
fn a_process_that_is_killed_does_not_end_the_others() {
    let desk = Desk::new(&longer());
    let child = start(&desk, "killed");
    let ids = at_work(&desk, "killed", &child);
    kill("KILL", &ids[0]);
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("ended: signal: 9") && stderr.contains("1 lost"), "{stderr}");
    desk.run("undisturbed");
    assert_eq!(desk.frames("killed"), desk.frames("undisturbed"));
}

#[test]
fn a_run_that_is_told_to_stop_stops_all_its_processes_and_goes_on_later() {
    let desk = Desk::new(&longer());
    let child = start(&desk, "stopped");
    at_work(&desk, "stopped", &child);
    kill("USR1", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(!desk.path("stopped/report.md").exists());
    desk.run("stopped");
    desk.run("undisturbed");
    assert_eq!(desk.frames("stopped"), desk.frames("undisturbed"));
}

#[test]
fn shares_make_the_frames_of_the_whole_and_do_not_report() {
    let desk = Desk::new(TINY);
    desk.run("whole");
    for shard in ["2/2", "1/2"] {
        let output = desk.sweep(&["run", "tiny.yaml", "--out", "shares", "--shard", shard]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(!desk.path("shares/report.md").exists());
    }
    let report = desk.sweep(&["report", "shares", "--complete"]);
    assert!(report.status.success(), "{}", text(&report.stderr));
    assert_eq!(desk.frames("shares"), desk.frames("whole"));
}

#[test]
fn a_share_comes_from_the_scheduler_unless_the_command_line_says_otherwise() {
    let desk = Desk::new(TINY);
    let run = |variables: &[(&str, &str)], options: &[&str]| {
        let arguments: Vec<&str> = ["run", "tiny.yaml", "--out", "out"].iter().chain(options).copied().collect();
        let output = desk.command(&arguments).envs(variables.iter().copied()).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let index = ("JOB_COMPLETION_INDEX", "0");
    let (code, stderr) = run(&[index], &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("JOB_COMPLETION_INDEX is set, but SWEEP_SHARDS is not"), "{stderr}");
    let (code, stderr) = run(&[], &["--shard", "auto"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("the environment names no shard"), "{stderr}");
    let (code, stderr) = run(&[index, ("SWEEP_SHARDS", "2")], &[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("shard 1/2 of the work, from JOB_COMPLETION_INDEX=0 and SWEEP_SHARDS=2"), "{stderr}");
    // Not all cells are there, and this report says so.
    assert_eq!(desk.sweep(&["report", "out", "--complete"]).status.code(), Some(1));
    let (code, stderr) = run(&[index], &["--shard", "none"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(desk.path("out/report.md").exists() && !stderr.contains("of the work, from"), "{stderr}");
    let (code, stderr) = run(&[], &["--shard", "3/2"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("there is no shard 3 of 2: write 1/2 to 2/2"), "{stderr}");
}

#[test]
fn several_devices_are_for_runs_alone() {
    let desk = Desk::new(TINY);
    for (arguments, said) in [
        (&["bench", "--device", "cuda:0,1"][..], "--device cuda:0,1 names several GPUs"),
        (&["run", "tiny.yaml", "--device", "cuda:0,1", "--workers", "2"], "--workers divides a CPU, not GPUs"),
        (&["run", "tiny.yaml", "--device", "cuda:1,1"], "names GPU 1 twice"),
        (&["run", "tiny.yaml", "--workers", "0"], "--workers must be at least 1"),
        (&["run", "tiny.yaml", "--workers", "100000"], "--workers 100000 is too many for this machine"),
    ] {
        let output = desk.sweep(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[test]
fn numbers_of_threads_that_cannot_be_are_refused_before_anything_is_done() {
    let desk = Desk::new(TINY);
    for (name, text) in
        [("RAYON_NUM_THREADS", "100000"), ("RAYON_NUM_THREADS", "many"), ("POLARS_MAX_THREADS", "100000")]
    {
        let output = desk.command(&["run", "tiny.yaml", "--out", "out"]).env(name, text).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}={text}: {stderr}");
        assert!(stderr.contains(name) && stderr.contains("help: ") && !stderr.contains("panicked"), "{stderr}");
        assert!(!desk.path("out").exists());
    }
}

/// A signal that comes while figures are drawn, in the process of a run, in the parent of several, and in a report.
#[test]
fn signals_during_the_report_have_their_own_exit_codes_too() {
    let desk = Desk::new(TINY);
    desk.run("out");
    for command in [
        &["run", "tiny.yaml", "--out", "out"][..],
        &["run", "tiny.yaml", "--out", "out", "--device", "cpu", "--workers", "2"],
        &["report", "out"],
    ] {
        for (name, code) in [("USR1", 75), ("TERM", 143), ("INT", 130)] {
            // Drawing ends soon; one of some attempts meets it.
            let mut ended = (0..20).map(|_| {
                let _ = fs::remove_file(desk.path("out/trials.parquet"));
                let child = desk.command(command).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
                let started = Instant::now();
                while !desk.path("out/trials.parquet").exists() {
                    assert!(started.elapsed() < Duration::from_mins(2), "no frames within two minutes");
                    std::thread::sleep(Duration::from_millis(1));
                }
                kill(name, &child.id().to_string());
                child.wait_with_output().unwrap()
            });
            let met = ended.find(|output| output.status.code() != Some(0));
            let output = met.expect("the report was met within twenty attempts");
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{command:?} {name}: {stderr}");
            assert!(stderr.contains(&format!("stopped by SIG{name}")), "{stderr}");
        }
    }
    assert!(desk.run("out").starts_with("0 cells run"));
}
