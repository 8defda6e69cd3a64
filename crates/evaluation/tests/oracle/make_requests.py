"""What lm-evaluation-harness asks of its benchmarks, as hashes: written to requests.jsonl and own_requests.jsonl.

    pip install "lm_eval[hf]"
    python make_requests.py --data-dir DIR    # a minute; DIR as `sweep --data-dir` takes it

The tasks are those that the harness ships; only their data comes from local files instead of the hub. See README.md.
"""

import argparse
import bz2
import hashlib
import json
import os
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TASKS = ["lambada_openai", "hellaswag", "piqa", "arc_easy", "arc_challenge", "winogrande", "wikitext"]
# Asked where the folder holds their rows.
MORE_TASKS = {
    "openbookqa": "openbookqa/test.jsonl",
    "boolq": "boolq/val.jsonl",
    "sciq": "sciq/test.jsonl",
    "mmlu": "mmlu/test.jsonl",
}
# Stands between context and continuation in what is hashed.
UNIT_SEPARATOR = "\x1f"


def lines(folder: Path, name: str) -> list[str]:
    """Lines of a file, which may be compressed."""
    plain = folder / name
    if plain.exists():
        return plain.read_text(encoding="utf-8").splitlines()
    return bz2.decompress((folder / (name + ".bz2")).read_bytes()).decode("utf-8").splitlines()


def json_rows(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in lines(folder, name) if line.strip()]


def lambada(folder: Path) -> dict:
    return {"test": [{"text": row["text"]} for row in json_rows(folder, "lambada/lambada_test.jsonl")]}


def hellaswag(folder: Path) -> dict:
    """Rows as the hub has them, or rows with a finished `query`, of which nothing is left to be cleaned."""
    try:
        rows = json_rows(folder, "hellaswag/hellaswag_val.jsonl")
    except FileNotFoundError:
        rows = json_rows(folder, "hellaswag/hellaswag_val_preprocessed.jsonl")
    for row in rows:
        row["label"] = str(row["label"])
        if "query" in row:
            row |= {"ctx_a": "", "ctx_b": "", "choices": row["endings"], "gold": int(row["label"])}
    keys = ["activity_label", "ctx_a", "ctx_b", "endings", "label", "query", "choices", "gold"]
    return {"validation": [{key: row[key] for key in keys if key in row} for row in rows]}


def piqa(folder: Path) -> dict:
    labels = [int(line) for line in lines(folder, "piqa/valid-labels.lst")]
    rows = json_rows(folder, "piqa/valid.jsonl")
    keys = ["goal", "sol1", "sol2"]
    return {"validation": [{key: row[key] for key in keys} | {"label": label} for row, label in zip(rows, labels, strict=True)]}


def arc(folder: Path, name: str) -> dict:
    keys = ["id", "question", "choices", "answerKey"]
    return {"test": [{key: row[key] for key in keys} for row in json_rows(folder, f"arc/{name}-Test.jsonl")]}


def winogrande(folder: Path) -> dict:
    keys = ["sentence", "option1", "option2", "answer"]
    return {"validation": [{key: row[key] for key in keys} for row in json_rows(folder, "winogrande/dev.jsonl")]}


def wikitext(folder: Path) -> dict:
    """Pages of the raw file. A page begins at a heading of the first level, whose equals signs stand alone; those of deeper levels
    come in pairs and triples. This is how the hub's document-level set is cut."""
    pages, page = [], []
    for line in (folder / "wikitext2/wiki.test.raw").read_text(encoding="utf-8").split("\n"):
        heading = line.replace("= = =", "===").replace("= =", "==").strip()
        if heading.startswith("= ") and heading.endswith(" ="):
            pages.append(page)
            page = []
        page.append(line)
    pages.append(page)
    texts = ["\n".join(page) for page in pages]
    return {"test": [{"page": text} for text in texts if text.strip()]}


def plain(folder: Path, split: str, name: str) -> dict:
    """Rows in the form of the hub's, or with truth values for labels."""
    rows = json_rows(folder, name)
    return {split: [row | ({"label": int(row["label"])} if "label" in row else {}) for row in rows]}


def mmlu(folder: Path, subject: str) -> dict:
    rows = [row for row in json_rows(folder, "mmlu/test.jsonl") if row["subject"] == subject]
    return {"test": rows, "dev": rows[:1]}


# What the harness asks the hub for.
SETS = {
    "EleutherAI/lambada_openai": lambda folder, name: lambada(folder),
    "Rowan/hellaswag": lambda folder, name: hellaswag(folder),
    "baber/piqa": lambda folder, name: piqa(folder),
    "allenai/ai2_arc": arc,
    "allenai/winogrande": lambda folder, name: winogrande(folder),
    "EleutherAI/wikitext_document_level": lambda folder, name: wikitext(folder),
    "allenai/openbookqa": lambda folder, name: plain(folder, "test", "openbookqa/test.jsonl"),
    "aps/super_glue": lambda folder, name: plain(folder, "validation", "boolq/val.jsonl"),
    "allenai/sciq": lambda folder, name: plain(folder, "test", "sciq/test.jsonl"),
    "cais/mmlu": mmlu,
}


def read_locally(folder: Path) -> None:
    """From here on the harness gets rows of local files where it asks the hub for a set."""
    import datasets

    def local(path, name=None, **_):
        splits = SETS[path](folder, name)
        # The harness looks at the training rows also where no solved examples are asked for.
        splits["train"] = [row for rows in splits.values() for row in rows[:1]]
        return datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in splits.items()})

    datasets.load_dataset = local


def requests(folder: Path, limit: int) -> list[dict]:
    from lm_eval.tasks import TaskManager

    read_locally(folder)
    manager = TaskManager()
    more = [name for name, file in MORE_TASKS.items() if (folder / file).exists()]
    tasks = manager.load([*TASKS, *(name for name in more if name != "mmlu")])["tasks"]
    found = [task_requests(name, task, limit) for name, task in tasks.items()]
    found.sort(key=lambda entry: [*TASKS, *more].index(entry["task"]))
    return [*found, mmlu_requests(manager, folder, limit)] if "mmlu" in more else found


def mmlu_requests(manager, folder: Path, limit: int) -> dict:
    """The tasks of the subjects that the rows have, put together in the order of the rows."""
    order = [row["subject"] for row in json_rows(folder, "mmlu/test.jsonl")]
    tasks = manager.load([f"mmlu_{subject}" for subject in dict.fromkeys(order)])["tasks"]
    of_subject = {subject: task_requests(f"mmlu_{subject}", tasks[f"mmlu_{subject}"], len(order)) for subject in dict.fromkeys(order)}
    documents = [of_subject[subject]["documents"].pop(0) for subject in order]
    whole = hashlib.sha256("".join(map(line, documents)).encode()).hexdigest()[:16]
    last = of_subject[order[-1]]
    return last | {"task": "mmlu", "version": 2.0, "of": len(documents), "whole": whole, "documents": documents[:limit]}


def line(document: dict) -> str:
    return " ".join([*document["requests"], str(document.get("gold")), "\n"])


def task_requests(name: str, task, limit: int) -> dict:
    task.set_config(key="num_fewshot", value=0)
    if name == "hellaswag" and "query" in task.dataset["validation"].column_names:
        # The rows are what the harness's cleaning made; a second time it would change some of them again.
        task.set_config(key="process_docs", value=None)
    task.build_all_requests(rank=0, world_size=1)
    by_document = {}
    for instance in sorted(task.instances, key=lambda instance: instance.idx):
        by_document.setdefault(instance.doc_id, []).append(instance)
    documents, whole = [], hashlib.sha256()
    for index, doc in task.doc_iterator(rank=0, world_size=1):
        document = {"requests": [digest(*instance.args) for instance in by_document[index]]}
        if task.OUTPUT_TYPE == "multiple_choice":
            # Where the contexts differ, the harness keeps the right answer where the text would be.
            document["gold"] = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
            # The divisor of acc_norm, where the task reports it.
            if "acc_norm" in task.higher_is_better():
                document["characters"] = [len(choice) for choice in task.doc_to_choice(doc)]
        if task.OUTPUT_TYPE == "loglikelihood_rolling":
            counts = task.process_results(doc, [0.0])
            document["words"], document["bytes"] = counts["word_perplexity"][1], counts["byte_perplexity"][1]
        whole.update(line(document).encode())
        documents.append(document)
    return {
        "task": name,
        "version": task.VERSION,
        "metrics": sorted(task.higher_is_better()),
        "of": len(documents),
        # Requests and right answers of all documents.
        "whole": whole.hexdigest()[:16],
        "documents": documents[:limit],
    }


def digest(*arguments: str) -> str:
    """Of context and continuation, or of a text alone."""
    context, continuation = arguments if len(arguments) == 2 else ("", *arguments)
    return hashlib.sha256((context + UNIT_SEPARATOR + continuation).encode()).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="the benchmarks' files; without it own_requests.jsonl alone is written")
    parser.add_argument("--limit", type=int, default=200, help="documents per task that are listed; a digest covers all")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HOME"] = scratch
        import lm_eval

        first = {"versions": {"lm_eval": lm_eval.__version__}, "limit": arguments.limit}
        folders = {"own_requests.jsonl": HERE / "rows"}
        if arguments.data_dir:
            folders["requests.jsonl"] = arguments.data_dir
        for name, folder in folders.items():
            content = [first, *requests(folder, arguments.limit)]
            text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in content)
            (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
