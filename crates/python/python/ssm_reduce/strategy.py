"""Rules written in Python.

::

    import numpy as np
    import ssm_reduce

    @ssm_reduce.strategy(signals=["residual"], family="pruning")
    def above_median(site, n_keep):
        norms = np.linalg.norm(site.residual, axis=1)
        return ssm_reduce.keep((norms > np.median(norms)) | (site.positions < 4))
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Union

import numpy as np
import numpy.typing as npt

from ssm_reduce import _native
from ssm_reduce.digest import digest_of
from ssm_reduce.errors import Refused

OptionValue = Union[int, float, str]

#: Whole numbers beyond this are not exact in JSON.
_LARGEST = 2**53


class Site(Protocol):
    """What a rule sees: the live tokens of one sequence after one layer.

    All arrays are read-only, with one row per token. Those below ``layer`` are there if the rule names them in ``signals``.
    """

    @property
    def positions(self) -> npt.NDArray[np.uint32]:
        """Positions in the sequence as it entered the model, ascending: ``[tokens]``."""

    @property
    def sizes(self) -> npt.NDArray[np.float32]:
        """How many original tokens each row stands for: ``[tokens]``."""

    @property
    def protected(self) -> npt.NDArray[np.bool_]:
        """Tokens that no rule may remove or merge into: ``[tokens]``."""

    @property
    def layer(self) -> int:
        """The layer, 0-based."""

    @property
    def item(self) -> int:
        """The item of the task."""

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers that follow from seed, item and layer; for rules with ``seeded=True``."""

    @property
    def hidden(self) -> npt.NDArray[np.float32]:
        """Output of the block: ``[tokens, d_model]``. The residual stream after the block is ``hidden + residual``."""

    @property
    def residual(self) -> npt.NDArray[np.float32]:
        """Residual stream that the next block adds ``hidden`` to: ``[tokens, d_model]``."""

    @property
    def y(self) -> npt.NDArray[np.float32]:
        """Output of the scan, before the gate: ``[tokens, d_inner]``."""

    @property
    def scan_y(self) -> npt.NDArray[np.float32]:
        """The same without the skip, ``y - D x``: ``[tokens, d_inner]``."""

    @property
    def gated_y(self) -> npt.NDArray[np.float32]:
        """The same after the gate: ``[tokens, d_inner]``."""

    @property
    def dt(self) -> npt.NDArray[np.float32]:
        """Step sizes: ``[tokens, d_inner]`` (Mamba) or ``[tokens, heads]`` (Mamba-2)."""

    @property
    def x(self) -> npt.NDArray[np.float32]:
        """Input of the scan: ``[tokens, d_inner]``."""

    @property
    def B(self) -> npt.NDArray[np.float32]:
        """Input maps: ``[tokens, groups * d_state]``."""

    @property
    def C(self) -> npt.NDArray[np.float32]:
        """Output maps: ``[tokens, groups * d_state]``."""

    @property
    def A(self) -> npt.NDArray[np.float32]:
        """``-exp(A_log)``: ``[d_state * d_inner]`` (Mamba) or ``[heads]`` (Mamba-2)."""

    def __len__(self) -> int:
        """Number of tokens."""


@dataclass(frozen=True)
class Keep:
    """Which tokens are kept; made by :func:`keep`."""

    which: npt.NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """A score for each token; made by :func:`scores`."""

    values: npt.NDArray[Any]


@dataclass(frozen=True)
class Merge:
    """Which tokens go into which; made by :func:`merge`."""

    sources: npt.NDArray[Any]
    targets: npt.NDArray[Any]
    dropped: npt.NDArray[Any]
    by_size: bool


Answer = Union[Keep, Scores, Merge]


def keep(which: npt.ArrayLike) -> Keep:
    """Keep these tokens: a boolean mask over all rows of the site, or ascending rows.

    A mask decides about the tokens that are not protected; protected ones are always kept. Rows name every kept token, protected ones too.

    Example:
        >>> model.run([1, 2, 3, 4], plans={5: keep([True, False, False, True])}).positions
        [0, 3]
        >>> model.run([1, 2, 3, 4], plans={5: keep([0, 3])}).positions
        [0, 3]
    """
    return Keep(np.asarray(which))


def scores(values: npt.ArrayLike) -> Scores:
    """Keep the ``n_keep`` tokens of highest score, one score for each row of the site.

    Scores are compared as float32, and of equal ones the earlier token is kept. Those of protected tokens count for nothing.

    Example:
        >>> @strategy(name="example_latest")
        ... def latest(site, n_keep):
        ...     return scores(site.positions)
        >>> model.run([1, 2, 3, 4, 5], strategy=latest, sites=[5], keep_ratio=0.5).positions
        [2, 3, 4]
    """
    return Scores(np.asarray(values))


def merge(
    sources: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    dropped: npt.ArrayLike = (),
    weights: Literal["sizes", "equal"] = "sizes",
) -> Merge:
    """Merge row ``sources[i]`` into row ``targets[i]``, drop the rows ``dropped``, and keep all others.

    A target becomes the mean over itself and its sources, weighted by how many original tokens each stands for, or by equal weights.

    Example:
        >>> model.run([1, 2, 3, 4], plans={5: merge([1], [0], dropped=[2])}).plans[5].merged
        [(1, 0)]
    """
    if weights not in ("sizes", "equal"):
        raise Refused(f"merge: unknown weights {weights!r}", hint='write "sizes" or "equal"')
    return Merge(np.asarray(sources), np.asarray(targets), np.asarray(dropped), weights == "sizes")


@dataclass(frozen=True)
class Option:
    """The declaration of an option; made by :func:`integer`, :func:`number` and :func:`choice`."""

    kind: Literal["integer", "number", "choice"]
    default: OptionValue
    low: float = 0.0
    high: float = 0.0
    words: tuple[str, ...] = ()
    help: str = "an option of a script"


def integer(default: int, low: int = -_LARGEST, high: int = _LARGEST, help: str = Option.help) -> Option:
    """A whole number within bounds.

    Example:
        >>> integer(4, 0, 64).default
        4
    """
    return Option("integer", default, low, high, help=help)


def number(default: float, low: float = -1e300, high: float = 1e300, help: str = Option.help) -> Option:
    """A real number within bounds.

    Example:
        >>> number(0.5, 0, 1).high
        1
    """
    return Option("number", float(default), low, high, help=help)


def choice(*words: str, help: str = Option.help) -> Option:
    """One of these words; the first one if the experiment is silent.

    Example:
        >>> choice("l1", "l2").default
        'l1'
    """
    return Option("choice", words[0], words=words, help=help)


def _option(name: str, value: Option | OptionValue | Sequence[str]) -> Option:
    if isinstance(value, Option):
        return value
    if isinstance(value, bool):
        raise Refused(f"option {name!r}: a default must be a number or words", hint='write ["no", "yes"]')
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return number(value)
    words = [value] if isinstance(value, str) else list(value)
    if not words or not all(isinstance(word, str) for word in words):
        raise Refused(f"option {name!r}: a default must be a number or words", hint='for example 0.5, or ["l1", "l2"]')
    return choice(*words)


def _rows(values: npt.NDArray[Any]) -> bytes:
    if values.size and values.dtype.kind not in "iu":
        raise TypeError(f"rows must be whole numbers, not {values.dtype}")
    return np.ascontiguousarray(values, dtype="<i8").tobytes()


def encode(answer: object) -> tuple[Any, ...]:
    """An answer as the engine reads it."""
    if isinstance(answer, Keep):
        which = answer.which
        if which.ndim != 1:
            raise TypeError(f"keep() takes a vector, not an array of shape {which.shape}")
        if which.dtype == np.bool_:
            return ("mask", which.tobytes())
        return ("rows", _rows(which))
    if isinstance(answer, np.ndarray):
        answer = Scores(answer)
    if isinstance(answer, Scores):
        values = answer.values
        if values.dtype.kind not in "fiu" or values.ndim != 1:
            raise TypeError(f"scores must be a vector of numbers, not {values.dtype} of shape {values.shape}; a mask goes into keep()")
        return ("scores", values.astype("<f4").tobytes())
    if isinstance(answer, Merge):
        return ("merge", _rows(answer.sources), _rows(answer.targets), _rows(answer.dropped), answer.by_size)
    raise TypeError(f"a rule returns keep(..), scores(..) or merge(..), not {type(answer).__name__}")


def _where(error: BaseException, file: str | None) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" (line {frames[-1].lineno} of {os.path.basename(frames[-1].filename)})" if frames else ""


def _call(
    function: Callable[..., object], takes_count: bool, file: str | None, site: Site, n_keep: int, options: dict[str, OptionValue]
) -> tuple[Any, ...]:
    try:
        answer = function(site, n_keep, **options) if takes_count else function(site, **options)
        return encode(answer)
    except Exception as error:
        words = f"{type(error).__name__}: {error}{_where(error, file)}"
        return ("wrong", words, "call the rule on one sequence to see the whole traceback: Model.run")


class _Probe:
    """A site of random values, to see what kind of answer a rule gives."""

    def __init__(self, n: int) -> None:
        self.rng = np.random.default_rng(0)
        self.positions = np.arange(n, dtype=np.uint32)
        self.sizes = np.ones(n, dtype=np.float32)
        self.protected = self.positions == n - 1
        self.layer, self.item = 3, 0
        for name in ("hidden", "residual", "y", "scan_y", "gated_y", "x", "B", "C", "dt", "influence"):
            values = self.rng.normal(size=(n, 1 if name == "influence" else 6)).astype(np.float32)
            setattr(self, name, np.abs(values) if name == "dt" else values)
        self.A = -np.ones(6, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.positions)


def _data_decides(function: Callable[..., object], takes_count: bool, options: dict[str, OptionValue]) -> bool:
    """Whether a rule answers with masks, which keep the same tokens however many are asked for."""
    masks = []
    for n_keep in (12, 30):
        try:
            answer = function(_Probe(37), *([n_keep] if takes_count else []), **options)
        except Exception:
            # What is wrong with it is said when it is used.
            return False
        if not isinstance(answer, Keep) or answer.which.dtype != np.bool_ or answer.which.shape != (37,):
            return False
        masks.append(answer.which)
    return bool((masks[0] == masks[1]).all())


def _takes_count(function: Callable[..., object], name: str, options: Iterable[str]) -> bool:
    """Whether it is called with `n_keep`, too."""
    own = set(options)
    positional = [
        parameter
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) and key not in own
    ]
    if len(positional) not in (1, 2):
        raise Refused(
            f"{name} takes {len(positional)} arguments beside its options",
            hint="write def rule(site, n_keep, option=..), or def rule(site, option=..)",
        )
    return len(positional) == 2


@dataclass
class Strategy:
    """A registered rule. It is called as the function that it was made of."""

    function: Callable[..., object]
    name: str
    description: dict[str, Any] = field(repr=False)
    options: dict[str, Option] = field(repr=False)
    registered: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        functools.update_wrapper(self, self.function)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.function(*arguments, **options)

    @property
    def digest(self) -> str:
        """Stands for the source, for what it closes over and for the declaration: results of another digest are not reused."""
        return digest_of(self.function, {**self.description, "options": self.options})

    def refresh(self) -> None:
        """Register the rule as it is now: what it closes over may have changed. A run does so by itself.

        Example:
            >>> power = 2
            >>> @strategy(name="example_power", signals=["hidden"])
            ... def rule(site, n_keep):
            ...     return scores((site.hidden**power).sum(axis=1))
            >>> before, power = rule.digest, 4
            >>> rule.refresh()
            >>> rule.digest == before
            False
        """
        digest = self.digest
        if digest == self.registered:
            return
        takes_count = _takes_count(self.function, self.name, self.options)
        file = inspect.getsourcefile(self.function)
        call = functools.partial(_call, self.function, takes_count, file)
        options = [
            (name, option.kind, option.default, float(option.low), float(option.high), list(option.words), option.help)
            for name, option in self.options.items()
        ]
        _native.register({**self.description, "options": options, "digest": digest, "call": call})
        self.registered = digest

    def with_options(self, **axes: OptionValue | Sequence[OptionValue]) -> dict[str, Any]:
        """An entry for ``strategies``: each option at one value or at several, which are multiplied out.

        Example:
            >>> @strategy(name="example_sinks", options={"sinks": integer(4, 0, 64)})
            ... def rule(site, n_keep, sinks):
            ...     return scores(site.positions < sinks)
            >>> rule.with_options(sinks=[0, 4])
            {'example_sinks': {'sinks': [0, 4]}}
        """
        return {self.name: axes}


#: Rules by name.
_known: dict[str, Strategy] = {}


def refresh_all() -> None:
    """Register all rules as they are now."""
    for known in _known.values():
        known.refresh()


def strategy(
    *,
    signals: Iterable[str] = (),
    family: str = "pruning",
    options: Mapping[str, Option | OptionValue | Sequence[str]] | None = None,
    count: Literal["exact", "free"] | None = None,
    threshold: str | None = None,
    causal: bool | int = False,
    seeded: bool = False,
    name: str | None = None,
    summary: str | None = None,
) -> Callable[[Callable[..., object]], Strategy]:
    """Register a function as a strategy, which experiments name as any other.

    :param signals: What the rule reads: ``hidden``, ``residual``, ``y``, ``scan_y``, ``gated_y``, ``dt``, ``x``, ``B``, ``C``, ``A``, ``influence``.
    :param family: The kind of rule, which places it in figures: ``pruning``, ``merging``, ``control``, ``state_aware``.
    :param options: Options with their defaults. They become keyword arguments of the rule, and axes of the grid of an experiment.
    :param count: ``exact``: the rule keeps ``n_keep`` tokens. ``free``: as many as the data says; the schedule then names sites only. If
        left out, a rule is of free count if it returns masks that are the same however many tokens are asked for.
    :param threshold: The option that decides how many tokens a rule of free count keeps, for ``calibrate``.
    :param causal: ``True``: the fate of a token follows from tokens up to it. A number: within blocks of so many tokens.
    :param seeded: Whether the rule draws from ``site.rng``.
    :param name: Its name in experiments; that of the function if left out.
    :param summary: One sentence; the first line of the docstring if left out.

    Example:
        >>> @strategy(signals=["hidden"], name="example_loudest")
        ... def loudest(site, n_keep):
        ...     return scores(np.linalg.norm(site.hidden, axis=1))
        >>> len(model.run([1, 2, 3, 4, 5], strategy=loudest, sites=[5], keep_ratio=0.5).positions)
        3
    """
    if count not in ("exact", "free", None):
        raise Refused(f"unknown count {count!r}", hint='write "exact" or "free"')

    def register(function: Callable[..., object]) -> Strategy:
        own = name or function.__name__
        if not re.fullmatch(r"[a-z][a-z0-9_]*", own):
            raise Refused(f"{own!r} cannot name a strategy", hint="use a-z, 0-9 and _, for example name=\"my_rule\"")
        first = (function.__doc__ or "").strip().splitlines()
        declared = {key: _option(key, value) for key, value in (options or {}).items()}
        defaults = {key: option.default for key, option in declared.items()}
        free = count == "free" if count else _data_decides(function, _takes_count(function, own, declared), defaults)
        description = {
            "name": own,
            "family": family,
            "summary": summary or (first[0] if first else "A rule of a script."),
            "signals": list(signals),
            "seeded": seeded,
            "causal": -1 if causal is True else int(causal),
            "free": free,
            "threshold": threshold,
        }
        made = Strategy(function, own, description, declared)
        made.refresh()
        _known[own] = made
        return made

    return register


def load(path: str | os.PathLike[str]) -> None:
    """Run a Python file for the strategies that it registers."""
    path = Path(path).resolve()
    if not path.is_file():
        raise Refused("there is no such file", hint="name a Python file with functions under @ssm_reduce.strategy(..)")
    before = len(_known)
    name = f"_ssm_reduce_rules_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Refused("it is no Python file", hint="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    # As for a script: it may import what is in its folder.
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"{type(error).__name__}: {error}{_where(error, str(path))}", hint="the file must run by itself") from error
    if len(_known) == before:
        raise Refused("it registers no strategy", hint="put @ssm_reduce.strategy(..) above a function")
    refresh_all()
