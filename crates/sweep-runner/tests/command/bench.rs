//! `sweep bench` as its users run it: a published size with random weights, on the CPU.

use std::fs::File;

use assert_cmd::Command;
use polars::prelude::*;

fn bench(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::new(assert_cmd::cargo::cargo_bin!("sweep"))
        .args(["bench", "--device", "cpu", "--repeats", "1"])
        .args(arguments)
        .assert()
}

#[test]
fn prefill_and_generation_are_measured_the_papers_way_and_the_honest_way() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bench.parquet");
    let arguments = [
        "--random",
        "mamba2-130m",
        "--shape",
        "2x16",
        "--logits",
        "all-at-once,last",
        "--generate",
        "2x16+3,1x16+1",
        "--strategy",
        "utrc",
        "--keep-ratio",
        "0.8",
        "--out",
    ];
    let done = bench(&[&arguments[..], &[out.to_str().unwrap()]].concat()).success();
    let text = String::from_utf8(done.get_output().stdout.clone()).unwrap();
    for row in [
        "| mamba2-130m | 2x16 | dense | all-at-once |",
        "| mamba2-130m | 2x16 | utrc | last |",
        "| mamba2-130m | 2x16+3 | dense |",
        "| mamba2-130m | 1x16+1 | utrc |",
    ] {
        assert!(text.contains(row), "{row} in\n{text}");
    }
    let frame = ParquetReader::new(File::open(out).unwrap()).finish().unwrap();
    assert_eq!(frame.height(), 8);
    let column = |name: &str| -> Vec<Option<f64>> { frame.column(name).unwrap().f64().unwrap().iter().collect() };
    let (arriving, left, generated) = (column("tokens_in"), column("tokens_kept"), column("tokens_generated"));
    assert_eq!(arriving, [32.0, 32.0, 32.0, 32.0, 32.0, 32.0, 16.0, 16.0].map(Some));
    assert_eq!(generated, [None, None, None, None, Some(6.0), Some(6.0), Some(1.0), Some(1.0)]);
    for row in 0..8 {
        assert_eq!(left[row] < arriving[row], row % 2 == 1, "row {row}: only utrc reduces");
    }
    // One token comes with the prompt; steps are what generation is timed by.
    let speeds = column("generated_tokens_per_s");
    assert!(speeds[4].unwrap() > 0.0 && speeds[6].is_none(), "{speeds:?}");
    assert!(column("first_token_seconds")[6].unwrap() > 0.0);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    for (arguments, said) in [
        (["--generate", "2x16"], "write 16x2048+100 for 100 tokens after 16 prompts of 2048"),
        (["--shape", "16"], "`16` is not a shape"),
        (["--logits", "some"], "[possible values: all, all-at-once, last]"),
        (["--strategy", "utrc:q=0.5:match_window=8"], "write name=value, and a comma before the next one"),
        (["--strategy", "utrc,tome"], "name each strategy by itself"),
        (["--random", "mamba3-9b"], "no published model is called `mamba3-9b`"),
    ] {
        let refused = bench(&arguments).code(2);
        let stderr = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}
