"""Digests of functions: what decides about their results, and nothing else."""

from __future__ import annotations

import hashlib
import inspect
import pickle
import sys
import textwrap
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ssm_reduce.errors import Refused

#: Hexadecimal digits of a digest.
_DIGITS = 16


def digest_of(function: Callable[..., object], declaration: object) -> str:
    """A digest of a function's source, of its defaults, of what it closes over, of the globals that it names, and of `declaration`."""
    walk = _Walk(function.__name__)
    walk.function(function)
    walk.value(declaration, "declaration")
    return walk.hash.hexdigest()[:_DIGITS]


class _Walk:
    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.hash = hashlib.sha256()
        self.seen: set[int] = set()

    def text(self, *words: str) -> None:
        for word in words:
            encoded = word.encode()
            self.hash.update(len(encoded).to_bytes(8, "little") + encoded)

    def function(self, function: Any) -> None:
        if id(function) in self.seen:
            return
        self.seen.add(id(function))
        code = function.__code__
        try:
            self.text("source", textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError):
            self.code(code)
        self.value(function.__defaults__, "a default")
        self.value(function.__kwdefaults__, "a default")
        for name, cell in zip(code.co_freevars, function.__closure__ or ()):
            self.text("closes over", name)
            try:
                self.value(cell.cell_contents, name)
            except ValueError:
                # Not assigned yet.
                self.text("empty")
        for name in sorted(_names(code)):
            if name in function.__globals__:
                self.text("global", name)
                self.value(function.__globals__[name], name)

    def code(self, code: types.CodeType) -> None:
        self.hash.update(code.co_code)
        self.text(*code.co_names, *code.co_varnames)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant)
            else:
                self.text(repr(constant))

    def value(self, value: Any, name: str) -> None:
        kind = type(value)
        self.text(kind.__module__, kind.__qualname__)
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes, range, slice)):
            self.text(repr(value))
        elif isinstance(value, (list, tuple)):
            self.text(str(len(value)))
            for entry in value:
                self.value(entry, name)
        elif isinstance(value, (set, frozenset)):
            self.text(*sorted(repr(entry) for entry in value))
        elif isinstance(value, dict):
            for key, entry in value.items():
                self.text(repr(key))
                self.value(entry, name)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self.text(str(value.dtype), str(value.shape))
            self.hash.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, types.ModuleType):
            self.text(value.__name__, _version(value.__name__))
        elif _is_installed(value):
            self.text(value.__module__, getattr(value, "__qualname__", repr(value)), _version(value.__module__))
        elif isinstance(value, types.FunctionType):
            self.function(value)
        elif isinstance(value, types.MethodType):
            self.function(value.__func__)
            self.value(value.__self__, name)
        elif isinstance(value, type):
            self.type(value)
        elif hasattr(value, "function") and isinstance(value.function, types.FunctionType):
            # Another strategy, or a wrapper of a function.
            self.function(value.function)
        elif id(value) not in self.seen:
            self.seen.add(id(value))
            self.pickled(value, name)

    def type(self, value: type) -> None:
        if id(value) in self.seen:
            return
        self.seen.add(id(value))
        try:
            self.text(textwrap.dedent(inspect.getsource(value)))
        except (OSError, TypeError):
            for name, entry in sorted(vars(value).items()):
                if isinstance(entry, types.FunctionType):
                    self.text(name)
                    self.function(entry)

    def pickled(self, value: Any, name: str) -> None:
        try:
            self.hash.update(pickle.dumps(value, protocol=4))
        except Exception as error:
            raise Refused(
                f"{self.rule} uses `{name}`, a {type(value).__name__}, which cannot be compared with that of another run ({error})",
                hint="pass it as numbers, arrays or text, or make it inside the rule",
            ) from error


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _version(module: str) -> str:
    return str(getattr(sys.modules.get(module.split(".")[0]), "__version__", ""))


def _is_installed(value: object) -> bool:
    """Whether it comes from a package with a version, or from Python itself: its name and version stand for it."""
    if not (callable(value) or isinstance(value, type)):
        return False
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or not isinstance(getattr(value, "__qualname__", None), str):
        return isinstance(value, types.BuiltinFunctionType)
    top = module.split(".")[0]
    return top == "ssm_reduce" or top in sys.stdlib_module_names and top != "__main__" or bool(_version(module))
