"""Compares the released code of Zhan et al. with this program, item by item: the same weights, items, sites and keep ratios.

    git clone https://github.com/wuyushuwys/ToR_SSM && git -C ToR_SSM checkout 2e9fc62
    git clone https://github.com/state-spaces/mamba && git -C mamba checkout v2.0.3
    pip install torch einops polars safetensors "transformers==4.41.2" "lm-eval==0.4.1" "peft==0.11.1" "accelerate==0.30.1" "numpy<2"
    cargo build --release --bin sweep
    python tools/released/compare.py --release ToR_SSM --mamba mamba

Nothing of that code is in this repository. `theirs.py` says what is replaced in it to run. The result is a table in Markdown;
docs/protocols.md explains it.

On a GPU add `--device cuda`, and `--features cuda` to the build; `--dtype` and `--dot` then choose the arithmetic. The three steps can
run by themselves and on different machines, and only the last one needs polars, and nothing else:

    python tools/released/compare.py --device cuda --release ToR_SSM --mamba mamba --score-only theirs.json.gz
    python tools/released/compare.py --device cuda --sweep-only results
    python tools/released/compare.py --answers theirs.json.gz --results results
"""

import argparse
import gzip
import json
import math
import shutil
import statistics
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "crates/ssm-model/assets/reference-models"
TASKS = ROOT / "crates/evaluation/assets/reference-tasks"
# What the release does on hidden states and on the residual stream under the name of a strategy of this program.
STRATEGIES = {
    "dense": None,
    "utrc_released": ("hybrid", "merge_only"),
    "evit_released": ("evit", "evit"),
    "pumer_released": ("pumer", "pumer"),
}
# The dtype that this program takes beside one of the release. It has no float16.
DTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f32"}
HEAD = """| model | keep ratio | strategy | task | items | largest difference of log-likelihood | median \
| items farther apart than {close} | exact matches that differ | items whose kept rows differ | acc, released | acc, here |
|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def state_spaces(name: str, folder: Path) -> Path:
    """Writes a shipped model as a checkpoint in the dialect of state-spaces, which both programs read."""
    import torch
    from safetensors.torch import load_file

    source = MODELS / name
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    ssm = {"d_state": config["state_size"], "d_conv": config["conv_kernel"], "expand": config["expand"]}
    if config["model_type"] == "mamba2":
        ssm |= {"headdim": config["head_dim"], "ngroups": config["n_groups"], "chunk_size": config["chunk_size"]}
    written = {
        "d_model": config["hidden_size"],
        "n_layer": config["num_hidden_layers"],
        "vocab_size": config["vocab_size"],
        "ssm_cfg": {"layer": {"mamba": "Mamba1", "mamba2": "Mamba2"}[config["model_type"]], **ssm},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
    }
    (target / "config.json").write_text(json.dumps(written))
    weights = {name.replace("embeddings", "embedding"): value for name, value in load_file(source / "model.safetensors").items()}
    weights["lm_head.weight"] = weights["backbone.embedding.weight"]
    torch.save(weights, target / "pytorch_model.bin")
    shutil.copy(MODELS / "tokenizer.json", target)
    (target / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>", "unk_token": "<unk>"}))
    return target


@dataclass
class Task:
    """Items as pairs of context and continuation."""

    name: str
    items: list[dict]

    @staticmethod
    def read(name: str, limit: int) -> "Task":
        lines = (TASKS / f"{name}.jsonl").read_text().splitlines()[:limit]
        return Task(name, [json.loads(line) for line in lines])

    def pairs(self) -> list[tuple[str, str]]:
        return [(item["context"], choice) for item in self.items for choice in choices(item)]


def choices(item: dict) -> list[str]:
    return item.get("choices") or [item["target"]]


def correct(item: dict, answers: list[tuple[float, bool]]) -> bool:
    """`acc` as lm-eval counts it."""
    if "choices" not in item:
        return answers[0][1]
    scores = [score for score, _ in answers]
    return scores.index(max(scores)) == item["gold"]


def run_here(args, results: Path) -> Path:
    """Runs `sweep` and returns its results folder."""
    experiment = {
        "name": "released",
        "models": [str(state_spaces(name, args.work)) for name in args.models],
        "tasks": args.tasks,
        "protocols": ["upstream"],
        "strategies": ["dense", *(name for name in args.strategies if name != "dense")],
        "schedule": {"sites": args.sites, "keep_ratio": args.keep_ratio},
        "record_plans": "all",
        "limit": args.limit,
        "upstream_batch_size": args.batch,
    }
    # JSON is YAML.
    file = args.work / "released.yaml"
    file.write_text(json.dumps(experiment))
    shutil.rmtree(results, ignore_errors=True)
    command = [args.sweep, "run", file, "--out", results, "--device", args.device, "--dtype", DTYPES[args.dtype]]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return results


def run_theirs(args) -> dict:
    """Runs the release: by cell and task, what `Release.score` returns, or the words with which it stops. `--score-only` writes what
    there is after each of them."""
    import theirs
    import torch

    torch.set_num_threads(1)
    release = theirs.Release(args.release.resolve(), args.mamba.resolve(), args.device, args.dtype, args.dot)
    tasks = [Task.read(name, args.limit) for name in args.tasks]
    cells = []
    for model in [state_spaces(name, args.work) for name in args.models]:
        for name, strategy, keep_ratio in runs(args):
            sites = args.sites if strategy else []
            wrapper = None
            for group in [tasks] if args.together else [[task] for task in tasks]:
                cell = {"model": model.name, "strategy": name, "keep_ratio": keep_ratio, "sites": sites}
                cell["tasks"] = [task.name for task in group]
                try:
                    wrapper = wrapper or release.wrapper(model, strategy, keep_ratio, sites, args.batch)
                    answers, kept, order = release.score(wrapper, [pair for task in group for pair in task.pairs()])
                    cell |= {"answers": answers, "kept": kept, "order": order}
                except Exception as stopped:
                    # A log-likelihood of no row is an assertion of the release. Everything else is news.
                    if not str(stopped).startswith("Must pass input len"):
                        traceback.print_exc()
                    cell |= {"stopped": f"{stopped}" if isinstance(stopped, AssertionError) else f"{type(stopped).__name__}: {stopped}"}
                cells.append(cell)
                if args.score_only:
                    write(args.score_only, {"setting": release.setting, "cells": cells})
    return {"setting": release.setting, "cells": cells}


def runs(args):
    for name in STRATEGIES:
        if name in args.strategies:
            for keep_ratio in args.keep_ratio if STRATEGIES[name] else [1.0]:
                yield name, STRATEGIES[name], keep_ratio


def write(file: Path, value: dict) -> None:
    part = file.with_name(f"{file.name}.part")
    with gzip.open(part, "wt", compresslevel=3) as out:
        json.dump(value, out)
    part.replace(file)


def read(file: Path) -> dict:
    with gzip.open(file, "rt") as text:
        return json.load(text)


def compare(cell: dict, task: Task, frames: dict[str, "pl.DataFrame"], sites: list[int], answers, kept, order, close: float) -> str:
    """One row of the table. `answers`, `kept` and `order` are the release's, by pair of the task."""
    import polars as pl

    of_cell = {name: frames[name].filter(pl.col("cell_id") == cell["cell_id"]).to_dicts() for name in ("items", "plans")}
    here = {row["item_id"]: row for row in of_cell["items"]}
    recorded: dict[str, dict[int, list[int]]] = {item["id"]: {} for item in task.items}
    for row in of_cell["plans"]:
        recorded[row["item_id"]][row["site"]] = row["kept"]
    apart, exact, other_rows, unknown, right, first = {}, 0, 0, 0, 0, 0
    for item in task.items:
        pairs = range(first, first + len(choices(item)))
        first = pairs.stop
        row = here[item["id"]]
        apart[item["id"]] = max(distance(answers[pair][0], score) for pair, score in zip(pairs, row["loglikelihoods"], strict=True))
        exact += sum(answers[pair][1] != greedy for pair, greedy in zip(pairs, row["greedy"], strict=True))
        right += correct(item, [answers[pair] for pair in pairs])
        # The recorded plans of an item are those of its first pair in the order of evaluation.
        leading = kept[min(pairs, key=order.__getitem__)]
        unknown += None in leading
        other_rows += None not in leading and recorded[item["id"]] != dict(zip(sites, leading, strict=True))
    far = [f"{name} {by:.4f}" for name, by in apart.items() if by > close]
    if far:
        print(f"{cell['strategy']}, {task.name}, apart: {', '.join(far)}", file=sys.stderr)
    n = len(task.items)
    columns = [Path(cell["model"]).name, cell["keep_ratio"], cell["strategy"], task.name, n]
    columns += [f"{max(apart.values()):.1e}", f"{statistics.median(apart.values()):.0e}", len(far), exact]
    columns += [f"{other_rows} ({unknown} unknown)" if unknown else other_rows]
    columns += [f"{right / n:.2f}", f"{sum(row['correct'] for row in here.values()) / n:.2f}"]
    return f"| {' | '.join(map(str, columns))} |\n"


def distance(theirs: float, ours: float) -> float:
    """Equal infinities have distance 0; NaN has distance infinity."""
    apart = 0.0 if theirs == ours else abs(theirs - ours)
    return math.inf if math.isnan(apart) else apart


def table(args, cells: list[dict], results: Path) -> str:
    import polars as pl

    frames = {name: pl.read_parquet(results / f"{name}.parquet") for name in ("trials", "items", "plans")}
    primary = frames["trials"].filter(pl.col("primary"))
    rows = HEAD.format(close=args.close)
    for cell in cells:
        key = [cell["model"], cell["strategy"], cell["keep_ratio"]]
        if "stopped" in cell:
            rows += f"| {key[0]} | {key[2]} | {key[1]} | {', '.join(cell['tasks'])} | the release stops: {cell['stopped']} |\n"
            continue
        answers, kept, order = cell["answers"], cell["kept"], cell["order"]
        for task in [Task.read(name, args.limit) for name in cell["tasks"]]:
            n = len(task.pairs())
            named = primary.filter(pl.col("strategy") == key[1], pl.col("keep_ratio") == key[2], pl.col("task") == task.name).to_dicts()
            (here,) = (row for row in named if Path(row["model"]).name == key[0])
            sites = [int(site) for site in here["sites"].split(",") if site]
            if sites != cell["sites"]:
                sys.exit(f"{key}, {task.name}: sites {cell['sites']} of the release, {sites} here")
            rows += compare(here, task, frames, sites, answers[:n], kept[:n], order[:n], args.close)
            answers, kept, order = answers[n:], kept[n:], order[n:]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, help="checkout of wuyushuwys/ToR_SSM at 2e9fc62")
    parser.add_argument("--mamba", type=Path, help="checkout of state-spaces/mamba at v2.0.3")
    parser.add_argument("--work", type=Path, default=ROOT / "target/released", help="folder for checkpoints, results and the table")
    parser.add_argument("--sweep", type=Path, default=ROOT / "target/release/sweep", help="this program")
    parser.add_argument("--models", nargs="+", default=["mamba-world", "mamba2-world"])
    parser.add_argument("--tasks", nargs="+", default=["world_lambada", "world_piqa", "world_arc_easy"])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--sites", nargs="+", type=int, default=[3, 4, 6, 7, 8, 9, 11], help="default: the paper's, scaled to 16 layers")
    parser.add_argument("--keep-ratio", nargs="+", type=float, default=[0.905])
    parser.add_argument("--batch", type=int, default=96, help="rows of a batch; 1: no padding")
    parser.add_argument("--limit", type=int, default=100, help="items of each task")
    parser.add_argument("--together", action="store_true", help="give the release all tasks in one call, as its script does")
    parser.add_argument("--close", type=float, default=1e-3, help="items whose log-likelihoods are farther apart are named")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=list(DTYPES), help="of the release; this program has no float16: float32")
    dots = ["ieee", "tf32x3", "tf32"]
    parser.add_argument("--dot", default="ieee", choices=dots, help="products of float32 in the release's kernels; its own default is tf32")
    steps = parser.add_mutually_exclusive_group()
    steps.add_argument("--score-only", type=Path, metavar="FILE", help="run the release alone and write what it answers (gzipped JSON)")
    steps.add_argument("--sweep-only", type=Path, metavar="FOLDER", help="run this program alone and write its results")
    steps.add_argument("--answers", nargs="+", type=Path, metavar="FILE", help="take these answers instead of running the release")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="take these results instead of running this program")
    args = parser.parse_args()
    if args.device == "cpu" and args.dtype != "float32" and not args.answers:
        parser.error("on a CPU the release runs in float32 alone")
    if not (args.sweep_only or args.answers or (args.release and args.mamba)):
        parser.error("the release needs --release and --mamba")
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.sweep_only:
        run_here(args, args.sweep_only.resolve())
        return
    if args.score_only:
        run_theirs(args)
        return
    results = args.results or run_here(args, args.work / "results")
    ran = [read(file) for file in args.answers] if args.answers else [run_theirs(args)]
    for setting in {json.dumps(run["setting"]): None for run in ran}:
        print(f"the release ran with {setting}", file=sys.stderr)
    rows = table(args, [cell for run in ran for cell in run["cells"]], results)
    (args.work / "table.md").write_text(rows)
    print(rows)


if __name__ == "__main__":
    main()
