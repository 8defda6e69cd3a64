"""Scores of the builtin models as lm-evaluation-harness computes them, written to scores.jsonl.

    pip install "lm_eval[hf]"
    python make_scores.py            # some minutes on two cores

The models and the items are those of this repository; nothing is downloaded. See README.md.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[3]
MODELS = ["mamba-world", "mamba2-world", "neox-world"]
TASKS = [
    "world_lambada",
    "world_hellaswag",
    "world_piqa",
    "world_arc_easy",
    "world_arc_challenge",
    "world_winogrande",
    "induction",
]
# Of the harness's own `wikitext`: this many texts of the reference task world_text as pages, in windows of this many tokens.
PAGES, WINDOW = 5, 128


def model_folder(name: str, scratch: Path) -> Path:
    """A folder as transformers wants it: weights, configuration, and a tokenizer that adds nothing."""
    assets = REPOSITORY / "crates/ssm-model/assets/reference-models"
    folder = scratch / name
    folder.mkdir()
    for file in ["config.json", "model.safetensors"]:
        shutil.copy(assets / name / file, folder / file)
    shutil.copy(assets / "tokenizer.json", folder / "tokenizer.json")
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<eos>",
        "bos_token": "<eos>",
        "pad_token": "<eos>",
        "unk_token": "<unk>",
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return folder


def evaluate(name: str, tasks: list[str], limit: int, scratch: Path) -> list[dict]:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    folder = str(model_folder(name, scratch))
    # Rows are padded on the right, behind everything that is read.
    model = HFLM(pretrained=folder, device="cpu", dtype="float32", add_bos_token=False, batch_size=32)
    manager = TaskManager(include_path=str(HERE / "tasks"), include_defaults=False)
    # 100,000 resamples are the default of the harness.
    out = simple_evaluate(model=model, tasks=tasks, task_manager=manager, limit=limit, bootstrap_iters=100_000)
    return [{"model": name, "task": task, **scores(out, task)} for task in tasks] + [windows(name, folder)]


def windows(name: str, folder: str) -> dict:
    """Running text in windows: the harness's own task over pages that the model can read."""
    import datasets
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    lines = Path("crates/evaluation/assets/reference-tasks/world_text.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines[:PAGES]]
    pages = datasets.Dataset.from_list([{"id": row["id"], "page": row["text"]} for row in rows])
    load_dataset, datasets.load_dataset = datasets.load_dataset, lambda *_, **__: {"train": pages, "validation": pages, "test": pages}
    model = HFLM(
        pretrained=folder, device="cpu", dtype="float32", add_bos_token=False, batch_size=32, max_length=WINDOW
    )
    out = simple_evaluate(model=model, tasks=["wikitext"])
    datasets.load_dataset = load_dataset
    return {"model": name, "task": "wikitext", **scores(out, "wikitext")}


def scores(out: dict, task: str) -> dict:
    """Metrics as the harness prints them, with four decimals, and what the model said to each request of each item."""
    results = out["results"][task]
    metrics = {}
    for key, value in results.items():
        metric, _, filter_name = key.partition(",")
        if filter_name == "none" and not metric.endswith("_stderr"):
            stderr = results[f"{metric}_stderr,none"]
            metrics[metric] = [f"{value:.4f}", stderr if stderr == "N/A" else f"{stderr:.4f}"]
    items = {}
    for sample in sorted(out["samples"][task], key=lambda sample: sample["doc_id"]):
        # A text is one request, of which the harness keeps the log-likelihood alone.
        responses = [response[0] for response in sample["resps"]]
        responses = [response if isinstance(response, tuple) else (response, False) for response in responses]
        items[sample["doc"]["id"]] = [[round(float(value), 5), int(greedy)] for value, greedy in responses]
    return {"version": out["versions"][task], "metrics": metrics, "items": items}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=100, help="items per task")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--out", type=Path, default=HERE / "scores.jsonl")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # The task files name their data from here.
    os.chdir(REPOSITORY)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HOME"] = scratch
        import lm_eval
        import torch
        import transformers

        versions = {module.__name__: module.__version__ for module in [lm_eval, torch, transformers]}
        lines = [{"versions": versions, "limit": arguments.limit}]
        for name in arguments.models:
            lines.extend(evaluate(name, arguments.tasks, arguments.limit, Path(scratch)))
    out.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


if __name__ == "__main__":
    main()
