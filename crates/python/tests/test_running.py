"""Planning and running from Python."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import ssm_reduce
from ssm_reduce import Refused, Results, RunFailed, Site

TINY: dict[str, Any] = {
    "name": "tiny",
    "models": ["builtin:mamba2-world"],
    "tasks": ["world_lambada"],
    "protocols": ["context"],
    "strategies": ["dense", "random"],
    "schedule": {"sites": "paper", "flops_reduction": [0.2]},
    "limit": 4,
}


def test_a_dict_is_planned_and_run(tmp_path: Path) -> None:
    plan = ssm_reduce.plan(TINY)
    assert len(plan.content["cells"]) == 2 and "2 cells" in str(plan)
    results = ssm_reduce.run(TINY, out=tmp_path / "out", progress=False)
    assert isinstance(results, Results) and set(results.trials["strategy"]) == {"dense", "random"}


def test_a_file_is_run_with_another_limit_and_more_strategies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "exp.yaml"
    file.write_text("name: tiny\nmodels: [builtin:mamba2-world]\ntasks: [world_lambada]\nstrategies: [dense]\nschedule: { sites: paper, flops_reduction: 0.2 }\n")
    results = ssm_reduce.run(file, out=tmp_path / "out", limit=2, strategies=["uniform", {"top_k": {"importance": ["l1", "l2"]}}])
    assert results.trials["trial_id"].n_unique() == 4
    assert "4 cells to run" in capfd.readouterr().err
    ssm_reduce.run(file, out=tmp_path / "quiet", limit=2, progress=False)
    heard = capfd.readouterr()
    assert heard.out == "" and heard.err == ""


def test_cells_are_timed_by_repeats(tmp_path: Path) -> None:
    ssm_reduce.run(TINY, out=tmp_path / "out", limit=2, repeats=3, progress=False)
    records = [json.loads(path.read_text()) for path in (tmp_path / "out" / "cells").glob("*.json")]
    assert [len(record["cost"]["repeats_s"]) for record in records] == [3, 3]
    with pytest.raises(Refused, match="repeats is 2 to 1000"):
        ssm_reduce.run(TINY, out=tmp_path / "once", repeats=1)
    with pytest.raises(Refused, match="repeats and memory exclude each other"):
        ssm_reduce.run(TINY, out=tmp_path / "both", repeats=2, memory="4GiB")
    with pytest.raises(Refused, match="sharing=False and memory exclude each other"):
        ssm_reduce.run(TINY, out=tmp_path / "alone", sharing=False, memory="4GiB")


def test_refusals_say_what_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        ssm_reduce.run({**TINY, "strategies": ["dense", "randm"]}, out=tmp_path)
    error = caught.value
    assert error.message == "unknown strategy `randm`" and error.hint == "did you mean `random`?"
    assert error.place is not None and error.place.startswith("the experiment:1:")
    with pytest.raises(Refused, match="no-such-file.yaml"):
        ssm_reduce.plan("no-such-file.yaml")
    with pytest.raises(Refused, match="unknown device"):
        ssm_reduce.run(TINY, out=tmp_path, device="gpu")
    with pytest.raises(Refused, match="unknown strategy"):
        ssm_reduce.plan(TINY, strategies=["nothing_like_it"])
    assert not list(tmp_path.iterdir())


def test_failed_cells_are_an_error_and_the_others_are_kept(tmp_path: Path) -> None:
    @ssm_reduce.strategy(name="fails_late")
    def fails_late(site: Site, n_keep: int) -> Any:
        if site.layer == 5 and len(site) > 90:
            raise ValueError("too long")
        return ssm_reduce.scores(site.positions)

    experiment = {**TINY, "tasks": ["world_lambada"], "schedule": {"sites": [5], "keep_ratio": 0.5}}
    lengths = [item["tokens_in"] for item in ssm_reduce.run(TINY, out=tmp_path / "a", progress=False).items.to_dicts()]
    if max(lengths) <= 90:
        pytest.skip("the items of this task are short")
    with pytest.raises(RunFailed) as caught:
        ssm_reduce.run(experiment, out=tmp_path / "b", strategies=[fails_late], progress=False)
    assert "rule `fails_late`, after layer 5, item" in caught.value.message and "too long" in caught.value.message
    assert "dense" in Results.open(tmp_path / "b").trials["strategy"].to_list()


SLOW = """
import signal, sys, threading, time, os
import ssm_reduce

experiment = {
    "name": "slow", "models": ["builtin:mamba2-world", "builtin:mamba-world"], "tasks": ["world_lambada"],
    "protocols": ["context", "aligned"], "strategies": ["dense", "random", "tome", "utrc"],
    "schedule": {"sites": "paper", "flops_reduction": [0.1, 0.2, 0.3]},
}
threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGINT)).start()
began = time.monotonic()
try:
    ssm_reduce.run(experiment, out=sys.argv[1])
except KeyboardInterrupt:
    print("interrupted after", time.monotonic() - began)
"""


def test_ctrl_c_ends_a_run_within_a_second(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SLOW, tmp_path / "out", "4"], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith("interrupted after"), done.stderr
    assert float(done.stdout.split()[-1]) < 5.0
    # What was done is there, and the next run goes on from it.
    assert (tmp_path / "out" / "plan.json").exists()


def test_other_threads_of_python_go_on(tmp_path: Path) -> None:
    import threading

    ticks: list[float] = []
    end = threading.Event()

    def tick() -> None:
        while not end.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.01)

    thread = threading.Thread(target=tick)
    thread.start()
    ssm_reduce.run(TINY, out=tmp_path, limit=16, progress=False)
    end.set()
    thread.join()
    pauses = [after - before for before, after in zip(ticks, ticks[1:])]
    assert len(ticks) > 5 and max(pauses) < 1.0
