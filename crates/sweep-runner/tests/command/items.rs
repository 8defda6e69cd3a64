//! What the items say, what became of their tokens, and `sweep items`, which shows both.

use std::fs;

use crate::desk::{Desk, TINY, parquet, text};
use polars::prelude::*;

const RUN: [&str; 4] = ["run", "tiny.yaml", "--out", "out"];

fn columns(frame: &DataFrame) -> String {
    let names: Vec<String> = frame.get_column_names().into_iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Sixteen items, of which random removal loses some.
fn lossy(record_plans: &str) -> String {
    TINY.replace("[0.8]", "[0.6]").replace("limit: 2", "limit: 16") + record_plans
}

#[test]
fn texts_and_plans_are_frames() {
    let desk = Desk::new(TINY);
    desk.run("out");
    let items = parquet(&desk.path("out/task_items.parquet"));
    assert_eq!(columns(&items), "model, task, item_id, text, target, choices, tokens, context_tokens, necessary");
    assert_eq!(items.height(), 4, "two items of two tasks");
    let texts = items.column("text").unwrap().str().unwrap();
    assert!(texts.iter().all(|text| text.is_some_and(|text| text.contains(' ') && !text.contains('\u{120}'))));
    let choices = items.column("choices").unwrap().list().unwrap();
    let counts: Vec<u32> = choices.lst_lengths().iter().map(Option::unwrap_or_default).collect();
    assert_eq!(counts, [0, 0, 2, 2], "a target has no choices");
    let plans = parquet(&desk.path("out/plans.parquet"));
    assert_eq!(columns(&plans), "trial_id, cell_id, task, item_id, site, kept, dropped, merged, merged_into");
    assert_eq!(plans.height(), 8, "four items at two sites");
}

/// A folder from before the texts were recorded, and one whose file is damaged.
#[test]
fn lost_texts_are_written_again_and_no_cell_is_run() {
    let desk = Desk::new(TINY);
    desk.run("out");
    let files = || {
        let mut files: Vec<_> =
            fs::read_dir(desk.path("out/task-items")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    let first = files();
    let before: Vec<Vec<u8>> = first.iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(first.len(), 2);
    fs::remove_file(&first[0]).unwrap();
    let output = desk.sweep(&["items", "out", "--b", "random"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("is not recorded") && stderr.contains("`sweep run` on the experiment"), "{stderr}");
    fs::write(&first[1], "{").unwrap();
    assert_eq!(desk.sweep(&["items", "out", "--b", "random"]).status.code(), Some(2));
    assert!(text(&desk.sweep(&["status", "out"]).stdout).contains("task-items"));
    assert!(desk.run("out").contains("0 cells run"));
    let after: Vec<Vec<u8>> = files().iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn plans_are_recorded_as_asked() {
    let recorded = |record_plans: &str| {
        let desk = Desk::new(&lossy(record_plans));
        desk.run("out");
        let plans = parquet(&desk.path("out/plans.parquet"));
        let items = parquet(&desk.path("out/items.parquet"));
        let tokens = parquet(&desk.path("out/task_items.parquet")).height();
        (desk, plans.height(), items.height(), tokens)
    };
    let (_, first, ..) = recorded("record_plans: 4\n");
    assert_eq!(first, 2 * 4 * 2, "two tasks, four items, two sites");
    let (_, all, items, tokens) = recorded("record_plans: all\n");
    assert_eq!((all, items, tokens), (2 * 16 * 2, 2 * 2 * 16, 2 * 16));
    let (desk, lost, ..) = recorded("record_plans: lost\n");
    assert!(first < lost && lost < all, "{lost}");
    // One by one, the baseline alone before its rival: the same plans.
    let alone = Desk::new(&lossy("record_plans: lost\n").replace("  - random: { seeds: [0] }\n", ""));
    alone.run("out");
    fs::write(alone.path("tiny.yaml"), lossy("record_plans: lost\n")).unwrap();
    let output = alone.sweep(&[&RUN[..], &["--no-sharing"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let plans = |desk: &Desk| fs::read(desk.path("out/plans.parquet")).unwrap();
    assert_eq!(plans(&alone), plans(&desk));
    // Every lost item is shown with what was removed of it.
    let shown = text(&desk.sweep(&["items", "out", "--a", "dense", "--b", "random", "--lost", "--most", "99"]).stdout);
    assert!(shown.contains("[-") && !shown.contains("not recorded"), "{shown}");
}

#[test]
fn items_are_shown_with_what_was_removed() {
    let desk = Desk::new(TINY);
    desk.run("out");
    let of = |words: &[&str]| {
        let output = desk.sweep(&[&["items", "out"], words].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, stdout, stderr) = of(&["--b", "random", "--task", "world_piqa", "--item", "world_piqa-0001"]);
    assert_eq!(code, Some(0), "{stderr}");
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(stdout) });
    for (words, said) in [
        (&["--b", "randm"][..], "there is no finished cell of `randm`"),
        (&["--b", "random", "--task", "none"], "the protocols context; the tasks world_lambada"),
        (&["--a", "random", "--b", "dense"], "no cell of `dense` has a partner"),
        (&["--b", "random", "--reduction", "50"], "it has 20.7 % nominal FLOPs reduction"),
        (&["--b", "random", "--reduction", "much"], "write per cent or a share: 20, 20% or 0.2"),
    ] {
        let (code, stdout, stderr) = of(words);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}
