"""The native part of the package: not meant to be called directly."""

from collections.abc import Sequence

__version__: str

def main(argv: Sequence[str], program: Sequence[str]) -> int: ...
