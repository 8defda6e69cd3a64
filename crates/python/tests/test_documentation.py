"""The examples in the documentation of the package, and those of the pages on Python, are right."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import numpy as np
import polars as pl
import pytest

import ssm_reduce
from conftest import EXAMPLE
from ssm_reduce import Results

ROOT = Path(__file__).parents[3]
MODULES = [found.name for found in pkgutil.iter_modules(ssm_reduce.__path__) if not found.name.startswith("__")]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_documentation_are_right(
    module: str, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = importlib.import_module(f"ssm_reduce.{module}")
    names = {name: getattr(ssm_reduce, name) for name in ssm_reduce.__all__}
    model = ssm_reduce.Model("builtin:mamba2-world", device="cpu")
    names.update(experiment=EXAMPLE, results=results, folder=results.folder, model=model, ssm_reduce=ssm_reduce, np=np, pl=pl)
    flags = doctest.IGNORE_EXCEPTION_DETAIL | doctest.ELLIPSIS
    outcome = doctest.testmod(found, extraglobs=names, optionflags=flags)
    assert outcome.failed == 0


def public() -> Iterator[tuple[str, object]]:
    """Public functions, and the public methods of public classes. The example of a class shows its properties."""
    for name in ssm_reduce.__all__:
        found = getattr(ssm_reduce, name)
        if inspect.isfunction(found):
            yield name, found
        # Those of a site are described to rules, which cannot be called here.
        if inspect.isclass(found) and found is not ssm_reduce.Site:
            for own, member in vars(found).items():
                if not own.startswith("_") and isinstance(member, FunctionType | classmethod):
                    yield f"{name}.{own}", member


@pytest.mark.parametrize(("name", "member"), list(public()))
def test_every_public_function_has_an_example(name: str, member: object) -> None:
    assert ">>> " in (inspect.getdoc(member) or ""), name


@pytest.mark.parametrize("page", ["docs/python.md", "docs/adding-a-strategy.md"])
def test_examples_of_pages_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page, one after the other, in a folder that has the experiments."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    # The digest of a rule reads its source, so it comes from a file.
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path(str(script))
