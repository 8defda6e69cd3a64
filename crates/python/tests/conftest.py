"""A small sweep, run once, whose results the tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

import ssm_reduce
from ssm_reduce import Results

EXAMPLE = {
    "name": "example",
    "question": "What does a sweep leave?",
    "models": ["builtin:mamba2-world"],
    "tasks": ["world_lambada"],
    "protocols": ["context"],
    "strategies": ["dense", "drop_prefix", {"top_k": {"importance": "clip"}}],
    "schedule": {"sites": "paper", "flops_reduction": [0.1, 0.3]},
    "limit": 4,
}


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of the small sweep."""
    return ssm_reduce.run(EXAMPLE, out=tmp_path_factory.mktemp("results") / "example", progress=False)


@pytest.fixture(scope="session")
def folder(results: Results) -> Path:
    """The folder of these results."""
    return results.folder
