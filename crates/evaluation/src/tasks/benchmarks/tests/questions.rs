//! `OpenBookQA`, `BoolQ`, `SciQ` and MMLU: requests, refusals and solved examples.

use hint::Hint;
use insta::assert_snapshot;

use super::{Desk, one};
use crate::tasks::{Prompting, Source, Split, documents};

#[test]
fn openbookqa_asks_the_bare_question_in_both_forms() {
    let rows = r#"{"id": "7-1", "question_stem": "Ice is", "choices": {"text": ["warm", "cold"], "label": ["A", "B"]}, "answerKey": " B"}
{"id": "7-2", "question": {"stem": "A stone ", "choices": [{"text": "sinks", "label": "A"}, {"text": "sings", "label": "B"}]}, "answerKey": "A"}"#;
    assert_snapshot!(one("openbookqa/test.jsonl", rows).shown("openbookqa"), @r#"
    7-1 gold=Some(1)
      "Ice is" | " warm" | 4
      "Ice is" | " cold" | 4
    7-2 gold=Some(0)
      "A stone " | " sinks" | 5
      "A stone " | " sings" | 5
    "#);
    let refusal = |row: &str| one("openbookqa/test.jsonl", row).refusal("openbookqa");
    let row = rows.lines().next().unwrap();
    assert_snapshot!(refusal(&format!("{row}\n{}", row.replace(r#"" B""#, r#""C""#))), @r#"
    openbookqa/test.jsonl:2: `answerKey` is "C", the labels are A, B
    hint: the key must be one of the labels; correct the row, or leave it out
    "#);
    assert_snapshot!(refusal(&row.replace("question_stem", "question")), @"
    openbookqa/test.jsonl:1: missing field `question_stem`
    hint: the row has answerKey, choices, id, question; docs/models-and-data.md lists the forms that are read
    ");
    assert_snapshot!(refusal(&row.replace("Ice is", "")), @"
    openbookqa/test.jsonl:1: `question_stem` is empty
    hint: nothing could be asked; correct the row, or leave it out
    ");
}

#[test]
fn boolq_is_answered_by_no_or_yes() {
    let rows = r#"{"passage": "Bats fly at dusk. ", "question": "do bats fly", "idx": 0, "label": 1}
{"passage": "Bats sleep.", "question": "is a bat a bird?", "idx": 1, "label": false}"#;
    assert_snapshot!(one("boolq/val.jsonl", rows).shown("boolq"), @r#"
    boolq-0 gold=Some(1)
      "Bats fly at dusk. \nQuestion: do bats fly?\nAnswer:" | " no" | 2
      "Bats fly at dusk. \nQuestion: do bats fly?\nAnswer:" | " yes" | 3
    boolq-1 gold=Some(0)
      "Bats sleep.\nQuestion: is a bat a bird??\nAnswer:" | " no" | 2
      "Bats sleep.\nQuestion: is a bat a bird??\nAnswer:" | " yes" | 3
    "#);
    let refusal = |row: &str| one("boolq/val.jsonl", row).refusal("boolq");
    let row = rows.lines().next().unwrap();
    // The rows of the test split, whose answers are not published.
    assert_snapshot!(refusal(&format!("{row}\n{}", row.replace(r#""label": 1"#, r#""label": -1"#))), @"
    boolq/val.jsonl:2: `label` is not a whole number
    hint: docs/models-and-data.md lists the forms of rows that are read
    ");
    assert_snapshot!(refusal(&row.replace(r#""label": 1"#, r#""label": 2"#)), @"
    boolq/val.jsonl:1: the right answer has index 2, but there are 2 answers
    hint: answers are counted from 0; correct the label of this row
    ");
    assert_snapshot!(refusal(&row.replace("Bats fly at dusk. ", "")), @"
    boolq/val.jsonl:1: `passage` is empty
    hint: nothing could be asked; correct the row, or leave it out
    ");
    assert_snapshot!(refusal(&row.replace(r#", "label": 1"#, "")), @"
    boolq/val.jsonl:1: missing field `label`
    hint: the row has idx, passage, question; docs/models-and-data.md lists the forms that are read
    ");
}

#[test]
fn sciq_asks_after_its_passage_and_the_right_answer_comes_last() {
    let rows = r#"{"question": "What melts?", "distractor1": "iron", "distractor2": "wood", "distractor3": "salt", "correct_answer": "ice", "support": " Ice melts. "}
{"question": "What burns?", "distractor1": "a", "distractor2": "b", "distractor3": "c", "correct_answer": "d", "support": ""}"#;
    assert_snapshot!(one("sciq/test.jsonl", rows).shown("sciq"), @r#"
    sciq-0 gold=Some(3)
      "Ice melts. \nQuestion: What melts?\nAnswer:" | " iron" | 4
      "Ice melts. \nQuestion: What melts?\nAnswer:" | " wood" | 4
      "Ice melts. \nQuestion: What melts?\nAnswer:" | " salt" | 4
      "Ice melts. \nQuestion: What melts?\nAnswer:" | " ice" | 3
    sciq-1 gold=Some(3)
      "\nQuestion: What burns?\nAnswer:" | " a" | 1
      "\nQuestion: What burns?\nAnswer:" | " b" | 1
      "\nQuestion: What burns?\nAnswer:" | " c" | 1
      "\nQuestion: What burns?\nAnswer:" | " d" | 1
    "#);
    let refusal = |row: &str| one("sciq/test.jsonl", row).refusal("sciq");
    let row = rows.lines().next().unwrap();
    assert_snapshot!(refusal(&format!("{row}\n{}", row.replace("distractor2", "distractor"))), @"
    sciq/test.jsonl:2: missing field `distractor2`
    hint: the row has correct_answer, distractor, distractor1, distractor3, question, support; docs/models-and-data.md lists the forms that are read
    ");
    assert_snapshot!(refusal(&row.replace(r#""ice""#, r#""""#)), @"
    sciq/test.jsonl:1: answer 3 is empty
    hint: nothing would be scored; correct the row, or leave it out
    ");
}

fn mmlu(subject: &str, question: &str, answer: usize) -> String {
    format!(
        r#"{{"question": "{question}", "subject": "{subject}", "choices": ["a", " b", "", "d"], "answer": {answer}}}"#
    )
}

#[test]
fn mmlu_names_its_subject_and_asks_for_a_letter() {
    let rows =
        [mmlu("us_foreign_policy", " Who? ", 3), mmlu("anatomy", "What?", 0), mmlu("us_foreign_policy", "So?", 1)];
    assert_snapshot!(one("mmlu/test.jsonl", &rows.join("\n")).shown("mmlu"), @r#"
    mmlu-us_foreign_policy-0 gold=Some(3)
      "The following are multiple choice questions (with answers) about us foreign policy.\n\nWho?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " A" | 1
      "The following are multiple choice questions (with answers) about us foreign policy.\n\nWho?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " B" | 1
      "The following are multiple choice questions (with answers) about us foreign policy.\n\nWho?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " C" | 1
      "The following are multiple choice questions (with answers) about us foreign policy.\n\nWho?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " D" | 1
    mmlu-anatomy-0 gold=Some(0)
      "The following are multiple choice questions (with answers) about anatomy.\n\nWhat?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " A" | 1
      "The following are multiple choice questions (with answers) about anatomy.\n\nWhat?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " B" | 1
      "The following are multiple choice questions (with answers) about anatomy.\n\nWhat?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " C" | 1
      "The following are multiple choice questions (with answers) about anatomy.\n\nWhat?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " D" | 1
    mmlu-us_foreign_policy-1 gold=Some(1)
      "The following are multiple choice questions (with answers) about us foreign policy.\n\nSo?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " A" | 1
      "The following are multiple choice questions (with answers) about us foreign policy.\n\nSo?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " B" | 1
      "The following are multiple choice questions (with answers) about us foreign policy.\n\nSo?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " C" | 1
      "The following are multiple choice questions (with answers) about us foreign policy.\n\nSo?\nA. a\nB.  b\nC. \nD. d\nAnswer:" | " D" | 1
    "#);
    let refusal = |row: &str| one("mmlu/test.jsonl", &format!("{}\n{row}", rows[1])).refusal("mmlu");
    assert_snapshot!(refusal(&rows[0].replace(r#", "d""#, "")), @"
    mmlu/test.jsonl:2: `choices` holds 3 answers
    hint: a question of MMLU has four; correct the row, or leave it out
    ");
    assert_snapshot!(refusal(&rows[0].replace(r#""answer": 3"#, r#""answer": 4"#)), @"
    mmlu/test.jsonl:2: the right answer has index 4, but there are 4 answers
    hint: answers are counted from 0; correct the label of this row
    ");
    assert_snapshot!(refusal(&rows[0].replace("us_foreign_policy", "")), @"
    mmlu/test.jsonl:2: `subject` is empty
    hint: nothing could be asked; correct the row, or leave it out
    ");
}

/// Prompts that lm-evaluation-harness 0.4.13 built from the same rows with `num_fewshot: 2` and its default seed. Of MMLU it shows the
/// first rows of the subject, after the line that names the subject.
#[test]
fn examples_of_questions_are_those_that_the_harness_shows() {
    let openbookqa = |name: String, key: &str| {
        format!(
            r#"{{"id": "{name}", "question_stem": "{name}", "choices": {{"text": ["yes", "no"], "label": ["A", "B"]}}, "answerKey": "{key}"}}"#
        )
    };
    let boolq =
        |i: usize| format!(r#"{{"passage": "P{i}.", "question": "is it {i}", "idx": {i}, "label": {}}}"#, i % 2);
    let sciq = |name: String| {
        format!(
            r#"{{"question": "{name}", "distractor1": "a", "distractor2": "b", "distractor3": "c", "correct_answer": "{}", "support": ""}}"#,
            name.to_lowercase()
        )
    };
    let exam =
        |subject: &str, name: String, answer: usize| mmlu(subject, &name, answer).replace(r#"" b", """#, r#""b", "c""#);
    let lines = |rows: Vec<String>| rows.join("\n");
    let subject = |i: usize| if i % 2 == 1 { "anatomy" } else { "us_foreign_policy" };
    let desk = Desk::new(&[
        ("openbookqa/train.jsonl", &lines((0..40).map(|i| openbookqa(format!("T{i}"), ["A", "B"][i % 2])).collect())),
        ("openbookqa/test.jsonl", &lines((0..3).map(|i| openbookqa(format!("Q{i}"), "A")).collect())),
        ("boolq/train.jsonl", &lines((0..40).map(boolq).collect())),
        ("boolq/val.jsonl", &lines((100..103).map(boolq).collect())),
        ("sciq/train.jsonl", &lines((0..40).map(|i| sciq(format!("T{i}"))).collect())),
        ("sciq/test.jsonl", &lines((0..3).map(|i| sciq(format!("Q{i}"))).collect())),
        ("mmlu/dev.jsonl", &lines((0..10).map(|i| exam(subject(i), format!("D{i}"), i % 4)).collect())),
        ("mmlu/test.jsonl", &[exam(subject(1), "Q0".to_owned(), 0), exam(subject(2), "Q1".to_owned(), 1)].join("\n")),
    ]);
    let source = |fewshot| Source { prompting: Prompting { fewshot, ..Prompting::default() }, ..desk.source() };
    let shown = |task: &str| -> Vec<String> {
        let documents = documents(task, &source(2), Split::All, None).unwrap();
        documents.into_iter().map(|document| document.requests[0].context.clone()).collect()
    };
    assert_eq!(shown("openbookqa"), ["T28 yes\n\nT7 no\n\nQ0", "T0 yes\n\nT5 no\n\nQ1", "T37 no\n\nT2 yes\n\nQ2"]);
    assert_eq!(
        shown("boolq"),
        [
            "P28.\nQuestion: is it 28?\nAnswer: no\n\nP7.\nQuestion: is it 7?\nAnswer: yes\n\nP100.\nQuestion: is it 100?\nAnswer:",
            "P5.\nQuestion: is it 5?\nAnswer: yes\n\nP37.\nQuestion: is it 37?\nAnswer: yes\n\nP101.\nQuestion: is it 101?\nAnswer:",
            "P5.\nQuestion: is it 5?\nAnswer: yes\n\nP6.\nQuestion: is it 6?\nAnswer: no\n\nP102.\nQuestion: is it 102?\nAnswer:",
        ]
    );
    assert_eq!(
        shown("sciq"),
        [
            "\nQuestion: T28\nAnswer: t28\n\n\nQuestion: T7\nAnswer: t7\n\n\nQuestion: Q0\nAnswer:",
            "\nQuestion: T0\nAnswer: t0\n\n\nQuestion: T5\nAnswer: t5\n\n\nQuestion: Q1\nAnswer:",
            "\nQuestion: T37\nAnswer: t37\n\n\nQuestion: T2\nAnswer: t2\n\n\nQuestion: Q2\nAnswer:",
        ]
    );
    let exams = [
        "The following are multiple choice questions (with answers) about anatomy.\n\n\
         D1\nA. a\nB. b\nC. c\nD. d\nAnswer: B\n\nD3\nA. a\nB. b\nC. c\nD. d\nAnswer: D\n\nQ0\nA. a\nB. b\nC. c\nD. d\nAnswer:",
        "The following are multiple choice questions (with answers) about us foreign policy.\n\n\
         D0\nA. a\nB. b\nC. c\nD. d\nAnswer: A\n\nD2\nA. a\nB. b\nC. c\nD. d\nAnswer: C\n\nQ1\nA. a\nB. b\nC. c\nD. d\nAnswer:",
    ];
    assert_eq!(shown("mmlu"), exams);
    let error = documents("mmlu", &source(6), Split::All, None).unwrap_err();
    assert_snapshot!(format!("{error}\nhint: {}", error.hint().unwrap()), @r#"
    `mmlu`: 6 examples are to stand before a question, and 5 are there for "The following are multiple choice questions (with answers) about anatomy."
    hint: ask for fewer with `fewshot`
    "#);
}
