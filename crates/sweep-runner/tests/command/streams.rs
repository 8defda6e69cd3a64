//! Nobody reads what the program says: work and exit codes stay what they are. Data that is lost is an error.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use crate::desk::{Desk, TINY, text};

/// The writing end of a pipe that nobody reads any more.
fn unread() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A device without room.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn code(command: &mut Command) -> Option<i32> {
    command.status().unwrap().code()
}

#[test]
fn a_run_goes_on_where_stderr_cannot_be_written() {
    let desk = Desk::new(TINY);
    desk.run("heard");
    for (out, stderr) in [("unread", unread()), ("full", full())] {
        let mut run = desk.command(&["run", "tiny.yaml", "--out", out]);
        // Log lines of every level as well.
        run.env("SWEEP_LOG", "trace").stdout(Stdio::null()).stderr(stderr);
        assert_eq!(code(&mut run), Some(0), "{out}");
        assert_eq!(desk.frames(out), desk.frames("heard"), "{out}");
    }
}

#[test]
fn processes_of_a_run_go_on_where_stderr_cannot_be_written() {
    let desk = Desk::new(TINY);
    let mut run = desk.command(&["run", "tiny.yaml", "--out", "out", "--workers", "2"]);
    assert_eq!(code(run.stdout(Stdio::null()).stderr(full())), Some(0));
    assert_eq!(desk.cells("out").len(), 4);
}

/// As `sweep run ... 2>&1 | head -1`: both streams end in one pipe, whose reader goes after the first line.
#[test]
fn a_run_goes_on_when_its_reader_has_seen_enough() {
    let desk = Desk::new(TINY);
    let (mut reader, writer) = io::pipe().unwrap();
    let mut run = desk.command(&["run", "tiny.yaml", "--out", "out"]);
    let mut child = run.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    drop(run);
    let mut first = [0; 1];
    reader.read_exact(&mut first).unwrap();
    drop(reader);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(desk.cells("out").len(), 4);
    assert!(desk.path("out/report.md").exists());
}

#[test]
fn refusals_keep_their_exit_code() {
    let desk = Desk::new(TINY);
    fs::write(desk.path("wrong.yaml"), TINY.replace("limit: 2", "limits: 2")).unwrap();
    for arguments in [
        &["plan", "/nonexistent"][..],
        &["plan", "wrong.yaml"],
        &["status", "nothing"],
        &["report", "nothing"],
        &["no-such-command"],
        &["run"],
        &[],
    ] {
        for stderr in [unread(), full()] {
            assert_eq!(code(desk.command(arguments).stderr(stderr).stdout(Stdio::null())), Some(2), "{arguments:?}");
        }
    }
}

#[test]
fn data_that_nobody_wants_is_no_failure_and_data_that_is_lost_is_one() {
    let desk = Desk::new(TINY);
    desk.run("out");
    for arguments in [
        &["strategies"][..],
        &["probes"],
        &["models"],
        &["tasks"],
        &["plan", "tiny.yaml"],
        &["plan", "tiny.yaml", "--json"],
        &["status", "out"],
        &["status", "out", "--json"],
        &["analyse", "out"],
        &["report", "out"],
        &["compare", "out", "--a", "dense", "--b", "dense"],
        &["--help"],
        &["run", "--help"],
        &["--version"],
    ] {
        let unread = desk.command(arguments).stdout(unread()).output().unwrap();
        assert_eq!(
            (unread.status.code(), text(&unread.stderr).contains("panicked")),
            (Some(0), false),
            "{arguments:?}"
        );
        let lost = desk.command(arguments).stdout(full()).output().unwrap();
        assert_eq!((lost.status.code(), text(&lost.stderr).contains("panicked")), (Some(1), false), "{arguments:?}");
        // Neither can be told, and neither can be shown.
        assert_eq!(code(desk.command(arguments).stdout(full()).stderr(full())), Some(1), "{arguments:?}");
    }
}

/// `nohup` and batch systems may hand over closed streams.
#[test]
fn closed_streams_are_as_good_as_none() {
    let desk = Desk::new(TINY);
    let program = desk.command(&[]).get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" run tiny.yaml --out out <&- >&- 2>&-"]).arg(program).current_dir(desk.path("."));
    assert_eq!(code(&mut shell), Some(0));
    assert_eq!(desk.cells("out").len(), 4);
}

/// A line of another process that is no text must not end the reading of its lines, or it would be held up.
#[test]
fn lines_are_written_whole() {
    let desk = Desk::new(TINY);
    let (mut reader, writer) = io::pipe().unwrap();
    let mut run = desk.command(&["run", "tiny.yaml", "--out", "out", "--workers", "2"]);
    let mut child = run.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    drop(run);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    for line in said.lines().filter(|line| line.contains("cells run")) {
        assert!(line.starts_with("[worker "), "{said}");
    }
    io::stderr().flush().unwrap();
}
