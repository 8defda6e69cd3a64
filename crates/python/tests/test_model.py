"""One model on one sequence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssm_reduce
from ssm_reduce import Model, Refused, Site, keep, merge, scores, strategy


@pytest.fixture(scope="module")
def model() -> Model:
    return Model("builtin:mamba2-world", device="cpu")


IDS = [5, 9, 17, 4, 23, 8, 31, 12, 7, 40]


def test_logits_are_those_of_the_command_line(model: Model, tmp_path: Path) -> None:
    (tmp_path / "ids.jsonl").write_text(json.dumps(IDS))
    words = ["logits", "--model", model.reference, "--tokens", tmp_path / "ids.jsonl", "--out", tmp_path / "out.safetensors"]
    subprocess.run([sys.executable, "-m", "ssm_reduce", *map(str, words), "--device", "cpu"], check=True)
    content = (tmp_path / "out.safetensors").read_bytes()
    header = int.from_bytes(content[:8], "little")
    want = np.frombuffer(content[8 + header :], dtype="<f4").reshape(len(IDS), model.vocab_size)
    got = model.logits(IDS)
    assert (got == want).all() and not got.flags.writeable


def test_generation_is_greedy(model: Model) -> None:
    ids = list(IDS)
    for _ in range(4):
        ids.append(int(model.logits(ids)[-1].argmax()))
    assert model.generate(IDS, 4) == ids[len(IDS) :]
    assert model.generate(IDS, 0) == []


def test_texts(model: Model) -> None:
    ids = IDS[:5]
    text = model.tokenizer.decode(ids)
    assert model.tokenizer.encode(text) == ids and len(model.tokenizer.tokens(ids)) == 5


def test_layers_show_signals(model: Model) -> None:
    after = model.layers(IDS, signals=["hidden", "residual", "dt", "y"])
    assert len(after) == model.n_layer
    assert all(layer["hidden"].shape == (len(IDS), model.d_model) for layer in after)
    assert all((layer["dt"] > 0).all() for layer in after)
    # What the next block reads is the sum, which the last norm and the head read too.
    assert np.isfinite(after[-1]["hidden"] + after[-1]["residual"]).all()
    with pytest.raises(Refused, match="unknown signal `dtt`"):
        model.layers(IDS, signals=["dtt"])


def test_plans_and_rules_give_the_same(model: Model) -> None:
    by_rule = model.run(IDS, strategy="drop_prefix", sites=[2, 5], keep_ratio=0.7)
    kept = {site: plan.keep for site, plan in by_rule.plans.items()}
    by_plan = model.run(IDS, plans={site: keep(rows) for site, rows in kept.items()})
    assert by_plan.positions == by_rule.positions and (by_plan.logits == by_rule.logits).all()
    assert by_rule.removed == sorted(set(range(len(IDS))) - set(by_rule.positions))

    @strategy(family="control")
    def last(site: Site, n_keep: int) -> Any:
        return scores(site.positions)

    own = model.run(IDS, strategy=last, sites=[2, 5], keep_ratio=0.7)
    assert own.positions == by_rule.positions and (own.logits == by_rule.logits).all()


def test_nothing_removed_changes_nothing(model: Model) -> None:
    run = model.run(IDS, plans={3: keep(np.ones(len(IDS), dtype=bool))})
    assert run.removed == [] and (run.logits == model.logits(IDS)).all()


def test_merges(model: Model) -> None:
    run = model.run(IDS, plans={3: merge([0, 2], [1, 3], dropped=[5])})
    assert run.plans[3].merged == [(0, 1), (2, 3)] and run.plans[3].dropped == [5] and run.removed == [0, 2, 5]


def test_refusals(model: Model) -> None:
    with pytest.raises(Refused, match="there is no layer 99"):
        model.run(IDS, plans={99: keep([0])})
    with pytest.raises(Refused, match="protected token 9"):
        model.run(IDS, plans={3: keep([0])})
    with pytest.raises(Refused, match="no token ids"):
        model.logits([])
    with pytest.raises(Refused, match="unknown strategy"):
        model.run(IDS, strategy="nothing", sites=[1], keep_ratio=0.5)
    with pytest.raises(Refused) as caught:
        Model("builtin:mamba2-wrld")
    assert caught.value.hint == "did you mean `builtin:mamba2-world`?"


def test_a_transformer_reads_positions() -> None:
    transformer = Model("builtin:neox-world", device="cpu")
    run = transformer.run(IDS, strategy="drop_prefix", sites=[1], keep_ratio=0.5)
    assert run.positions == IDS_KEPT and np.isfinite(run.logits).all()
    assert "dt" not in transformer.layers(IDS, signals=["hidden", "dt"])[0]


IDS_KEPT = [4, 5, 6, 7, 8, 9]
assert ssm_reduce.__version__
