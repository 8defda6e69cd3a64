//! Every branch from rows to documents, on rows written here.

mod questions;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Command;

use bzip2::Compression;
use bzip2::write::BzEncoder;
use hint::Hint;
use insta::assert_snapshot;
use tempfile::TempDir;

use crate::tasks::{Data, Document, MOST_BYTES, MOST_ROWS, Prompting, Source, Split, TaskError, documents, facts};

/// A data directory with some files.
struct Desk(TempDir);

impl Desk {
    fn new(files: &[(&str, &str)]) -> Self {
        let desk = Self(TempDir::new().unwrap());
        for (name, text) in files {
            let path = desk.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        desk
    }

    fn source(&self) -> Source {
        Source { data: Data::Folder(self.0.path().to_owned()), prompting: Prompting::default() }
    }

    fn documents(&self, task: &str) -> Result<Vec<Document>, TaskError> {
        documents(task, &self.source(), Split::All, None)
    }

    /// Id, gold and requests of every document.
    fn shown(&self, task: &str) -> String {
        let documents = self.documents(task).unwrap();
        let lines = documents.iter().flat_map(|document| {
            let head = format!("{} gold={:?}", document.id, document.gold);
            let requests = document.requests.iter();
            let requests = requests.map(|r| format!("  {:?} | {:?} | {}", r.context, r.continuation, r.characters));
            std::iter::once(head).chain(requests)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn refusal(&self, task: &str) -> String {
        let error = self.documents(task).unwrap_err();
        let folder = self.0.path().display().to_string();
        format!("{error}\nhint: {}", error.hint().unwrap()).replace(&folder, "DATA")
    }
}

fn one(name: &str, text: &str) -> Desk {
    Desk::new(&[(name, text)])
}

#[test]
fn lambada_asks_for_what_follows_the_last_space() {
    let rows = r#"{"text": "Ann has a red hat"}
{"text": "Ann asked.\n\n\"Who is\nthere?\" said Bob"}
{"text": "she put on the hat.\n\nHat"}
{"text": "Ann"}"#;
    assert_snapshot!(one("lambada/lambada_test.jsonl", rows).shown("lambada_openai"), @r#"
    lambada_openai-0 gold=None
      "Ann has a red" | " hat" | 3
    lambada_openai-1 gold=None
      "Ann asked.\n\n\"Who is\nthere?\" said" | " Bob" | 3
    lambada_openai-2 gold=None
      "she put on the" | " hat.\n\nHat" | 9
    lambada_openai-3 gold=None
      "" | " Ann" | 3
    "#);
    let refusal = |row: &str| one("lambada/lambada_test.jsonl", row).refusal("lambada_openai");
    assert_snapshot!(refusal(r#"{"text": "Ann has "}"#), @"
    lambada/lambada_test.jsonl:1: `text` ends in a space, so that its last word is empty
    hint: the last word is what is asked for; correct the row, or leave it out
    ");
    assert_snapshot!(refusal("{\"text\": \"a b\"}\n{\"page\": \"a\", \"n\": 1}"), @"
    lambada/lambada_test.jsonl:2: missing field `text`
    hint: the row has n, page; docs/models-and-data.md lists the forms that are read
    ");
    assert_snapshot!(refusal(r#"{"text": 3}"#), @"
    lambada/lambada_test.jsonl:1: `text` is not a text
    hint: docs/models-and-data.md lists the forms of rows that are read
    ");
    assert_snapshot!(refusal(r#"{"text": ""}"#), @"
    lambada/lambada_test.jsonl:1: `text` is empty
    hint: nothing could be asked; correct the row, or leave it out
    ");
    assert_snapshot!(refusal("{\"text\": \"a b\"}\n{\"text"), @"
    lambada/lambada_test.jsonl:2: not JSON: EOF while parsing a string at line 1 column 6
    hint: the file is damaged or cut off; copy it again from where its SOURCES.md says
    ");
    assert_snapshot!(refusal("[]"), @"
    lambada/lambada_test.jsonl:1: expected an object
    hint: each line of the file is one JSON object
    ");
    assert_snapshot!(refusal(""), @"
    lambada/lambada_test.jsonl:1: the file holds nothing to ask
    hint: copy it again from where its SOURCES.md says
    ");
}

#[test]
fn arc_reads_both_forms_and_any_labels() {
    let rows = r#"{"id": "a", "question": "What melts?", "choices": {"text": ["ice", "stone"], "label": ["A", "B"]}, "answerKey": "A"}
{"id": "b", "question": "What burns?", "choices": {"text": ["iron", "wood", "water"], "label": ["1", "2", "3"]}, "answerKey": "2"}
{"id": "c", "question": {"stem": "What flies?", "choices": [{"text": "a cow", "label": "E"}, {"text": "a crow", "label": "T"}]}, "answerKey": "T"}"#;
    let desk = Desk::new(&[("arc/ARC-Easy-Test.jsonl", rows), ("arc/ARC-Challenge-Test.jsonl", rows)]);
    assert_snapshot!(desk.shown("arc_easy"), @r#"
    a gold=Some(0)
      "Question: What melts?\nAnswer:" | " ice" | 3
      "Question: What melts?\nAnswer:" | " stone" | 5
    b gold=Some(1)
      "Question: What burns?\nAnswer:" | " iron" | 4
      "Question: What burns?\nAnswer:" | " wood" | 4
      "Question: What burns?\nAnswer:" | " water" | 5
    c gold=Some(1)
      "Question: What flies?\nAnswer:" | " a cow" | 5
      "Question: What flies?\nAnswer:" | " a crow" | 6
    "#);
    assert_eq!(desk.shown("arc_challenge"), desk.shown("arc_easy"));
    let refusal = |row: &str| one("arc/ARC-Easy-Test.jsonl", row).refusal("arc_easy");
    let row = r#"{"id": "a", "question": "What?", "choices": {"text": ["ice", "stone"], "label": ["A", "B"]}, "answerKey": "A"}"#;
    assert_snapshot!(refusal(&row.replace(r#""answerKey": "A""#, r#""answerKey": "1""#)), @r#"
    arc/ARC-Easy-Test.jsonl:1: `answerKey` is "1", the labels are A, B
    hint: the key must be one of the labels; correct the row, or leave it out
    "#);
    assert_snapshot!(refusal(&row.replace(r#"["A", "B"]"#, r#"["A"]"#)), @"
    arc/ARC-Easy-Test.jsonl:1: there are 2 answers and 1 labels
    hint: `choices` holds two lists of one length: `text` and `label`
    ");
    assert_snapshot!(refusal(&row.replace(r#"["A", "B"]"#, r#"["A", "A"]"#)), @r#"
    arc/ARC-Easy-Test.jsonl:1: two answers have the label "A"
    hint: `answerKey` must mean one of them; correct the row, or leave it out
    "#);
    assert_snapshot!(refusal(&row.replace("stone", " ")), @"
    arc/ARC-Easy-Test.jsonl:1: answer 1 is empty
    hint: nothing would be scored; correct the row, or leave it out
    ");
    assert_snapshot!(refusal(r#"{"id": "a", "question": "What?", "choices": {"text": ["ice"], "label": ["A"]}, "answerKey": "A"}"#), @"
    arc/ARC-Easy-Test.jsonl:1: there are 1 answers
    hint: an item to choose from has two or more; correct the row, or leave it out
    ");
    assert_snapshot!(refusal(r#"{"id": "a", "question": "What?", "choices": ["ice"], "answerKey": "A"}"#), @"
    arc/ARC-Easy-Test.jsonl:1: `choices` is not an object
    hint: docs/models-and-data.md lists the forms of rows that are read
    ");
}

#[test]
fn hellaswag_cleans_released_rows_and_takes_prepared_ones() {
    let released = r#"{"ind": 24, "activity_label": "Sewing", "ctx_a": "A man sits.", "ctx_b": "he THEN", "endings": ["sews.", "[step] rests.", " falls  down."], "label": "1"}
{"ind": 25, "activity_label": "Sewing", "ctx_a": "[header] How to sew [title] Get a needle. [step] Ask.", "ctx_b": "", "endings": ["a", "b"], "label": 0}"#;
    assert_snapshot!(one("hellaswag/hellaswag_val.jsonl", released).shown("hellaswag"), @r#"
    hellaswag-0 gold=Some(1)
      "Sewing: A man sits. He then" | " sews." | 5
      "Sewing: A man sits. He then" | "  rests." | 7
      "Sewing: A man sits. He then" | " falls down." | 11
    hellaswag-1 gold=Some(0)
      "Sewing: How to sew. Get a needle. Ask." | " a" | 1
      "Sewing: How to sew. Get a needle. Ask." | " b" | 1
    "#);
    let prepared = r#"{"idx": 0, "activity_label": "Sewing", "ctx": "x", "query": "Sewing: A man [sits]. He", "endings": [" sews  it.", "rests."], "label": 1}"#;
    assert_snapshot!(one("hellaswag/hellaswag_val_preprocessed.jsonl", prepared).shown("hellaswag"), @r#"
    hellaswag-0 gold=Some(1)
      "Sewing: A man [sits]. He" | "  sews  it." | 10
      "Sewing: A man [sits]. He" | " rests." | 6
    "#);
    let unlabelled = prepared.replace(r#""label": 1"#, r#""label": """#);
    assert_snapshot!(one("hellaswag/hellaswag_val.jsonl", &unlabelled).refusal("hellaswag"), @"
    hellaswag/hellaswag_val.jsonl:1: `label` is not a whole number
    hint: docs/models-and-data.md lists the forms of rows that are read
    ");
    let beyond = prepared.replace(r#""label": 1"#, r#""label": 2"#);
    assert_snapshot!(one("hellaswag/hellaswag_val.jsonl", &beyond).refusal("hellaswag"), @"
    hellaswag/hellaswag_val.jsonl:1: the right answer has index 2, but there are 2 answers
    hint: answers are counted from 0; correct the label of this row
    ");
}

#[test]
fn piqa_takes_labels_from_rows_or_from_their_file() {
    let row = r#"{"goal": "dry hair", "sol1": "use a towel", "sol2": "use a spoon "}"#;
    let rows = format!("{row}\n{row}\n");
    let labelled = Desk::new(&[("piqa/valid.jsonl", &rows), ("piqa/valid-labels.lst", "0\n1\n")]);
    assert_snapshot!(labelled.shown("piqa"), @r#"
    piqa-0 gold=Some(0)
      "Question: dry hair\nAnswer:" | " use a towel" | 11
      "Question: dry hair\nAnswer:" | " use a spoon " | 12
    piqa-1 gold=Some(1)
      "Question: dry hair\nAnswer:" | " use a towel" | 11
      "Question: dry hair\nAnswer:" | " use a spoon " | 12
    "#);
    let own = row.replace('}', r#", "label": 1}"#);
    assert_eq!(one("piqa/valid.jsonl", &own).documents("piqa").unwrap()[0].gold, Some(1));
    assert_snapshot!(Desk::new(&[("piqa/valid.jsonl", &rows), ("piqa/valid-labels.lst", "0\n")]).refusal("piqa"), @"
    piqa/valid.jsonl:2: there are 2 rows and 1 labels
    hint: both files must be of one release; copy them again from where SOURCES.md says
    ");
    let both = |label: &str| Desk::new(&[("piqa/valid.jsonl", &own), ("piqa/valid-labels.lst", label)]);
    assert_eq!(both("1\n").documents("piqa").unwrap()[0].gold, Some(1));
    assert_snapshot!(both("0\n").refusal("piqa"), @"
    piqa/valid.jsonl:1: the row says that 1 is right, the file of labels says 0
    hint: both must be of one release; copy them again from where SOURCES.md says, or remove one of the two
    ");
    assert_snapshot!(Desk::new(&[("piqa/valid.jsonl", row), ("piqa/valid-labels.lst", "a\n")]).refusal("piqa"), @r#"
    piqa/valid.jsonl:1: the label is "a"
    hint: a label is 0 for sol1 or 1 for sol2
    "#);
    let twice = row.replace('}', r#", "label": 1, "label": 0}"#);
    assert_snapshot!(one("piqa/valid.jsonl", &twice).refusal("piqa"), @"
    piqa/valid.jsonl:1: `label` stands twice in the row at line 1 column 91
    hint: nothing says which of the two is meant; remove one of them
    ");
    assert_snapshot!(one("piqa/valid.jsonl", row).refusal("piqa"), @"
    piqa/valid.jsonl:1: missing field `label`
    hint: the row has goal, sol1, sol2; docs/models-and-data.md lists the forms that are read
    ");
}

#[test]
fn winogrande_fills_the_blank_and_scores_what_follows() {
    let row = r#"{"qID": "q-1", "sentence": "Ann met Bea since _ was _ in town. ", "option1": "Ann", "option2": "Bea", "answer": "2"}"#;
    assert_snapshot!(one("winogrande/dev.jsonl", row).shown("winogrande"), @r#"
    q-1 gold=Some(1)
      "Ann met Bea since Ann" | " was _ in town." | 14
      "Ann met Bea since Bea" | " was _ in town." | 14
    "#);
    let unlabelled = row.replace(r#", "answer": "2""#, "");
    let labelled = Desk::new(&[("winogrande/dev.jsonl", &unlabelled), ("winogrande/dev-labels.lst", "1\n")]);
    assert_eq!(labelled.documents("winogrande").unwrap()[0].gold, Some(0));
    let both = Desk::new(&[("winogrande/dev.jsonl", row), ("winogrande/dev-labels.lst", "1\n")]);
    assert_snapshot!(both.refusal("winogrande"), @"
    winogrande/dev.jsonl:1: the row says that 2 is right, the file of labels says 1
    hint: both must be of one release; copy them again from where SOURCES.md says, or remove one of the two
    ");
    let refusal = |row: &str| one("winogrande/dev.jsonl", row).refusal("winogrande");
    assert_snapshot!(refusal(&row.replace('_', "she")), @"
    winogrande/dev.jsonl:1: `sentence` has no `_`
    hint: the options take its place; correct the row, or leave it out
    ");
    assert_snapshot!(refusal(&row.replace(" was _ in town. ", " ")), @"
    winogrande/dev.jsonl:1: nothing follows the `_` of `sentence`
    hint: what follows is scored; correct the row, or leave it out
    ");
    assert_snapshot!(refusal(&row.replace(r#""answer": "2""#, r#""answer": """#)), @r#"
    winogrande/dev.jsonl:1: the answer is ""
    hint: an answer is 1 or 2; the test set of the release has none
    "#);
}

#[test]
fn wikitext_counts_words_and_bytes_before_it_closes_the_spaces() {
    let text = " \n = Ann = \n \n Ann @-@ Bea 's é . \n";
    let document = one("wikitext2/wiki.test.raw", text).documents("wikitext").unwrap().remove(0);
    let page = " = Ann = \n \n Ann @-@ Bea 's é . \n";
    assert_eq!((document.facts.words, document.facts.bytes), (page.split_whitespace().count() + 2, page.len()));
    assert_eq!(document.requests[0].continuation, " = Ann =\n\nAnn-Bea's é.\n");
    assert_eq!((document.id.as_str(), document.place.1), ("wikitext-0", 2));
    let row = serde_json::json!({ "page": page }).to_string();
    let rows = one("wikitext2/wikitext2_test.jsonl", &row).documents("wikitext").unwrap();
    assert_eq!((&rows[0].requests, &rows[0].facts), (&document.requests, &document.facts));
}

/// Results are joined by id: two items of one id would be paired with whichever comes last.
#[test]
fn an_id_that_stands_twice_is_refused_with_its_line() {
    let arc = |id: &str| {
        format!(
            r#"{{"id": "{id}", "question": "What?", "choices": {{"text": ["ice", "stone"], "label": ["A", "B"]}}, "answerKey": "A"}}"#
        )
    };
    let rows = [arc("a"), arc("b"), arc("a")].join("\n");
    let desk = Desk::new(&[("arc/ARC-Easy-Test.jsonl", &rows), ("arc/ARC-Easy-Train.jsonl", &rows)]);
    assert_snapshot!(desk.refusal("arc_easy"), @"
    arc/ARC-Easy-Test.jsonl:3: the id `a` is already on line 1
    hint: results are compared item by item, and ids say which is which: give every row an id of its own
    ");
    // A limit in front of it does not hide it, nor does a plan.
    assert!(matches!(documents("arc_easy", &desk.source(), Split::All, Some(1)), Err(TaskError::Repeated { .. })));
    assert!(matches!(facts("arc_easy", &desk.source()), Err(TaskError::Repeated { line: 3, first: 1, .. })));
    // Ids that are made of places can meet those of the data.
    let row = |id: &str| {
        format!(
            r#"{{{id}"sentence": "Ann met Bea since _ was in.", "option1": "Ann", "option2": "Bea", "answer": "2"}}"#
        )
    };
    let rows = [row(""), row(r#""qID": "winogrande-0", "#)].join("\n");
    assert!(
        one("winogrande/dev.jsonl", &rows)
            .refusal("winogrande")
            .starts_with("winogrande/dev.jsonl:2: the id `winogrande-0`")
    );
    let books = "{\"id\": \"b\", \"text\": \"x\"}\n{\"id\": \"b\", \"text\": \"y\"}";
    let error = facts("longdocs_ppl", &one("longdocs/gutenberg-test.jsonl", books).source()).unwrap_err();
    assert_snapshot!(error, @"longdocs/gutenberg-test.jsonl:2: the id `b` is already on line 1");
    let error = facts("longdocs_needle", &one("longdocs/gutenberg-test.jsonl", "\n").source()).unwrap_err();
    assert_snapshot!(error, @"longdocs/gutenberg-test.jsonl:1: the file holds nothing to ask");
    // Examples are joined with nothing.
    let desk = Desk::new(&[
        ("arc/ARC-Easy-Test.jsonl", &arc("t")),
        ("arc/ARC-Easy-Train.jsonl", &[arc("a"), arc("a")].join("\n")),
    ]);
    let prompting = Prompting { fewshot: 1, ..Prompting::default() };
    assert!(documents("arc_easy", &Source { prompting, ..desk.source() }, Split::All, None).is_ok());
}

/// What editors and systems put around lines is no data.
#[test]
fn marks_line_ends_and_empty_last_lines_change_nothing() {
    let row = r#"{"goal": "dry hair", "sol1": "use a towel", "sol2": "use a spoon"}"#;
    let plain = Desk::new(&[("piqa/valid.jsonl", &format!("{row}\n{row}\n")), ("piqa/valid-labels.lst", "0\n1\n")]);
    let digest = |desk: &Desk| facts("piqa", &desk.source()).unwrap().digest;
    for (rows, labels) in
        [(format!("\u{feff}{row}\n{row}\n"), "\u{feff}0\n1\n"), (format!("{row}\r\n{row}\r\n"), "0\r\n1\r\n")]
    {
        let desk = Desk::new(&[("piqa/valid.jsonl", &rows), ("piqa/valid-labels.lst", labels)]);
        assert_eq!(desk.shown("piqa"), plain.shown("piqa"));
        assert_eq!(digest(&desk), digest(&plain));
    }
    let ended =
        [("piqa/valid.jsonl", format!("{row}\n{row}\n\n \n")), ("piqa/valid-labels.lst", "0\n1\n\n".to_owned())];
    let ended: Vec<(&str, &str)> = ended.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(Desk::new(&ended).shown("piqa"), plain.shown("piqa"));
    assert_snapshot!(one("piqa/valid.jsonl", &format!("{row}\n\n{row}\n")).refusal("piqa"), @"
    piqa/valid.jsonl:2: the line is empty
    hint: each line of the file is one JSON object; remove this one
    ");
    let raw = " = Ann = \n \n Ann @-@ Bea . \n";
    let wikitext = |text: &str| one("wikitext2/wiki.test.raw", text).documents("wikitext").unwrap();
    assert_eq!(wikitext(&format!("\u{feff}{}", raw.replace('\n', "\r\n"))), wikitext(raw));
}

#[test]
fn what_is_no_file_or_too_large_is_refused() {
    let desk = Desk::new(&[("lambada/SOURCES.md", "")]);
    let path = desk.0.path().join("lambada/lambada_test.jsonl");
    // Opening it would wait for somebody to write.
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_snapshot!(desk.refusal("lambada_openai"), @"
    DATA/lambada/lambada_test.jsonl is no regular file
    hint: pipes and devices are not read; write the rows into a file
    ");
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    assert!(desk.refusal("lambada_openai").starts_with("DATA/lambada/lambada_test.jsonl is no regular file"));
    fs::remove_file(&path).unwrap();
    // A few hundred bytes that unpack to half a million and one empty lines.
    let mut packed = BzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![b'\n'; MOST_ROWS as usize + 1]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 1000);
    fs::write(desk.0.path().join("lambada/lambada_test.jsonl.bz2"), packed).unwrap();
    assert_snapshot!(desk.refusal("lambada_openai"), @"
    DATA/lambada/lambada_test.jsonl.bz2 has more than 500000 rows
    hint: no benchmark has as much: this is another file, or a damaged one
    ");
    let mut packed = BzEncoder::new(Vec::new(), Compression::best());
    let piece = vec![b'a'; 1 << 20];
    for _ in 0..=MOST_BYTES >> 20 {
        packed.write_all(&piece).unwrap();
    }
    fs::write(desk.0.path().join("lambada/lambada_test.jsonl.bz2"), packed.finish().unwrap()).unwrap();
    assert!(
        desk.refusal("lambada_openai").starts_with("DATA/lambada/lambada_test.jsonl.bz2 has more than 268435456 bytes")
    );
    fs::write(&path, b"{\"text\": \"a b\"}\n\xff").unwrap();
    assert!(
        desk.refusal("lambada_openai")
            .starts_with("cannot read DATA/lambada/lambada_test.jsonl: line 2 is no UTF-8 text")
    );
}

#[test]
fn missing_files_and_folders_are_named() {
    let error = documents("piqa", &Source::default(), Split::All, None).unwrap_err();
    assert_snapshot!(error, @"`piqa` is a benchmark whose files are not part of this program, and no data directory was named");
    assert_snapshot!(error.hint().unwrap(), @"name the folder that holds them with --data-dir DIR or SWEEP_DATA_DIR; docs/models-and-data.md says what it holds");
    assert_snapshot!(Desk::new(&[]).refusal("hellaswag"), @"
    `hellaswag` has no data in DATA: there is no hellaswag/hellaswag_val.jsonl and no hellaswag/hellaswag_val_preprocessed.jsonl
    hint: a file may be compressed by bzip2, with .bz2 behind its name; docs/models-and-data.md says what is read. Without a data directory the rows of Rowan/hellaswag are downloaded
    ");
    assert_snapshot!(one("lambada/lambada_test.jsonl.bz2", "no archive").refusal("lambada_openai"), @"
    cannot read DATA/lambada/lambada_test.jsonl.bz2: bzip2: bz2 header missing
    hint: the file must be UTF-8 text, or such text compressed by bzip2
    ");
    assert_snapshot!(Desk::new(&[]).refusal("world_piqa"), @"
    `world_piqa` has no documents: its items are given, or cut, in tokens
    hint: documents are those of the benchmarks; see `sweep tasks`
    ");
    assert_snapshot!(one("longdocs/gutenberg-test.jsonl", "").refusal("longdocs_ppl"), @"
    `longdocs_ppl` has no documents: its items are given, or cut, in tokens
    hint: documents are those of the benchmarks; see `sweep tasks`
    ");
}

/// `{"text": "Ann has a red hat"}`, compressed by bzip2.
const COMPRESSED: &[u8] = &[
    66, 90, 104, 57, 49, 65, 89, 38, 83, 89, 150, 133, 123, 134, 0, 0, 14, 93, 128, 0, 16, 80, 0, 0, 16, 32, 0, 38, 65,
    28, 74, 32, 0, 49, 76, 0, 19, 66, 35, 77, 13, 168, 122, 106, 40, 247, 64, 50, 159, 141, 130, 198, 179, 12, 41, 194,
    184, 148, 255, 23, 114, 69, 56, 80, 144, 150, 133, 123, 134,
];

#[test]
fn compressed_files_are_the_same_data() {
    let plain = one("lambada/lambada_test.jsonl", "{\"text\": \"Ann has a red hat\"}\n");
    let compressed = Desk::new(&[("lambada/SOURCES.md", "")]);
    fs::write(compressed.0.path().join("lambada/lambada_test.jsonl.bz2"), COMPRESSED).unwrap();
    assert_eq!(plain.shown("lambada_openai"), compressed.shown("lambada_openai"));
    let digest = |desk: &Desk| facts("lambada_openai", &desk.source()).unwrap().digest;
    assert_eq!(digest(&plain), digest(&compressed));
}

#[test]
fn the_digest_follows_content_and_prompt() {
    let row = r#"{"id": "a", "question": "What?", "choices": {"text": ["ice", "stone"], "label": ["A", "B"]}, "answerKey": "A"}"#;
    let example = row.replace("\"ice\"", "\"snow\"");
    let files = [("arc/ARC-Easy-Test.jsonl", row), ("arc/ARC-Easy-Train.jsonl", &format!("{example}\n{row}"))];
    let desk = Desk::new(&files);
    let digest = |prompting| facts("arc_easy", &Source { prompting, ..desk.source() }).unwrap().digest;
    let default = Prompting::default();
    let all = [
        default,
        Prompting { max_length: 100, ..default },
        Prompting { fewshot: 1, ..default },
        Prompting { fewshot: 2, ..default },
        Prompting { fewshot: 1, fewshot_seed: 1, ..default },
    ]
    .map(digest);
    for (index, one) in all.iter().enumerate() {
        assert!(!all[..index].contains(one), "{index}");
    }
    assert_eq!(digest(Prompting { fewshot_seed: 1, ..default }), all[0], "no examples, no seed");
    let other = Desk::new(&[("arc/ARC-Easy-Test.jsonl", &example)]);
    assert_ne!(facts("arc_easy", &other.source()).unwrap().digest, all[0]);
}

#[test]
fn solved_examples_stand_before_the_question() {
    let row = |question: &str, key: &str| {
        format!(
            r#"{{"id": "{question}", "question": "{question}", "choices": {{"text": ["yes", "no"], "label": ["A", "B"]}}, "answerKey": "{key}"}}"#
        )
    };
    let test = row("Is ice cold?", "A");
    let train = [row("Is snow warm?", "B"), row("Is fire hot?", "A")].join("\n");
    let desk = Desk::new(&[("arc/ARC-Easy-Test.jsonl", &test), ("arc/ARC-Easy-Train.jsonl", &train)]);
    let few = |fewshot| {
        let prompting = Prompting { fewshot, ..Prompting::default() };
        documents("arc_easy", &Source { prompting, ..desk.source() }, Split::All, None)
    };
    let shown = few(2).unwrap()[0].requests[0].context.clone();
    let mut parts: Vec<&str> = shown.split("\n\n").collect();
    assert_eq!(parts.pop(), Some("Question: Is ice cold?\nAnswer:"));
    parts.sort_unstable();
    assert_eq!(parts, ["Question: Is fire hot?\nAnswer: yes", "Question: Is snow warm?\nAnswer: no"]);
    let refusal = |error: TaskError| format!("{error}\nhint: {}", error.hint().unwrap());
    assert_snapshot!(refusal(few(3).unwrap_err()), @"
    `arc_easy`: 3 examples are drawn for a prompt, the training split has 2
    hint: ask for fewer with `fewshot`
    ");
    let without = one("arc/ARC-Easy-Test.jsonl", &test);
    let prompting = Prompting { fewshot: 1, ..Prompting::default() };
    let asked = |task: &str| refusal(facts(task, &Source { prompting, ..without.source() }).unwrap_err());
    assert_snapshot!(asked("arc_easy"), @"
    `arc_easy` has no training split to draw the examples of `fewshot` from
    hint: put arc/ARC-Easy-Train.jsonl into the data directory, or set `fewshot: 0`
    ");
    assert_snapshot!(asked("wikitext"), @"
    `wikitext` has no training split to draw the examples of `fewshot` from
    hint: leave the task out, or set `fewshot: 0`
    ");
    assert_snapshot!(asked("world_piqa"), @"
    `world_piqa` has no training split to draw the examples of `fewshot` from
    hint: leave the task out, or set `fewshot: 0`
    ");
}

/// Prompts that lm-evaluation-harness 0.4.13 built from the same rows with `num_fewshot: 2` and its default seed; it draws a spare
/// example where a task has no test split.
#[test]
fn examples_are_those_that_the_harness_draws() {
    let arc = |name: String, key: &str| {
        format!(
            r#"{{"id": "{name}", "question": "{name}", "choices": {{"text": ["yes", "no"], "label": ["A", "B"]}}, "answerKey": "{key}"}}"#
        )
    };
    let winogrande = |index: usize| {
        let answer = 1 + index % 2;
        format!(
            r#"{{"qID": "w{index}", "sentence": "Ann {index} met Bea since _ was in town.", "option1": "Ann", "option2": "Bea", "answer": "{answer}"}}"#
        )
    };
    let lines = |rows: Vec<String>| rows.join("\n");
    let desk = Desk::new(&[
        ("arc/ARC-Easy-Train.jsonl", &lines((0..40).map(|i| arc(format!("T{i}?"), ["A", "B"][i % 2])).collect())),
        ("arc/ARC-Easy-Test.jsonl", &lines((0..4).map(|i| arc(format!("Q{i}?"), "A")).collect())),
        ("winogrande/train_s.jsonl", &lines((0..40).map(winogrande).collect())),
        ("winogrande/dev.jsonl", &lines((100..103).map(winogrande).collect())),
    ]);
    let source = Source { prompting: Prompting { fewshot: 2, ..Prompting::default() }, ..desk.source() };
    let shown = |task: &str, limit| -> Vec<String> {
        let documents = documents(task, &source, Split::All, limit).unwrap();
        documents.into_iter().map(|document| document.requests[0].context.clone()).collect()
    };
    assert_eq!(
        shown("arc_easy", None),
        [
            "Question: T28?\nAnswer: yes\n\nQuestion: T7?\nAnswer: no\n\nQuestion: Q0?\nAnswer:",
            "Question: T0?\nAnswer: yes\n\nQuestion: T5?\nAnswer: no\n\nQuestion: Q1?\nAnswer:",
            "Question: T37?\nAnswer: no\n\nQuestion: T2?\nAnswer: yes\n\nQuestion: Q2?\nAnswer:",
            "Question: T5?\nAnswer: no\n\nQuestion: T6?\nAnswer: yes\n\nQuestion: Q3?\nAnswer:",
        ]
    );
    assert_eq!(
        shown("winogrande", None),
        [
            "Ann 28 met Bea since Ann was in town.\n\nAnn 7 met Bea since Bea was in town.\n\nAnn 100 met Bea since Ann",
            "Ann 5 met Bea since Bea was in town.\n\nAnn 37 met Bea since Bea was in town.\n\nAnn 101 met Bea since Ann",
            "Ann 5 met Bea since Bea was in town.\n\nAnn 6 met Bea since Ann was in town.\n\nAnn 102 met Bea since Ann",
        ]
    );
    assert_eq!(shown("arc_easy", Some(2)), shown("arc_easy", None)[..2], "a limit changes no draw");
}
