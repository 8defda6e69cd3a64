"""One model on one sequence: to look inside, and to try an idea before any sweep."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from ssm_reduce import _native
from ssm_reduce.errors import Refused
from ssm_reduce.strategy import Answer, OptionValue, Strategy, encode

Ids = Union[Sequence[int], npt.NDArray[Any]]


def _ids(ids: Ids) -> list[int]:
    return [int(token) for token in ids]


class Tokenizer:
    """The tokenizer of a model."""

    def __init__(self, native: _native.Model) -> None:
        self._native = native

    def encode(self, text: str) -> list[int]:
        """Token ids of a text.

        Example:
            >>> len(model.tokenizer.encode("the mask")) > 0
            True
        """
        return self._native.encode(text)

    def decode(self, ids: Ids) -> str:
        """The text of token ids.

        Example:
            >>> model.tokenizer.decode(model.tokenizer.encode("the mask")).strip()
            'the mask'
        """
        return self._native.decode(_ids(ids))

    def tokens(self, ids: Ids) -> list[str]:
        """The text of each token, for people to read.

        Example:
            >>> len(model.tokenizer.tokens([1, 2]))
            2
        """
        return [self._native.token(token) for token in _ids(ids)]


@dataclass(frozen=True)
class SitePlan:
    """What became of the tokens that arrived at a site. Numbers count these tokens, from 0."""

    keep: list[int]
    """Kept tokens."""
    merged: list[tuple[int, int]]
    """``(token, kept token that it goes into)``."""
    dropped: list[int]
    """Tokens that leave nothing."""


@dataclass(frozen=True)
class Run:
    """A sequence that was reduced on its way through a model."""

    logits: npt.NDArray[np.float32]
    """Of the tokens that are kept to the end: ``[tokens, vocabulary]``."""
    positions: list[int]
    """Their places in the sequence."""
    plans: dict[int, SitePlan]
    """By the layer after which they were carried out."""

    @cached_property
    def removed(self) -> list[int]:
        """Places in the sequence that are not kept to the end, ascending.

        Example:
            >>> model.run([1, 2, 3], plans={5: ssm_reduce.keep([0, 2])}).removed
            [1]
        """
        n = next(iter(self.plans.values())) if self.plans else None
        arrived = len(self.positions) if n is None else len(n.keep) + len(n.merged) + len(n.dropped)
        return sorted(set(range(arrived)) - set(self.positions))


class Model:
    """A model by the name that experiments use, with its weights loaded.

    Example:
        >>> model = Model("builtin:mamba2-world")
        >>> model.logits([1, 2, 3]).shape[0]
        3
    """

    def __init__(
        self,
        reference: str,
        *,
        device: str = "auto",
        dtype: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.reference = reference
        self._native = _native.Model(reference, device, dtype, None if data_dir is None else os.fspath(data_dir))
        self.n_layer, self.d_model, self.vocab_size = self._native.sizes()
        self.tokenizer = Tokenizer(self._native)

    def __repr__(self) -> str:
        return f"Model({self.reference!r}: {self.n_layer} layers of width {self.d_model}, {self.vocab_size} tokens)"

    def logits(self, ids: Ids) -> npt.NDArray[np.float32]:
        """Logits after each token: ``[tokens, vocabulary]``.

        Example:
            >>> model.logits([1, 2, 3]).shape == (3, model.vocab_size)
            True
        """
        return self._native.logits(_ids(ids))

    def generate(self, ids: Ids, n: int) -> list[int]:
        """The ``n`` tokens that follow, each the most probable one.

        Example:
            >>> len(model.generate([1, 2, 3], 5))
            5
        """
        return self._native.generate(_ids(ids), n)

    def layers(
        self, ids: Ids, signals: Iterable[str] = ("hidden", "residual")
    ) -> list[dict[str, npt.NDArray[np.float32]]]:
        """For each layer the arrays that a rule would see after it, by name; one that a layer does not have is missing.

        Example:
            >>> after = model.layers([1, 2, 3], signals=["hidden", "dt"])
            >>> len(after) == model.n_layer and after[0]["hidden"].shape == (3, model.d_model)
            True
        """
        return self._native.layers(_ids(ids), list(signals))

    def run(
        self,
        ids: Ids,
        plans: Mapping[int, Answer] | None = None,
        *,
        strategy: Strategy | str | None = None,
        sites: Iterable[int] = (),
        keep_ratio: float = 1.0,
        seed: int = 0,
        **options: OptionValue,
    ) -> Run:
        """Runs a sequence that is reduced at some layers: by plans, or by a strategy.

        The last token is protected, as the one that predicts the answer is.

        Args:
            ids: The tokens.
            plans: What a rule would return, by the layer after which it is carried out.
            strategy: A rule, or the name of one, that decides at ``sites``.
            sites: Layers after which it decides, from 0.
            keep_ratio: Share of the tokens that it keeps at each site.
            seed: Of what it draws.
            options: Its options.

        Example:
            >>> model.run([1, 2, 3, 4], plans={5: ssm_reduce.keep([0, 1, 3])}).positions
            [0, 1, 3]
            >>> model.run([1, 2, 3, 4], strategy="drop_prefix", sites=[5], keep_ratio=0.5).positions
            [1, 2, 3]
        """
        answers = {int(site): encode(answer) for site, answer in (plans or {}).items()}
        if strategy is None and (sites or options):
            raise Refused("sites and options are those of a strategy", None, "name one: strategy=\"top_k\"")
        rule = None
        if strategy is not None:
            if isinstance(strategy, Strategy):
                strategy.refresh()
            rule = (strategy if isinstance(strategy, str) else strategy.name, json.dumps(options))
        logits, positions, fates = self._native.run(_ids(ids), answers, rule, list(sites), keep_ratio, seed)
        return Run(logits, positions, {site: SitePlan(*fate) for site, fate in sorted(fates.items())})
