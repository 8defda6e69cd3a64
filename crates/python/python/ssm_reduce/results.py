"""A results folder from Python: frames, figures, tables and paired comparisons."""

from __future__ import annotations

import difflib
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from ssm_reduce import _native
from ssm_reduce.display import Figure, Struck, Table, html_of, struck
from ssm_reduce.errors import ResultsError

_COMPARISON: dict[str, pl.DataType | type[pl.DataType]] = {
    "model": pl.String,
    "protocol": pl.String,
    "setting": pl.String,
    "a": pl.String,
    "b": pl.String,
    "task": pl.String,
    "metric": pl.String,
    "n": pl.UInt64,
    "value_a": pl.Float64,
    "value_b": pl.Float64,
    "difference": pl.Float64,
    "ci_low": pl.Float64,
    "ci_high": pl.Float64,
    "p_value": pl.Float64,
    "p_holm": pl.Float64,
    "b_better": pl.UInt64,
    "b_worse": pl.UInt64,
    "achieved_a": pl.Float64,
    "achieved_b": pl.Float64,
    "equal_terms": pl.Boolean,
    "lower_is_better": pl.Boolean,
}


class Results:
    """What an experiment recorded, and what its report made of it.

    :func:`ssm_reduce.run` returns one; :meth:`open` reads a folder that an earlier run left, of Python or of the
    command ``sweep``. Frames are `polars <https://docs.pola.rs>`_ data frames, read when they are first asked for;
    ``results.trials.to_pandas()`` makes a pandas frame. The columns are described in ``results/README.md``.

    Example:
        >>> results = Results.open(folder)
        >>> results.trials.select("strategy", "task", "metric", "value").height > 0
        True
    """

    folder: Path
    """The results folder."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ResultsError(
                "there is no such folder", str(folder), "name the folder that a run wrote: `out=` of `run`"
            )
        if not self._file("plan.json").is_file():
            raise ResultsError(
                "the folder holds no results: it has no plan.json",
                str(folder),
                "name the folder that a run wrote, for example results/ablation",
            )

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Results:
        """Opens a results folder.

        Args:
            folder: The folder: ``out`` of :func:`ssm_reduce.run`, or ``--out`` of ``sweep run``.

        Raises:
            ResultsError: There is no such folder, or it holds no results.

        Example:
            >>> Results.open(folder).name
            'example'
        """
        return cls(folder)

    @property
    def name(self) -> str:
        """Name of the experiment.

        Example:
            >>> results.name
            'example'
        """
        return str(self._plan["experiment"])

    # Frames

    @cached_property
    def trials(self) -> pl.DataFrame:
        """One row per trial, task and metric: value, interval, difference to the baseline, achieved reduction, cost.

        Example:
            >>> row = results.trials.filter(pl.col("strategy") == "dense", pl.col("metric") == "acc")
            >>> row["flops_reduction_achieved"].to_list()
            [0.0]
        """
        return self._frame("trials")

    @cached_property
    def trial_axes(self) -> pl.DataFrame:
        """One row per trial: what it is. It joins every frame of items, sites and plans by ``trial_id``.

        Example:
            >>> items = results.items.join(results.trial_axes, on="trial_id")
            >>> items.filter("is_baseline")["label"].unique().to_list()
            ['dense']
        """
        return self._frame("trial_axes")

    @cached_property
    def items(self) -> pl.DataFrame:
        """One row per trial, task and item.

        Example:
            >>> results.items.select("trial_id", "item_id", "correct").columns
            ['trial_id', 'item_id', 'correct']
        """
        return self._frame("items")

    @cached_property
    def item_metrics(self) -> pl.DataFrame:
        """One row per trial, task, item and metric: what the item adds to the metric.

        Example:
            >>> sorted(results.item_metrics["metric"].unique())
            ['acc', 'perplexity', 'token_acc']
        """
        return self._frame("item_metrics")

    @cached_property
    def sites(self) -> pl.DataFrame:
        """One row per trial, task and site: tokens that arrived, and tokens that were kept.

        Example:
            >>> (results.sites["tokens_out"] <= results.sites["tokens_in"]).all()
            True
        """
        return self._frame("sites")

    @cached_property
    def overlaps(self) -> pl.DataFrame:
        """One row per pair of trials and site: how far the sets of kept tokens agree.

        Example:
            >>> results.overlaps["jaccard"].max() <= 1
            True
        """
        return self._frame("overlaps")

    @cached_property
    def claims(self) -> pl.DataFrame:
        """One row per comparison of the experiment's claim.

        Raises:
            ResultsError: The experiment has no claim.

        Example:
            >>> results.claims
            Traceback (most recent call last):
            ssm_reduce.errors.ResultsError: there are no claims
            ...
        """
        return self._frame("claims", "only an experiment with a `claim` has them: see docs/experiment-format.md")

    @cached_property
    def task_items(self) -> pl.DataFrame:
        """What the items say: text, target and choices, one row per model, task and item. The tokens are the model's.

        Example:
            >>> item = results.task_items.row(0, named=True)
            >>> item["text"] == "".join(item["tokens"][: item["context_tokens"]])
            True
        """
        return self._frame("task_items", "`sweep run` on the experiment records what the items say, and runs no cell again")

    @cached_property
    def plans(self) -> pl.DataFrame:
        """What became of each token: one row per trial, task, recorded item and site.

        ``record_plans`` of the experiment says of which items plans are recorded: the first twenty of each cell if it is
        silent. ``kept``, ``dropped``, ``merged`` and ``necessary`` are positions in ``tokens``, the text of the sequence
        before anything was removed. ``merged[i]`` was merged into ``merged_into[i]``. An item has one row per site; a
        site lists the tokens that are removed there.

        Example:
            >>> plan = results.plans.row(0, named=True)
            >>> len(plan["kept"]) + len(plan["dropped"]) + len(plan["merged"]) <= len(plan["tokens"])
            True
        """
        models = self.trials.select("trial_id", "model").unique()
        texts = self.task_items.select("model", "task", "item_id", "tokens", "necessary")
        plans = self._frame("plans").drop("cell_id").join(models, on="trial_id", maintain_order="left")
        joined = plans.join(texts, on=["model", "task", "item_id"], how="left", maintain_order="left").drop("model")
        arriving = pl.col("kept").list.len() + pl.col("dropped").list.len() + pl.col("merged").list.len()
        # All tokens of the sequence arrive at its first site.
        length = arriving.max().over("trial_id", "task", "item_id")
        return joined.with_columns(pl.col("tokens").list.head(length))

    def probe(self, name: str) -> pl.DataFrame:
        """The rows of a probe, with intervals.

        Args:
            name: Name of the probe, for example ``state_divergence``.

        Raises:
            ResultsError: The experiment did not run this probe.

        Example:
            >>> results.probe("state_divergence")
            Traceback (most recent call last):
            ssm_reduce.errors.ResultsError: there is no probe `state_divergence`
            ...
        """
        known = sorted(path.stem.removeprefix("probe_") for path in self.folder.glob("probe_*.parquet"))
        if name not in known:
            raise self._unknown("probe", name, known, "name it under `probes` of the experiment")
        return self._frame(f"probe_{name}")

    # The report

    @property
    def figures(self) -> list[str]:
        """Names of the figures.

        Example:
            >>> "token_map_world_lambada" in results.figures
            True
        """
        return sorted(path.stem for path in self._file("figures").glob("*.svg"))

    def figure(self, name: str) -> Figure:
        """A figure of the report; a notebook shows it.

        Args:
            name: Name of the figure: one of :attr:`figures`.

        Raises:
            ResultsError: There is no such figure. The hint offers the nearest name.

        Example:
            >>> results.figure("token_map_world_lambada").path.suffix
            '.svg'
            >>> results.figure("token_map_world_lambda")
            Traceback (most recent call last):
            ssm_reduce.errors.ResultsError: there is no figure `token_map_world_lambda`
            ...
        """
        if name not in self.figures:
            raise self._unknown("figure", name, self.figures, f"`sweep report {self.folder}` draws figures")
        return Figure(name, self._file("figures") / f"{name}.svg")

    @property
    def tables(self) -> list[str]:
        """Names of the tables.

        Example:
            >>> "effects_30" in results.tables
            True
        """
        return sorted(path.stem for path in self._file("tables").glob("*.md"))

    def table(self, name: str) -> Table:
        """A table of the report; a notebook shows it.

        Args:
            name: Name of the table: one of :attr:`tables`.

        Raises:
            ResultsError: There is no such table. The hint offers the nearest name.

        Example:
            >>> print(results.table("effects_30"))  # doctest: +ELLIPSIS
            | strategy | ...
        """
        if name not in self.tables:
            raise self._unknown("table", name, self.tables, f"`sweep report {self.folder}` writes tables")
        return Table(name, self._file("tables") / f"{name}.md")

    # Questions

    def compare(
        self,
        a: str | None = None,
        b: str | None = None,
        other: Results | str | os.PathLike[str] | None = None,
    ) -> Comparison:
        """Compares two strategies item by item: the numbers of ``sweep compare``.

        Args:
            a: The first strategy: a name, or ``name:option=value,option=value``.
            b: The second strategy. Differences are ``b`` minus ``a``.
            other: Results that hold ``b``, if this folder does not.

        Raises:
            Error: The folders have nothing to pair, or were made from other models, data or items.

        Example:
            >>> comparison = results.compare("top_k", "drop_prefix")
            >>> comparison.frame.select("task", "n").row(0)
            ('world_lambada', 4)
        """
        if other is None and (a is None or b is None):
            raise ResultsError(
                "there is nothing to compare",
                str(self.folder),
                'name two strategies, as in compare("utrc", "my_rule"), or results of another folder with `other=`',
            )
        second = self if other is None else other if isinstance(other, Results) else Results.open(other)
        rows, markdown = _native.compare(str(self.folder), str(second.folder), a, b)
        return Comparison(pl.DataFrame(rows, schema=_COMPARISON), markdown)

    def text(self, trial_id: str, item_id: str) -> Struck:
        """The text of an item as a trial saw it, with its removed tokens struck out and its necessary tokens in bold.

        Args:
            trial_id: The trial, from a frame.
            item_id: The item: one whose plans were recorded (:attr:`plans`).

        Raises:
            ResultsError: No plan was recorded for this item of this trial.

        Example:
            >>> trial, item = results.plans.select("trial_id", "item_id").row(0)
            >>> results.text(trial, item)  # doctest: +ELLIPSIS
            drop_prefix, world_lambada-0000: ...
        """
        rows = self.plans.filter(pl.col("trial_id") == trial_id, pl.col("item_id") == item_id)
        if rows.is_empty():
            own = self.plans.filter(pl.col("trial_id") == trial_id)["item_id"].unique(maintain_order=True).to_list()
            hint = f"this trial has plans of {', '.join(own)}" if own else "`plans` lists the trials that have some"
            raise ResultsError(f"no plan of {item_id} was recorded", f"trial {trial_id}", hint)
        removed = {place for name in ("dropped", "merged") for places in rows[name].to_list() for place in places}
        first = rows.row(0, named=True)
        strategy = self.trials.filter(pl.col("trial_id") == trial_id)["strategy"][0]
        return struck(first["tokens"], removed, first["necessary"], title=f"{strategy}, {item_id}")

    @property
    def report(self) -> str:
        """The report as Markdown: question, headline, warnings, captions of all figures, all tables.

        Example:
            >>> results.report.splitlines()[0]
            '# example'
        """
        path = self._file("report.md")
        if not path.is_file():
            raise self._absent("there is no report", "report")
        return path.read_text(encoding="utf-8")

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r}: {self.name}, {len(self._plan['cells'])} cells)"

    def _repr_html_(self) -> str:
        question = str(self._plan.get("question") or "")
        rows = [
            ("folder", f"`{self.folder}`"),
            ("strategies", ", ".join(f"`{name}`" for name in self._plan["strategies"])),
            ("cells", str(len(self._plan["cells"]))),
            ("figures", ", ".join(f"`{name}`" for name in self.figures) or "–"),
            ("tables", ", ".join(f"`{name}`" for name in self.tables) or "–"),
        ]
        table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
        return html_of(f"## {self.name}\n\n{question}\n\n{table}")

    # Files

    @cached_property
    def _plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = json.loads(self._file("plan.json").read_text(encoding="utf-8"))
        return plan

    def _file(self, name: str) -> Path:
        return self.folder / name

    def _frame(self, name: str, hint: str | None = None) -> pl.DataFrame:
        path = self._file(f"{name}.parquet")
        if not path.is_file():
            raise self._absent(f"there are no {name}", "analyse", hint)
        return pl.read_parquet(path)

    def _absent(self, message: str, command: str, hint: str | None = None) -> ResultsError:
        made = f"`sweep {command} {self.folder}` makes them from the recorded cells"
        return ResultsError(message, str(self.folder), hint or made)

    def _unknown(self, kind: str, name: str, known: list[str], none: str) -> ResultsError:
        near = difflib.get_close_matches(name, known, n=1)
        if near:
            hint = f"did you mean `{near[0]}`? `{kind}s` lists all" if kind != "probe" else f"did you mean `{near[0]}`?"
        else:
            hint = f"there are {', '.join(known)}" if known else none
        return ResultsError(f"there is no {kind} `{name}`", str(self.folder), hint)


class Comparison:
    """Two strategies compared item by item: a frame, and the text of ``sweep compare``.

    Example:
        >>> comparison = results.compare("top_k", "drop_prefix")
        >>> comparison.frame["equal_terms"].all()
        True
        >>> str(comparison).splitlines()[2]
        'A: `top_k importance=clip source=ssm_output`; B: `drop_prefix`.'
    """

    frame: pl.DataFrame
    """One row per model, protocol, reduction and task. ``difference`` is B minus A, with its paired 95 % interval
    ``ci_low`` to ``ci_high``. ``b_better`` and ``b_worse`` count items. ``task`` is null in the rows of the mean over
    tasks. Where ``equal_terms`` is false, the two sides achieved different reductions and their difference is not one
    of the rules alone. Accuracies and reductions are shares."""
    markdown: str
    """What ``sweep compare`` prints."""

    def __init__(self, frame: pl.DataFrame, markdown: str) -> None:
        self.frame = frame
        self.markdown = markdown

    def __repr__(self) -> str:
        return self.markdown

    def _repr_markdown_(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        return html_of(self.markdown)
