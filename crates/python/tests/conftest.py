"""A small sweep, run once, whose results the tests read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    folder = tmp_path_factory.mktemp("results")
    experiment = folder / "example.yaml"
    experiment.write_text(json.dumps(EXAMPLE))
    out = folder / "example"
    subprocess.run([sys.executable, "-m", "ssm_reduce", "run", experiment, "--out", out], check=True)
    return Results.open(out)


@pytest.fixture(scope="session")
def folder(results: Results) -> Path:
    """The folder of these results."""
    return results.folder
