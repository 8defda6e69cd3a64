"""Frames, figures, tables and comparisons of a results folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from ssm_reduce import Error, Results, ResultsError


def program(*words: str) -> str:
    """What the command line says."""
    command = [sys.executable, "-m", "ssm_reduce", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of the results, to spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_frames_are_those_of_the_files(results: Results) -> None:
    for name in ["trials", "trial_axes", "items", "item_metrics", "task_items", "sites", "overlaps"]:
        frame = getattr(results, name)
        assert frame.equals(pl.read_parquet(results.folder / f"{name}.parquet")), name
    trials = results.trials.filter(pl.col("metric") == "acc")
    # `dense` once, two rules at two reductions.
    assert trials.height == 5
    assert results.items.height == 5 * 4


def test_frames_become_pandas(results: Results) -> None:
    frame = results.trials.to_pandas()
    assert list(frame.columns) == results.trials.columns
    assert len(frame) == results.trials.height


def test_a_frame_that_is_not_there_is_an_error_with_a_hint(copy: Path) -> None:
    (copy / "sites.parquet").unlink()
    with pytest.raises(ResultsError) as caught:
        _ = Results.open(copy).sites
    assert caught.value.message == "there are no sites"
    assert caught.value.place == str(copy)
    assert caught.value.hint == f"`sweep analyse {copy}` makes them from the recorded cells"
    program("analyse", str(copy))
    assert Results.open(copy).sites.height > 0


def test_claims_need_a_claim(results: Results) -> None:
    with pytest.raises(ResultsError, match="there are no claims") as caught:
        _ = results.claims
    assert "`claim`" in str(caught.value.hint)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no results"):
        Results.open(tmp_path)
    with pytest.raises(ResultsError, match="no such folder"):
        Results.open(tmp_path / "nowhere")


def test_every_token_of_a_plan_has_one_fate(results: Results) -> None:
    plans = results.plans
    assert plans.height == 4 * 4 * 7, "two rules at two reductions, four items, seven sites"
    for _, item in plans.group_by("trial_id", "item_id"):
        removed = [place for row in item.iter_rows(named=True) for place in row["dropped"] + row["merged"]]
        last = item.sort("site").row(-1, named=True)
        assert sorted(removed + last["kept"]) == list(range(len(last["tokens"])))


def test_plans_agree_with_the_frame_of_items(results: Results) -> None:
    last = results.plans.sort("site").group_by("trial_id", "item_id").agg(pl.last("kept").list.len())
    both = last.join(results.items, on=["trial_id", "item_id"])
    # The frame also counts the last token of the context, which is protected, as the plan does.
    assert both.height == last.height
    assert both["kept"].to_list() == both["tokens_kept"].to_list()


def test_text_strikes_out_what_was_removed(results: Results) -> None:
    first = results.trials.filter(pl.col("strategy") == "drop_prefix").sort("keep_ratio").row(0, named=True)
    text = results.text(first["trial_id"], "world_lambada-0000")
    assert text.removed == frozenset(range(len(text.removed))), "a prefix"
    html = text._repr_html_()
    assert html.count("<s ") == len(text.removed)
    assert html.count("<b>") == len(text.necessary) + 1, "and the title"
    assert str(text).startswith("drop_prefix, world_lambada-0000: [")


def test_text_of_an_item_without_a_plan_is_an_error_that_names_those_with_one(results: Results) -> None:
    trial = results.plans["trial_id"][0]
    with pytest.raises(ResultsError) as caught:
        results.text(trial, "world_lambada-0099")
    assert "world_lambada-0000" in str(caught.value.hint)


def test_figures_are_shown_and_hold_their_numbers(results: Results) -> None:
    assert results.figures
    for name in results.figures:
        figure = results.figure(name)
        assert figure._repr_svg_().startswith("<svg")
        assert figure.numbers.height > 0
    points = results.figure("accuracy_vs_flops_mamba2-world_context").numbers
    assert set(points["series"]) >= {"dense", "drop_prefix"}


@pytest.mark.parametrize("kind", ["figure", "table"])
def test_a_wrong_name_is_an_error_that_offers_the_nearest(results: Results, kind: str) -> None:
    known = {"figure": results.figures, "table": results.tables}[kind][0]
    with pytest.raises(ResultsError) as caught:
        getattr(results, kind)(known + "s")
    assert caught.value.message == f"there is no {kind} `{known}s`"
    assert caught.value.hint == f"did you mean `{known}`? `{kind}s` lists all"
    with pytest.raises(ResultsError) as caught:
        getattr(results, kind)("qqq")
    assert known in str(caught.value.hint)


def test_tables_are_shown_as_markdown_and_html(results: Results) -> None:
    table = results.table("main_mamba2-world_context")
    assert table._repr_markdown_() == (results.folder / "tables/main_mamba2-world_context.md").read_text()
    grid = [line for line in table.markdown.splitlines() if line.startswith("|")]
    html = table._repr_html_()
    assert html.count("<tr>") == len(grid) - 1, "the rule below the head is no row"
    assert "<code>dense</code>" in html and "|" not in html and "`" not in html
    assert table.numbers.height == len(grid) - 2
    note = table.markdown.strip().splitlines()[-1]
    assert note.startswith("+ and −"), "intervals of few items end where a share does"
    assert f"<p>{note}</p>" in html


def test_a_comparison_has_the_numbers_of_the_program(results: Results) -> None:
    said = program("compare", str(results.folder), "--a", "top_k:importance=clip", "--b", "drop_prefix")
    comparison = results.compare("top_k:importance=clip", "drop_prefix")
    assert str(comparison).strip() == said.strip()
    assert comparison._repr_markdown_() == comparison.markdown
    frame = comparison.frame
    assert frame.height == 2, "one task at two reductions"
    for row in frame.iter_rows(named=True):
        signs = f"| {row['b_better']} / {row['b_worse']} |"
        cells = f"| {row['value_a'] * 100:.1f} | {row['value_b'] * 100:.1f} | {row['difference'] * 100:+.1f} |"
        interval = f"| {row['ci_low'] * 100:+.1f} to {row['ci_high'] * 100:+.1f} |"
        assert any(signs in line and cells in line and interval in line for line in said.splitlines()), row


def test_folders_are_compared_with_each_other(results: Results, copy: Path) -> None:
    within = results.compare("top_k", "drop_prefix").frame
    across = results.compare("top_k", "drop_prefix", other=copy).frame
    assert across.equals(within)
    same = results.compare(other=Results.open(copy)).frame
    assert same["difference"].to_list() == [0.0] * same.height


def test_a_comparison_that_cannot_be_made_says_why(results: Results) -> None:
    with pytest.raises(Error, match="nothing to compare"):
        results.compare("top_k")
    with pytest.raises(Error) as caught:
        results.compare("top_k", "utrc")
    assert "has no finished trial of `utrc`" in caught.value.message
    assert caught.value.hint == "it has dense, drop_prefix, top_k"


def test_results_show_themselves(results: Results) -> None:
    assert repr(results) == f"Results({str(results.folder)!r}: example, 5 cells)"
    html = results._repr_html_()
    assert "What does a sweep leave?" in html and "<code>top_k</code>" in html
    assert results.report.startswith("# example")
