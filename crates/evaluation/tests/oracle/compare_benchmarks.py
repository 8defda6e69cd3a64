"""The benchmarks from text to metric, by the harness and by `sweep`, on a small random GPT-NeoX with the tokenizer of the real ones.

    pip install "lm_eval[hf]"
    python compare_benchmarks.py --data-dir DIR --sweep target/release/sweep    # some minutes; prints, writes nothing

Tokenization, truncation and windows are part of it: models read 256 tokens at most. See README.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import make_requests

MAX_LENGTH = 256
# HellaSwag is left out: its rows here are cleaned already, and the harness would clean them again.
TASKS = {task: 50 for task in ["lambada_openai", "piqa", "arc_easy", "arc_challenge", "winogrande"]} | {"wikitext": 4}


def make_model(data: Path, folder: Path) -> None:
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(1)
    config = GPTNeoXConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=50304,
        max_position_embeddings=2048,
        # Large enough that choices differ.
        initializer_range=0.25,
        use_parallel_residual=True,
        hidden_act="gelu",
    )
    GPTNeoXForCausalLM(config).float().save_pretrained(folder)
    shutil.copy(data / "neox-tokenizer/20B_tokenizer.json", folder / "tokenizer.json")
    special = {name: "<|endoftext|>" for name in ["bos_token", "eos_token", "unk_token", "pad_token"]}
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))


def ask_harness(folder: Path) -> dict:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=8, max_length=MAX_LENGTH)
    answers = {}
    for task, limit in TASKS.items():
        out = simple_evaluate(model=model, tasks=[task], limit=limit)
        samples = sorted(out["samples"][task], key=lambda sample: sample["doc_id"])
        responses = [[response[0] for response in sample["resps"]] for sample in samples]
        answers[task] = out["results"][task], [[r if isinstance(r, tuple) else (r, None) for r in own] for own in responses]
    return answers


def ask_sweep(program: Path, data: Path, scratch: Path) -> dict:
    answers = {}
    for task, limit in TASKS.items():
        experiment = (
            f"name: {task}\nmodels: [model]\ntasks: [{task}]\nprotocols: [aligned]\nstrategies: [dense]\n"
            f"max_length: {MAX_LENGTH}\nlimit: {limit}\n"
        )
        (scratch / "experiment.yaml").write_text(experiment)
        command = [program.resolve(), "run", "experiment.yaml", "--data-dir", data.resolve(), "--lm-eval-output", f"files-{task}"]
        subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
        (results,) = scratch.glob(f"files-{task}/*/results_*.json")
        (samples,) = scratch.glob(f"files-{task}/*/samples_*.jsonl")
        responses = [[r[0] for r in json.loads(line)["resps"]] for line in samples.read_text().splitlines()]
        pairs = [[(float(r[0]), r[1] == "True") if isinstance(r, list) else (float(r), None) for r in own] for own in responses]
        answers[task] = json.loads(results.read_text())["results"][task], pairs
    return answers


def compare(task: str, harness: tuple, sweep: tuple) -> None:
    (metrics, theirs), (own_metrics, ours) = harness, sweep
    assert [len(own) for own in theirs] == [len(own) for own in ours], f"{task}: requests"
    pairs = [(a, b) for own, other in zip(theirs, ours) for a, b in zip(own, other)]
    absolute = max(abs(a[0] - b[0]) for a, b in pairs)
    relative = max(abs(b[0] / a[0] - 1) for a, b in pairs)
    greedy = sum(a[1] != b[1] for a, b in pairs)
    print(f"{task}: {len(pairs)} requests, log-likelihoods differ by {absolute:.1e} ({relative:.1e} of the value), {greedy} in greediness")
    for key, value in metrics.items():
        if "," in key:
            texts = [number if isinstance(number, str) else f"{number:.4f}" for number in [value, own_metrics[key]]]
            print(f"    {key}: {texts[0]} and {texts[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="the benchmarks' files, and the tokenizer of GPT-NeoX")
    parser.add_argument("--sweep", type=Path, required=True, help="the program")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_HOME"] = scratch
        folder = Path(scratch) / "model"
        make_model(arguments.data_dir, folder)
        make_requests.read_locally(arguments.data_dir)
        harness = ask_harness(folder)
        sweep = ask_sweep(arguments.sweep, arguments.data_dir, Path(scratch))
        for task in TASKS:
            compare(task, harness[task], sweep[task])


if __name__ == "__main__":
    main()
