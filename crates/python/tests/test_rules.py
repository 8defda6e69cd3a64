"""Rules in Python: what they see, what they return, which laws they are held to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import ssm_reduce
from ssm_reduce import Refused, Results, Site, Strategy, keep, merge, scores, strategy

TINY: dict[str, Any] = {
    "name": "tiny",
    "models": ["builtin:mamba2-world"],
    "tasks": ["world_lambada"],
    "protocols": ["context"],
    "strategies": ["dense"],
    "schedule": {"sites": "paper", "flops_reduction": [0.2]},
    "limit": 4,
}
FREE = {**TINY, "schedule": {"sites": "paper"}}


def run(out: Path, rule: Any, experiment: dict[str, Any] = TINY, **arguments: Any) -> Results:
    return ssm_reduce.run(experiment, out=out, device="cpu", strategies=[rule], progress=False, **arguments)


def values(results: Results, name: str) -> pl.DataFrame:
    own = results.trials.filter(pl.col("strategy") == name)
    return own.select("task", "metric", "value", "flops_reduction_achieved").sort("task", "metric")


def test_a_rule_gives_the_numbers_of_its_twin_in_rust(tmp_path: Path) -> None:
    @strategy(family="control")
    def first_leave(site: Site, n_keep: int) -> Any:
        """The earliest tokens are dropped."""
        return scores(site.positions)

    experiment = {**TINY, "strategies": ["dense", "drop_prefix"], "protocols": ["context", "aligned"]}
    for sharing in (True, False):
        results = run(tmp_path / str(sharing), first_leave, experiment, sharing=sharing)
        assert values(results, "first_leave").equals(values(results, "drop_prefix"))


def test_a_merging_rule_gives_the_numbers_of_its_twin_in_rust(tmp_path: Path) -> None:
    @strategy(signals=["hidden"], family="merging")
    def neighbours(site: Site, n_keep: int) -> Any:
        """The even token of the most similar neighbours goes into the odd one after it."""
        free = np.flatnonzero(~site.protected)
        pairs = len(free) // 2
        rows = site.hidden[free].astype(np.float64)
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        similarity = (unit[0 : 2 * pairs : 2] * unit[1 : 2 * pairs : 2]).sum(axis=1).astype(np.float32)
        chosen = np.argsort(-similarity, kind="stable")[: len(free) - n_keep]
        if len(free) - n_keep > pairs:
            # Laws ask for more than half; this test does not.
            order = free[: len(free) - n_keep]
            return merge([], [], dropped=order)
        return merge(free[2 * chosen], free[2 * chosen + 1])

    experiment = {**TINY, "strategies": ["dense", {"local_merge": {"window": 1}}]}
    results = run(tmp_path, neighbours, experiment)
    assert values(results, "neighbours").equals(values(results, "local_merge"))


def test_a_site_shows_what_a_rule_of_rust_sees(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    parts = ["hidden", "residual", "y", "scan_y", "gated_y", "dt", "x", "B", "C", "A"]

    def look(site: Site, n_keep: int) -> Any:
        if site.layer not in (3,):
            for name in parts:
                seen[name] = getattr(site, name)
            seen.update(positions=site.positions, sizes=site.sizes, protected=site.protected, n=len(site))
        return scores(-site.positions.astype(float))

    rule = strategy(signals=parts, name="look")(look)
    # What it keeps aside is no part of what it decides from.
    assert rule.name == "look"
    run(tmp_path, rule)
    n = seen["n"]
    for name in parts:
        array = seen[name]
        assert array.dtype == np.float32 and np.isfinite(array).all(), name
        assert name == "A" or array.shape[0] == n, name
    assert seen["hidden"].shape == seen["residual"].shape and seen["y"].shape == seen["gated_y"].shape
    assert (np.diff(seen["positions"].astype(int)) > 0).all() and seen["protected"].dtype == bool
    # The run is over, its tensors are gone, and the arrays still hold what they held: their base keeps it alive.
    for name in parts:
        assert seen[name].base is not None and not seen[name].flags.writeable and not seen[name].flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            seen[name][0] = 1.0
    before = {name: seen[name].copy() for name in parts}
    noise = [np.random.default_rng(0).normal(size=100_000) for _ in range(50)]
    assert len(noise) == 50 and all((seen[name] == before[name]).all() for name in parts)


def test_options_are_axes_of_the_grid(tmp_path: Path) -> None:
    @strategy(options={"power": ssm_reduce.number(1.0, 0.0, 4.0), "end": ["first", "last"]})
    def by_place(site: Site, n_keep: int, power: float, end: str) -> Any:
        sign = 1.0 if end == "last" else -1.0
        return scores(sign * site.positions.astype(float) ** power)

    results = run(tmp_path, by_place.with_options(power=[1.0, 2.0], end=["first", "last"]))
    assert results.trials.filter(pl.col("strategy") == "by_place")["trial_id"].n_unique() == 4
    with pytest.raises(Refused) as caught:
        ssm_reduce.plan(TINY, strategies=[by_place.with_options(power=9.0)])
    assert "power" in caught.value.message and caught.value.place is not None
    with pytest.raises(Refused) as caught:
        ssm_reduce.plan(TINY, strategies=[by_place.with_options(powr=1.0)])
    assert caught.value.hint is not None and "power" in caught.value.hint


def test_random_numbers_follow_from_the_seed(tmp_path: Path) -> None:
    @strategy(seeded=True, family="control")
    def chance(site: Site, n_keep: int) -> Any:
        return scores(site.rng.random(len(site)))

    first = run(tmp_path / "a", chance.with_options(seeds=[1, 2]))
    again = run(tmp_path / "b", chance.with_options(seeds=[1, 2]), sharing=False)
    assert values(first, "chance").equals(values(again, "chance"))


def broken(rule: Strategy, experiment: dict[str, Any] = TINY) -> Refused:
    with pytest.raises(Refused) as caught:
        ssm_reduce.plan(experiment, strategies=[rule])
    assert rule.name in caught.value.message and caught.value.hint is not None
    return caught.value


class TestLaws:
    """Five wrong rules, and which law each breaks on which sequence."""

    def test_count(self) -> None:
        @strategy()
        def one_too_many(site: Site, n_keep: int) -> Any:
            free = np.flatnonzero(~site.protected)
            return keep(np.union1d(np.flatnonzero(site.protected), free[: n_keep + 1]))

        error = broken(one_too_many)
        assert "2 unprotected tokens are kept, and 1 were asked for" in error.message and "on 2 tokens" in error.message
        assert "count=" in str(error.hint)

    def test_order(self) -> None:
        @strategy()
        def backwards(site: Site, n_keep: int) -> Any:
            free = np.flatnonzero(~site.protected)
            return keep(np.union1d(np.flatnonzero(site.protected), free[:n_keep])[::-1])

        assert "out of order" in broken(backwards).message

    def test_protected(self) -> None:
        @strategy()
        def blind_to_protection(site: Site, n_keep: int) -> Any:
            return keep(np.arange(n_keep + site.protected.sum()))

        assert "protected token" in broken(blind_to_protection).message

        @strategy(family="merging", signals=["hidden"])
        def into_anything(site: Site, n_keep: int) -> Any:
            free = np.flatnonzero(~site.protected)
            leaving = free[: len(free) - n_keep]
            others = np.setdiff1d(np.arange(len(site)), leaving)
            return merge(leaving, np.full(len(leaving), others[-1]))

        assert "into protected token" in broken(into_anything).message

    def test_neighbours(self) -> None:
        others: list[int] = []

        def remembers(site: Site, n_keep: int) -> Any:
            if site.item not in others:
                others.append(site.item)
            # The sequence seen before this one decides.
            before = others[others.index(site.item) - 1] if len(others) > 1 else site.item
            others.remove(site.item)
            others.append(site.item)
            sign = 1.0 if before < site.item or site.item < 100 else -1.0
            return scores(sign * site.positions.astype(float))

        error = broken(strategy()(remembers))
        assert "independence of neighbours" in error.message or "same sequence and seed" in error.message
        assert "a rule may" in str(error.hint)

    def test_nan(self) -> None:
        @strategy(signals=["hidden"])
        def logarithm(site: Site, n_keep: int) -> Any:
            with np.errstate(invalid="ignore"):
                return scores(np.log(site.hidden[:, 0]))

        error = broken(logarithm)
        assert "is NaN" in error.message and "after layer" in error.message and "item" in error.message

    def test_seed_and_causality(self) -> None:
        calls = [0]

        # With random numbers of its own, chance would decide which law catches it first.
        @strategy()
        def forgetful(site: Site, n_keep: int) -> Any:
            calls[0] += 1
            return scores(site.positions * (-1.0) ** calls[0])

        assert "same sequence and seed" in broken(forgetful).message

        @strategy(seeded=True)
        def claims_to_draw(site: Site, n_keep: int) -> Any:
            return scores(site.positions)

        assert "the law `seed`" in broken(claims_to_draw).message

        @strategy(causal=True, signals=["hidden"])
        def looks_ahead(site: Site, n_keep: int) -> Any:
            return scores(site.hidden[:, 0])

        assert "the law `causality`" in broken(looks_ahead).message

    def test_errors_of_the_rule_itself(self) -> None:
        @strategy()
        def reads_too_much(site: Site, n_keep: int) -> Any:
            return scores(site.dt[:, 0])

        assert "signals=[" in broken(reads_too_much).message

        @strategy()
        def divides(site: Site, n_keep: int) -> Any:
            return scores(site.positions * (1 // 0))

        error = broken(divides)
        assert "ZeroDivisionError" in error.message and "of test_rules.py" in error.message

        @strategy(family="merging")
        def merges_blindly(site: Site, n_keep: int) -> Any:
            free = np.flatnonzero(~site.protected)
            return merge(free[n_keep:], np.full(len(free) - n_keep, free[0]))

        assert 'signals=["hidden"]' in str(broken(merges_blindly).hint)

        @strategy()
        def returns_nothing(site: Site, n_keep: int) -> Any:
            return None

        assert "a rule returns keep(..), scores(..) or merge(..), not NoneType" in broken(returns_nothing).message


def test_free_counts(tmp_path: Path) -> None:
    @strategy(signals=["residual"], family="pruning")
    def above_median(site: Site, n_keep: int) -> Any:
        norms = np.linalg.norm(site.residual, axis=1)
        return keep((norms > np.median(norms)) | (site.positions < 4))

    results = run(tmp_path / "a", above_median, FREE)
    achieved = values(results, "above_median")["flops_reduction_achieved"]
    assert (achieved > 0.05).all()
    again = run(tmp_path / "b", above_median, FREE, sharing=False)
    assert values(results, "above_median").equals(values(again, "above_median"))


def test_a_mask_that_asks_for_a_number_is_held_to_it() -> None:
    @strategy()
    def one_too_many_in_a_mask(site: Site, n_keep: int) -> Any:
        return keep(np.cumsum(~site.protected) <= n_keep + 1)

    assert "were asked for" in broken(one_too_many_in_a_mask).message

    @strategy()
    def without_a_number(site: Site) -> Any:
        return scores(site.positions)

    assert "2 cells" in str(ssm_reduce.plan(TINY, strategies=[without_a_number]))


def test_protocols_that_need_causality_refuse_rules_without() -> None:
    @strategy(causal=True)
    def none_leaves_early(site: Site, n_keep: int) -> Any:
        """Which tokens are kept follows from their places alone."""
        free = np.flatnonzero(~site.protected)
        return scores(-site.positions.astype(float)) if len(free) else scores(site.positions)

    # Keeping the first n_keep depends on where the sequence ends.
    assert "causality" in broken(none_leaves_early).message


def edited(threshold: float) -> Callable[..., Any]:
    def place(site: Site, n_keep: int) -> Any:
        return scores((site.positions > threshold) * 1.0)

    return place


def test_an_edited_rule_never_meets_old_numbers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def cells(rule: Strategy) -> str:
        ssm_reduce.run(TINY, out=tmp_path, device="cpu", strategies=[rule])
        return capfd.readouterr().err

    first = strategy(name="place")(edited(5.0))
    assert "2 cells to run, 0 already there" in cells(first)
    # The same source and values.
    assert "cells to run" not in cells(strategy(name="place")(edited(5.0)))
    # Another value that it closes over.
    assert "1 cells to run, 1 already there" in cells(strategy(name="place")(edited(6.0)))


def test_digests_follow_from_what_decides() -> None:
    def make(offset: int) -> Strategy:
        table = np.arange(4) + offset

        def rule(site: Site, n_keep: int) -> Any:
            return scores(site.positions + table[0])

        return strategy(name="table_rule")(rule)

    assert make(0).digest == make(0).digest != make(1).digest


def test_names_of_the_program_are_taken() -> None:
    with pytest.raises(Refused, match="is a strategy of this program"):
        strategy(name="top_k")(edited(1.0))
    with pytest.raises(Refused, match="unknown signal"):
        strategy(name="mine", signals=["hiden"])(edited(1.0))


RULES = """
import numpy as np
import ssm_reduce

@ssm_reduce.strategy(family="control")
def ends(site, n_keep):
    return ssm_reduce.scores(np.abs(site.positions - np.mean(site.positions)))
"""


def test_rules_of_a_file_on_the_command_line(tmp_path: Path) -> None:
    rules, experiment = tmp_path / "my_rules.py", tmp_path / "exp.yaml"
    rules.write_text(RULES)
    experiment.write_text(
        "name: tiny\nmodels: [builtin:mamba2-world]\ntasks: [world_lambada]\nprotocols: [context]\n"
        "strategies: [dense, ends]\nschedule: { sites: paper, flops_reduction: [0.2] }\nlimit: 4\n"
    )

    def sweep(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "ssm_reduce", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    for extra in ([], ["--workers", "2"]):
        out = tmp_path / f"out{len(extra)}"
        done = sweep("run", experiment, "--rules", rules, "--out", out, "--device", "cpu", *extra)
        assert done.returncode == 0, done.stderr
        assert "ends" in Results.open(out).trials["strategy"].to_list()
    without = sweep("run", experiment, "--out", tmp_path / "no")
    assert without.returncode == 2 and "unknown strategy `ends`" in without.stderr
    rules.write_text("import nothing_of_this_name\n")
    damaged = sweep("plan", experiment, "--rules", rules)
    assert damaged.returncode == 2 and "line 1 of my_rules.py" in damaged.stderr
