"""Writes the Parquet files beside this script: `pip install datasets==5.2.0 && python make.py`.

`own/`: the rows of crates/evaluation/tests/oracle/rows in the columns that the data sets of the hub have. `world/`: rows in the words of
the reference models. `damaged/` is not made here: changed copies of such files, each of which made a reader panic or ask for gigabytes. One file a split, `owner--name--config--split.parquet`, written as the hub's own converter writes them.
"""

import json
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, List, Value

HERE = Path(__file__).parent
ROWS = HERE / "../../../evaluation/tests/oracle/rows"

TEXT = Value("string")
CHOICES = {"text": List(TEXT), "label": List(TEXT)}
ARC = Features({"id": TEXT, "question": TEXT, "choices": CHOICES, "answerKey": TEXT})
LAMBADA = Features({"text": TEXT})


def rows(name):
    return [json.loads(line) for line in (ROWS / name).read_text().splitlines()]


def write(folder, name, features, rows):
    (HERE / folder).mkdir(exist_ok=True)
    Dataset.from_list(rows, features=features).to_parquet(HERE / folder / f"{name}.parquet")


def hellaswag():
    texts = ["activity_label", "ctx_a", "ctx_b", "ctx", "source_id", "split", "split_type", "label"]
    features = Features({"ind": Value("int32"), "endings": List(TEXT)} | {name: TEXT for name in texts})
    added = {"source_id": "own", "split": "val", "split_type": "indomain"}
    of = [row | added | {"label": str(row["label"])} for row in rows("hellaswag/hellaswag_val.jsonl")]
    write("own", "Rowan--hellaswag--default--validation", features, of)


def piqa():
    features = Features({"goal": TEXT, "sol1": TEXT, "sol2": TEXT, "label": ClassLabel(names=["0", "1"])})
    labels = (ROWS / "piqa/valid-labels.lst").read_text().split()
    of = [row | {"label": int(label)} for row, label in zip(rows("piqa/valid.jsonl"), labels)]
    write("own", "baber--piqa--default--validation", features, of)


def winogrande():
    features = Features({name: TEXT for name in ["sentence", "option1", "option2", "answer"]})
    of = [{name: row[name] for name in features} for row in rows("winogrande/dev.jsonl")]
    write("own", "allenai--winogrande--winogrande_xl--validation", features, of)


def wikitext():
    text = (ROWS / "wikitext2/wiki.test.raw").read_text()
    second = text.index(" = A Second Page")
    # The line break before a heading parts the pages and belongs to neither; nor does the empty line before the first.
    pages = [text[text.index(" = The") : second - 1], text[second:]]
    features = Features({"page": TEXT})
    write("own", "EleutherAI--wikitext_document_level--wikitext-2-raw-v1--test", features, [{"page": page} for page in pages])


def questions():
    features = Features({"id": TEXT, "question_stem": TEXT, "choices": CHOICES, "answerKey": TEXT})
    write("own", "allenai--openbookqa--main--test", features, rows("openbookqa/test.jsonl"))
    features = Features({"question": TEXT, "passage": TEXT, "idx": Value("int32"), "label": ClassLabel(names=["False", "True"])})
    of = [row | {"label": int(row["label"])} for row in rows("boolq/val.jsonl")]
    write("own", "aps--super_glue--boolq--validation", features, of)
    names = ["question", "distractor3", "distractor1", "distractor2", "correct_answer", "support"]
    write("own", "allenai--sciq--default--test", Features({name: TEXT for name in names}), rows("sciq/test.jsonl"))
    answer = ClassLabel(names=["A", "B", "C", "D"])
    features = Features({"question": TEXT, "subject": TEXT, "choices": List(TEXT), "answer": answer})
    write("own", "cais--mmlu--all--test", features, rows("mmlu/test.jsonl"))


write("own", "EleutherAI--lambada_openai--default--test", LAMBADA, rows("lambada/lambada_test.jsonl"))
for part in ["Easy", "Challenge"]:
    write("own", f"allenai--ai2_arc--ARC-{part}--test", ARC, rows(f"arc/ARC-{part}-Test.jsonl"))
hellaswag()
piqa()
winogrande()
wikitext()
questions()

write("world", "EleutherAI--lambada_openai--default--test", LAMBADA, [
    {"text": "Tilda carried the pink shell to the attic. The color of the shell was pink"},
    {"text": "The pet of Theo was a gecko. At home Theo fed the gecko"},
    {"text": "Theo put the grey bench in the bakery. The color of the bench was grey"},
])
question = lambda id, text, answers, labels, key: {
    "id": id, "question": text, "choices": {"text": answers, "label": labels}, "answerKey": key
}
write("world", "allenai--ai2_arc--ARC-Easy--test", ARC, [
    question("q1", "what is the color of the shell?", ["pink", "the grey bench"], ["A", "B"], "A"),
    question("q2", "what is the pet of Theo?", ["a gecko", "an otter"], ["1", "2"], "2"),
])
write("world", "allenai--ai2_arc--ARC-Easy--train", ARC, [
    question("q3", "what is the color of the bench?", ["pink", "grey"], ["A", "B"], "B"),
])
