"""Compares the released code of Zhan et al. with this program, item by item: the same weights, items, sites and keep ratios.

    git clone https://github.com/wuyushuwys/ToR_SSM && git -C ToR_SSM checkout 2e9fc62
    git clone https://github.com/state-spaces/mamba && git -C mamba checkout v2.0.3
    pip install torch einops polars safetensors "transformers==4.41.2" "lm-eval==0.4.1" "peft==0.11.1" "accelerate==0.30.1" "numpy<2"
    cargo build --release --bin sweep
    python tools/released/compare.py --release ToR_SSM --mamba mamba

Nothing of that code is in this repository. `theirs.py` says what it needs replaced to run on a CPU. The result is a table in
Markdown; docs/protocols.md explains it.
"""

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import load_file

import theirs

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
# Items whose log-likelihoods are farther apart than this are named.
CLOSE = 1e-3
HEAD = """| model | keep ratio | strategy | task | items | largest difference of log-likelihood | items farther apart than 0.001 \
| exact matches that differ | items whose kept rows differ | acc, released | acc, here |
|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|
"""


def state_spaces(name: str, folder: Path) -> Path:
    """Writes a shipped model as a checkpoint in the dialect of state-spaces, which both programs read."""
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


def run_here(args, models: list[Path]) -> Path:
    """Runs `sweep` and returns its results folder."""
    experiment = {
        "name": "released",
        "models": [str(model) for model in models],
        "tasks": args.tasks,
        "protocols": ["upstream"],
        "strategies": ["dense", *(name for name in args.strategies if name != "dense")],
        "schedule": {"sites": "paper", "keep_ratio": args.keep_ratio},
        "record_plans": "all",
        "limit": args.limit,
        "upstream_batch_size": args.batch,
    }
    # JSON is YAML.
    file, results = args.work / "released.yaml", args.work / "results"
    file.write_text(json.dumps(experiment))
    shutil.rmtree(results, ignore_errors=True)
    command = [args.sweep, "run", file, "--out", results, "--device", "cpu", "--dtype", "f32"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return results


def compare(cell: dict, task: Task, frames: dict[str, pl.DataFrame], answers, kept, tokens) -> str:
    """One row of the table. `answers`, `kept` and `tokens` are the release's, by pair of the task."""
    of_cell = {name: frames[name].filter(pl.col("cell_id") == cell["cell_id"]).to_dicts() for name in ("items", "plans")}
    here = {row["item_id"]: row for row in of_cell["items"]}
    recorded: dict[str, dict[int, list[int]]] = {item["id"]: {} for item in task.items}
    for row in of_cell["plans"]:
        recorded[row["item_id"]][row["site"]] = row["kept"]
    apart, exact, other_rows, right, first = {}, 0, 0, 0, 0
    for item in task.items:
        pairs = range(first, first + len(choices(item)))
        first = pairs.stop
        row = here[item["id"]]
        apart[item["id"]] = max(abs(answers[pair][0] - score) for pair, score in zip(pairs, row["loglikelihoods"], strict=True))
        exact += sum(answers[pair][1] != greedy for pair, greedy in zip(pairs, row["greedy"], strict=True))
        right += correct(item, [answers[pair] for pair in pairs])
        # The recorded plans of an item are those of its first pair in the order of evaluation.
        leading = min(pairs, key=lambda pair: theirs.order(tokens[pair]))
        other_rows += recorded[item["id"]] != kept[leading]
    far = [f"{name} {by:.4f}" for name, by in apart.items() if by > CLOSE]
    if far:
        print(f"{cell['strategy']}, {task.name}, apart: {', '.join(far)}", file=sys.stderr)
    n = len(task.items)
    columns = [Path(cell["model"]).name, cell["keep_ratio"], cell["strategy"], task.name, n, f"{max(apart.values()):.1e}", len(far)]
    columns += [exact, other_rows, f"{right / n:.2f}", f"{sum(row['correct'] for row in here.values()) / n:.2f}"]
    return f"| {' | '.join(map(str, columns))} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True, help="checkout of wuyushuwys/ToR_SSM at 2e9fc62")
    parser.add_argument("--mamba", type=Path, required=True, help="checkout of state-spaces/mamba at v2.0.3")
    parser.add_argument("--work", type=Path, default=ROOT / "target/released", help="folder for checkpoints, results and the table")
    parser.add_argument("--sweep", type=Path, default=ROOT / "target/release/sweep", help="this program")
    parser.add_argument("--models", nargs="+", default=["mamba-world", "mamba2-world"])
    parser.add_argument("--tasks", nargs="+", default=["world_lambada", "world_piqa", "world_arc_easy"])
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--keep-ratio", nargs="+", type=float, default=[0.905])
    parser.add_argument("--batch", type=int, default=96, help="rows of a batch; 1: no padding")
    parser.add_argument("--limit", type=int, default=100, help="items of each task")
    parser.add_argument("--together", action="store_true", help="give the release all tasks in one call, as its script does")
    args = parser.parse_args()
    args.work = args.work.resolve()
    torch.set_num_threads(1)
    release = theirs.Release(args.release.resolve(), args.mamba.resolve())
    results = run_here(args, [state_spaces(name, args.work) for name in args.models])
    frames = {name: pl.read_parquet(results / f"{name}.parquet") for name in ("trials", "items", "plans")}
    cells = frames["trials"].filter(pl.col("primary"), pl.col("strategy").is_in(args.strategies))
    tasks = [Task.read(name, args.limit) for name in args.tasks]

    table = HEAD
    for trial in cells.unique("trial_id", keep="first", maintain_order=True).to_dicts():
        sites = [int(site) for site in trial["sites"].split(",") if site]
        strategy = STRATEGIES[trial["strategy"]]
        wrapper = release.wrapper(Path(trial["model"]), strategy, trial["keep_ratio"], sites, args.batch)
        for group in [tasks] if args.together else [[task] for task in tasks]:
            try:
                answers, kept, tokens = release.score(wrapper, [pair for task in group for pair in task.pairs()])
            except AssertionError as stopped:
                if not str(stopped).startswith("Must pass input len"):
                    raise
                names = ", ".join(task.name for task in group)
                table += f"| {Path(trial['model']).name} | {trial['keep_ratio']} | {trial['strategy']} | {names} | the release stops: {stopped} |\n"
                continue
            for task in group:
                n = len(task.pairs())
                cell = cells.filter(pl.col("trial_id") == trial["trial_id"], pl.col("task") == task.name).to_dicts()[0]
                table += compare(cell, task, frames, answers[:n], kept[:n], tokens[:n])
                answers, kept, tokens = answers[n:], kept[n:], tokens[n:]
        (args.work / "table.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
