"""The examples in the documentation of the package are right."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import polars as pl
import pytest

import ssm_reduce
from ssm_reduce import Results

MODULES = [found.name for found in pkgutil.iter_modules(ssm_reduce.__path__) if not found.name.startswith("__")]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_documentation_are_right(
    module: str, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = importlib.import_module(f"ssm_reduce.{module}")
    names = {name: getattr(ssm_reduce, name) for name in ssm_reduce.__all__}
    names.update(results=results, folder=results.folder, ssm_reduce=ssm_reduce, pl=pl)
    flags = doctest.IGNORE_EXCEPTION_DETAIL | doctest.ELLIPSIS
    outcome = doctest.testmod(found, extraglobs=names, optionflags=flags)
    assert outcome.failed == 0
