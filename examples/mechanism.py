"""Do later rows hold a fact, and still when the tokens that told it are removed? Linear probes: python examples/mechanism.py > mechanism.md

From a row of the residual stream a ridge regression predicts the embedding of a word that an earlier row read, and the nearest (cosine) of all
answers of the task is what it finds. It learns on every second item, from all mentions of all answers, in whole sequences. It is tested on the
word that tells the answer in the other items, in the whole sequence and with all necessary tokens removed after the layer `--site`: the same
probe, so what it finds then is the same code in the rows that are kept. Rows are named by their distance from the word: 0 is its own row, -1 a
control that has not read it, `stop` the full stop after it, `last` (which learns from answers) the row that says the answer. Rows that are removed are left out of both.
"""

import argparse
import bz2
import json
import math
from pathlib import Path

import numpy as np
import ssm_reduce

ROOT = Path(__file__).resolve().parent.parent
WORLD = ROOT / "crates/evaluation/assets/reference-tasks"
BOOKS = ROOT / "crates/ssm-model/shipped/books-tasks"
RUNS = [
    *((f"builtin:{model}-world", task) for task in ("world_lambada", "mqar") for model in ("mamba2", "mamba")),
    *((f"builtin:{model}-books", "books_lastword") for model in ("mamba2", "mamba", "hybrid")),
]
OFFSETS = [-1, 0, 1, 2, 4]
NAMES = [*map(str, OFFSETS), "stop", "last"]
MOST = 16  # tokens up to the full stop


class Watched:
    """What the rule below removes, and what it saw. A class, because a rule is known by its source and the values that it names."""

    site = 0
    removed: frozenset[int] = frozenset()
    rows: dict[int, tuple[np.ndarray, np.ndarray]] = {}


@ssm_reduce.strategy(signals=["hidden", "residual"], count="free")
def watch(site):
    """Removes the chosen tokens at one site and notes the stream at all of them."""
    Watched.rows[site.layer] = (np.array(site.positions), site.residual + site.hidden)
    return ssm_reduce.keep(~(np.isin(site.positions, list(Watched.removed)) & (site.layer == Watched.site)))


def items(task, n):
    """Of each fact: the item, its context, the answer, the characters that tell it, and those of all necessary tokens."""
    world = WORLD / f"{task}.jsonl"
    lines = world.read_text().splitlines() if world.exists() else bz2.open(BOOKS / f"{task}.jsonl.bz2", "rt").read().splitlines()
    for index, line in enumerate(lines[:n]):
        item = json.loads(line)
        text = item["context"]
        if "necessary_by_query" in item:
            for key, value in item["necessary_by_query"]:
                yield index, text, " " + text[slice(*value)], value, [key, value]
            continue
        answer = item["target"].strip()
        told = [span for span in item["necessary"] if text[slice(*span)].strip() == answer]
        if told:
            yield index, text, item["target"], told[0], item["necessary"]


def tokens(model, text, span):
    """Tokens of a span of characters, which begins and ends with words."""
    start, end = span
    return range(len(model.tokenizer.encode(text[:start].rstrip())), len(model.tokenizer.encode(text[:end])))


def rows_of(ids, place, stop):
    """The rows that are looked at, by name."""
    rows = {str(offset): place + offset for offset in OFFSETS if 0 <= place + offset < len(ids)}
    end = next((at for at in range(place + 1, min(place + MOST, len(ids))) if ids[at] == stop), None)
    return rows if end is None else {**rows, "stop": end}


def look(model, ids, removed, site, layers):
    Watched.site, Watched.removed, Watched.rows = site, frozenset(removed), {}
    run = model.run(ids, strategy=watch, sites=layers)
    return {layer: dict(zip(*rows)) for layer, rows in Watched.rows.items()}, int(run.logits[-1].argmax())


def wilson(right):
    n, z = len(right), 1.96
    if n == 0:
        return "–"
    p, base = np.mean(right), 1 + z * z / n
    centre, half = (p + z * z / (2 * n)) / base, z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / base
    return f"{100 * p:.0f} ({100 * max(0, centre - half):.0f}–{100 * min(1, centre + half):.0f})"


def fit(rows, embeddings):
    """The regression from (answer, row) pairs, as a function from rows to answers."""
    x, y = np.stack([row for _, row in rows]).astype(np.float64), np.stack([embeddings[answer] for answer, _ in rows])
    centre, scale, mean = x.mean(0), x.std(0) + 1e-6, y.mean(0)
    x = (x - centre) / scale
    gram = x.T @ x
    # The penalty was chosen before any run: a hundredth of the mean variance.
    weights = np.linalg.solve(gram + 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram)), x.T @ (y - mean))
    known = np.array(sorted(embeddings))
    directions = np.stack([embeddings[answer] - mean for answer in known])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return lambda rows: known[((np.stack(rows) - centre) / scale @ weights @ directions.T).argmax(1)]


def table(model, task, n, site):
    last = model.n_layer - 1
    layers = sorted({max(0, site // 2), site, site + 1, (site + last) // 2, last})
    facts = [(*fact, model.tokenizer.encode(fact[2])[0]) for fact in items(task, n)]
    embed = lambda token: model.layers([token], ["residual"])[0]["residual"][0].astype(np.float64)
    embeddings = {answer: embed(answer) for answer in {fact[-1] for fact in facts}}
    learn, test, said = {}, {}, {"whole": [], "removed": []}
    known, whole, stop = None, None, model.tokenizer.encode("road.")[-1]
    for index, text, _, told, necessary, answer in facts:
        ids = model.tokenizer.encode(text)
        is_new, is_test = known != index, index % 2 == 1
        if is_new:
            known, whole = index, look(model, ids, (), site, layers)
        place = tokens(model, text, told)[0]
        wheres = rows_of(ids, place, stop)
        if task != "mqar":
            wheres["last"] = len(ids) - 1
        if not is_test:
            for layer in layers:
                rows = whole[0][layer]
                mentions = [at for at, token in enumerate(ids) if token in embeddings] if is_new else []
                for name, at, row in ((name, at, row) for at in mentions for name, row in rows_of(ids, at, stop).items()):
                    learn.setdefault((name, layer), []).append((ids[at], rows[row]))
                if "last" in wheres:
                    learn.setdefault(("last", layer), []).append((answer, rows[len(ids) - 1]))
            continue
        removed = {token for span in necessary for token in tokens(model, text, span)} - {len(ids) - 1}
        for how, (rows, says) in (("whole", whole), ("removed", look(model, ids, removed, site, layers))):
            if "last" in wheres:
                said[how].append(says == answer)
            for name, at in wheres.items():
                if at in removed and name != "0":
                    continue
                for layer in layers:
                    if at in rows[layer]:
                        test.setdefault((name, how, layer), []).append((answer, rows[layer][at]))
    print(f"\n**{model.reference}, {task}**: {len(embeddings)} answers; removed after layer {site}. Found, % (95 %, Wilson)\n")
    print("| row | sequence | n | " + " | ".join(f"after layer {layer}" for layer in layers) + " |")
    print("|---|---|---:|" + "---:|" * len(layers))
    probes = {where: fit(rows, embeddings) for where, rows in learn.items()}
    for name, how in ((name, how) for name in NAMES for how in ("whole", "removed")):
        cells, count = [], 0
        for layer in layers:
            rows = test.get((name, how, layer), [])
            # Before the removal both are the same.
            if (name, layer) not in probes or not rows or (how == "removed" and layer <= site):
                cells.append("–")
                continue
            answers, x = zip(*rows)
            count = len(rows)
            cells.append(wilson(probes[name, layer](x) == np.array(answers)))
        if count:
            print(f"| {name} | {how} | {count} | " + " | ".join(cells) + " |")
    for how, right in said.items():
        if right:
            print(f"\nThe model itself is right, {how}: {wilson(right)} % of {len(right)}.")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--items", type=int, default=400, help="items of each task")
    arguments.add_argument("--site", type=int, default=4, help="layer after which the tokens are removed; the others follow from it")
    arguments.add_argument("--only", default="", help="part of the name of a model or task")
    given = arguments.parse_args()
    for reference, task in RUNS:
        if given.only in f"{reference} {task}":
            table(ssm_reduce.Model(reference), task, given.items, given.site)
