"""Notebooks and scripts of `examples/` run as they are."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient

from ssm_reduce import Model, Results

EXAMPLES = Path(__file__).parents[3] / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


def test_there_are_three_notebooks() -> None:
    assert NOTEBOOKS == ["first-sweep.ipynb", "lost-items.ipynb", "own-rule.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_stored_without_outputs(name: str) -> None:
    notebook = nbformat.read(EXAMPLES / name, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, cell.source
            assert cell.metadata == {}, cell.source


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(name: str, tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / name, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = {kind for cell in notebook.cells for out in cell.get("outputs", []) for kind in out.get("data", {})}
    assert "text/html" in shown


def test_frames_redraws_a_figure(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(results.folder, tmp_path / "results"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(sys, "argv", ["frames.py", str(folder)])
    script = runpy.run_path(str(EXAMPLES / "frames.py"))
    assert (folder / "accuracy.svg").read_text().count("<svg") == 1
    numbers = results.figure("accuracy_vs_flops_mamba2-world_context").numbers
    drawn = numbers.filter(pl.col("task") == "mean over tasks").sort("flops_reduction_achieved", "series")
    points = script["points"].sort("flops_reduction_achieved", "strategy")
    assert points["value"].to_list() == pytest.approx(drawn["value"].to_list(), abs=1e-6)
    assert points["flops_reduction_achieved"].to_list() == pytest.approx(
        drawn["flops_reduction_achieved"].to_list(), abs=1e-6
    )


def test_mechanism_finds_a_word_in_its_own_row_and_not_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    script = runpy.run_path(str(EXAMPLES / "mechanism.py"))
    script["table"](Model("builtin:mamba2-world"), "world_lambada", 60, 4)
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    found = {(cells[1].strip(), cells[2].strip()): cells[4:-1] for cells in lines[2:]}

    def share(cell: str) -> int:
        return int(cell.split("(")[0])

    # The last layers turn a row to the word that comes next.
    assert all(share(cell) > 60 for cell in found["0", "whole"][:-1])
    assert all(share(cell) < 30 for cell in found["-1", "whole"])
    # Before the removal both runs are the same, and a removed row is gone after it.
    assert ("0", "removed") not in found
    assert found["1", "removed"][0].strip() == "–"
