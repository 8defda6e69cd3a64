"""Planning and running experiments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from ssm_reduce import _native
from ssm_reduce.errors import Refused, RunFailed
from ssm_reduce.results import Results
from ssm_reduce.strategy import Strategy, refresh_all

#: A YAML file, or what is in one.
Experiment = Union[str, "os.PathLike[str]", Mapping[str, Any]]
#: A function under ``@strategy``, the name of a strategy, or one name with its options.
StrategyEntry = Union[Strategy, str, Mapping[str, Any]]


@dataclass(frozen=True)
class Plan:
    """A planned experiment; nothing was run."""

    #: The grid with exclusions and estimates, as ``sweep plan`` prints it.
    text: str
    #: Everything, as ``sweep plan --json`` prints it.
    content: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


def _plain(value: Any) -> Any:
    """Strategies in an experiment by their names."""
    if isinstance(value, Strategy):
        return value.name
    if isinstance(value, Mapping):
        return {(key.name if isinstance(key, Strategy) else str(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # Numbers of numpy.
    return value.item() if hasattr(value, "item") else value


def _text(value: Any) -> str:
    try:
        return json.dumps(_plain(value))
    except TypeError as error:
        raise Refused(f"the experiment holds what no file can: {error}", hint="use text, numbers, lists and dicts") from error


def _asked(experiment: Experiment, strategies: Sequence[StrategyEntry] | None, **arguments: Any) -> dict[str, Any]:
    refresh_all()
    is_text = isinstance(experiment, Mapping)
    out = arguments.get("out")
    defaults: dict[str, Any] = {
        "out": None,
        "memory": None,
        "max_failures": None,
        "sharing": True,
        "repeats": None,
        "retry_failed": False,
        "accept_changes": False,
        "keep_other_code": False,
        "force": False,
        "progress": False,
    }
    return {
        **defaults,
        **arguments,
        "out": None if out is None else os.fspath(out),
        "file": None if is_text else os.fspath(experiment),  # type: ignore[arg-type]
        "text": _text(experiment) if is_text else None,
        "strategies": _text(list(strategies)) if strategies else None,
    }


def plan(
    experiment: Experiment,
    *,
    limit: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    strategies: Sequence[StrategyEntry] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Plan:
    """Show the grid of an experiment with exclusions and estimates. No model is loaded and nothing is written.

    Example:
        >>> len(plan(experiment).content["cells"])
        5
        >>> len(plan(experiment, strategies=["uniform"]).content["cells"])
        7
    """
    asked = _asked(experiment, strategies, limit=limit, device=device, dtype=dtype, data_dir=data_dir)
    table, content = _native.plan(asked)
    return Plan(table, json.loads(content))


def run(
    experiment: Experiment,
    *,
    out: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    strategies: Sequence[StrategyEntry] | None = None,
    progress: bool = True,
    data_dir: str | os.PathLike[str] | None = None,
    memory: str | None = None,
    max_failures: int | None = None,
    sharing: bool = True,
    repeats: int | None = None,
    retry_failed: bool = False,
    accept_changes: bool = False,
    keep_other_code: bool = False,
    force: bool = False,
) -> Results:
    """Run an experiment and report it. What is recorded already is not run again.

    Ctrl-C ends the run within a second. What is done is kept, and the same call goes on from there.

    :param experiment: A YAML file, or the same keys as a dict.
    :param out: Results folder; ``results/<name of the experiment>`` if left out.
    :param limit: Largest number of items per task, in place of the experiment's.
    :param device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``: the first GPU if there is one.
    :param dtype: ``f32`` or ``bf16``.
    :param strategies: Strategies that are added to those of the experiment.
    :param progress: Whether to say on stderr how far the run is.
    :param data_dir: Folder with the files of the benchmarks.
    :param memory: Memory that activations may use, for example ``4GiB``.
    :param max_failures: Stop as soon as so many cells failed.
    :param sharing: Whether cells share work. The results are the same.
    :param repeats: Time each cell: run cell by cell, each once untimed and then so many times (2 or more); its time is the median.
    :param retry_failed: Run failed cells again.
    :param accept_changes: Go on in a folder that was made with other weights or data.
    :param keep_other_code: Take results that other code made as they are.
    :param force: Use a results folder that holds other files.
    :raises Refused: Nothing was done.
    :raises RunFailed: Some cells failed. The others are recorded; ``error.folder`` is the results folder.

    Example:
        >>> results = run(experiment, out=folder, progress=False)
        >>> results.trials["strategy"].unique().sort().to_list()
        ['dense', 'drop_prefix', 'top_k']
    """
    asked = _asked(
        experiment,
        strategies,
        out=out,
        limit=limit,
        device=device,
        dtype=dtype,
        data_dir=data_dir,
        progress=progress,
        memory=memory,
        max_failures=max_failures,
        sharing=sharing,
        repeats=repeats,
        retry_failed=retry_failed,
        accept_changes=accept_changes,
        keep_other_code=keep_other_code,
        force=force,
    )
    folder, _, _, failures = _native.run(asked)
    if failures:
        (problem, hint), others = failures[0], len(failures) - 1
        error = RunFailed(problem if not others else f"{problem} (and {others} more cells failed)", hint=hint)
        error.folder = os.fspath(folder)
        raise error
    return Results.open(folder)
