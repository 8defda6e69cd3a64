"""The native part of the package: not meant to be called directly."""

from collections.abc import Sequence
from typing import Any

__version__: str

def main(argv: Sequence[str], program: Sequence[str]) -> int: ...
def compare(first: str, second: str, a: str | None, b: str | None) -> tuple[list[dict[str, Any]], str]: ...
